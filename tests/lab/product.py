"""The project as an administrator has it, inside a booted machine: the package, its commands, its units and users.

What is compiled is compiled once for Debian's Python, in a root with its compiler, and cached by its sources; all
else is what the checkout holds now. `install` puts it where a Debian package would.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tomllib
from pathlib import Path

from tests.lab.machine import CACHE, PACKAGES, CannotBoot, Machine, root_directory
from tests.lab.net import ROOT

BUILD_PACKAGES = (*PACKAGES, "gcc", "libc6-dev", "libssl-dev", "python3-dev", "python3-setuptools", "cython3")
PYTHON = "/usr/lib/python3/dist-packages"
COMMAND = "#!/usr/bin/python3\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
BUILD = "cd /build && python3 -W ignore -c 'from setuptools import setup; setup()' -q build_ext --inplace -j 2"


def compiled() -> Path:
    """A directory with the compiled modules for Debian's Python. Raises CannotBoot when it cannot be made."""
    sources = sorted([*(ROOT / "mqvpn/dataplane").glob("*.p[yx][xd]"), ROOT / "pyproject.toml"])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    made = CACHE / f"compiled-{digest}"
    root = root_directory(BUILD_PACKAGES)
    with (CACHE / "compiled.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _compile(root, made)
    return made


def install(machine: Machine) -> None:
    """Put the project into the machine, ready for `systemctl start`."""
    package = machine.path(f"{PYTHON}/mqvpn")
    shutil.copytree(ROOT / "mqvpn", package, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for built in compiled().iterdir():
        shutil.copy(built, package / "dataplane")
    for name, module, function in _scripts():
        machine.write(f"/usr/bin/{name}", COMMAND.format(module=module, function=function), 0o755)
    _copy(machine, "systemd/*.service", "/usr/lib/systemd/system")
    _copy(machine, "systemd/*.socket", "/usr/lib/systemd/system")
    _copy(machine, "systemd/*.target", "/usr/lib/systemd/system")
    _copy(machine, "systemd/sysusers.conf", "/usr/lib/sysusers.d", "mqvpn.conf")
    _copy(machine, "systemd/tmpfiles.conf", "/usr/lib/tmpfiles.d", "mqvpn.conf")
    _copy(machine, "systemd/polkit.rules", "/usr/share/polkit-1/rules.d", "50-mqvpn.rules")
    _copy(machine, "systemd/lockdown.nft", "/usr/lib/mqvpn")
    _copy(machine, "systemd/mqvpn.catalog", "/usr/lib/systemd/catalog")
    _copy(machine, "systemd/unmanaged.network", "/usr/lib/systemd/network", "90-mqvpn.network")
    machine.run("systemd-sysusers", "/usr/lib/sysusers.d/mqvpn.conf")
    machine.run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/mqvpn.conf")
    machine.run("journalctl", "--update-catalog")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "polkit")


def _scripts() -> list[tuple[str, str, str]]:
    """Name, module and function of each command."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [(name, *target.split(":")) for name, target in project["scripts"].items()]


def _copy(machine: Machine, pattern: str, directory: str, name: str = "") -> None:
    target = machine.path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for path in ROOT.glob(pattern):
        shutil.copy(path, target / (name or path.name))


def _compile(root: Path, made: Path) -> None:
    build = root / "build"
    shutil.rmtree(build, ignore_errors=True)
    (build / "mqvpn").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", build)
    (build / "README.md").touch()
    (build / "LICENSE").touch()
    shutil.copytree(ROOT / "mqvpn/dataplane", build / "mqvpn/dataplane", ignore=shutil.ignore_patterns("*.so", "*.c"))
    shutil.copytree(ROOT / "mqvpn/wire", build / "mqvpn/wire")
    (build / "mqvpn/__init__.py").touch()
    done = subprocess.run(["chroot", root, "sh", "-c", BUILD], capture_output=True, text=True)
    if done.returncode:
        raise CannotBoot("the compiled part cannot be built in a Debian root: " + done.stderr[-500:])
    fresh = made.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for module in (build / "mqvpn/dataplane").glob("*.so"):
        shutil.copy(module, fresh)
    fresh.rename(made)
    shutil.rmtree(build)
