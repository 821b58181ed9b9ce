"""Two machines on which nothing but our Debian packages is installed, and what they change on a machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.machine import CannotBoot, Machine, boot, join
from tests.lab.net import ROOT, LabError, Net, wait_for
from tests.system.snapshot import difference, snapshot

SERVER, CLIENT = "mqvpn-server", "mqvpn-client@home"
ADDRESS, INNER = "198.51.100.1", "10.77.0.1"
FOLDER = "/srv/packages"
# What dpkg, apt, systemd and the journal keep for themselves; copies that useradd leaves of the files it changed.
OF_OTHERS = (
    *("/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log", "/var/tmp", "/var/lib/systemd", "/var/lib/private"),
    *("/run/systemd", "/run/log", "/run/user", "/run/credentials", "/run/udev", "/run/dmeventd", "/run/lock"),
    *("/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/.pwd.lock", "/etc/subuid-", "/etc/subgid-"),
)


def build() -> Path:
    """The folder with the packages of this checkout. Raises CannotBoot without a root to build in, LabError."""
    argv = (ROOT / "packaging/build-deb", "--no-tests")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=1200)
    if done.returncode == os.EX_UNAVAILABLE:
        raise CannotBoot(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise LabError(f"the packages cannot be built:\n{done.stderr}")
    return ROOT / "dist"


@dataclass(frozen=True)
class Site:
    """The two machines and their state before anything was installed."""

    client: Machine
    server: Machine
    before: dict[Machine, dict[str, Any]]

    def echo(self, timeout: float = 15) -> None:
        """Wait until the client hears the server through the tunnel."""

        def answers() -> bool:
            return "1 received" in self.client.run("ping", "-c1", "-W1", INNER, check=False)

        wait_for("an echo through the tunnel", answers, timeout)

    def changes(self, machine: Machine) -> list[str]:
        """What is another way than before anything was installed."""
        return changes(self.before[machine], state(machine))


def build_site(net: Net, packages: Path) -> Site:
    """Boot, join, install, set up and start: what an administrator types. Raises CannotBoot, LabError."""
    client, server = boot(net, "client", "server")
    join(net, client, server)
    site = Site(client, server, {machine: state(machine) for machine in (client, server)})
    install(server, packages, "mqvpn-common", "mqvpn-server")
    install(client, packages, "mqvpn-common", "mqvpn-client")
    subnets = ("--subnet", "10.77.0.0/24", "--subnet6", "fd77::/112")
    printed = server.run("mqvpn-setup", "server", "--name", ADDRESS, *subnets)
    client.write(f"{FOLDER}/home.conf", printed, 0o600)
    client.run("mqvpn-setup", "client", "home", "--from", f"{FOLDER}/home.conf")
    server.run("systemctl", "enable", "--now", SERVER)
    client.run("systemctl", "enable", "--now", CLIENT)
    return site


def install(machine: Machine, packages: Path, *names: str) -> str:
    """apt-get install ./NAME_*.deb ...; returns what it said."""
    machine.path(FOLDER).mkdir(exist_ok=True)
    files = [next(packages.glob(f"{name}_*.deb")) for name in names]
    for file in files:
        shutil.copy(file, machine.path(FOLDER))
    return apt(machine, "install", "--no-install-recommends", *(f"{FOLDER}/{file.name}" for file in files))


def apt(machine: Machine, verb: str, *argv: str) -> str:
    return machine.run("apt-get", "--yes", "-o", "Dpkg::Use-Pty=0", verb, *argv, timeout=120)


def state(machine: Machine) -> dict[str, Any]:
    """Network, name servers, and the files below /etc, /var and /run, those of /etc with their contents."""
    find = machine.run("find", "/etc", "/var", "/run", "-xdev", "-printf", "%y %p\n")
    files = {line for line in find.splitlines() if not _of_others(line[2:])}
    sums = machine.run("find", "/etc", "-xdev", "-type", "f", "-exec", "sha256sum", "{}", "+").splitlines()
    return {
        "network": snapshot(machine.namespace.name),
        "files": files,
        "contents": {line for line in sums if not _of_others(line.split(maxsplit=1)[1])},
        "resolv.conf": machine.run("cat", "/etc/resolv.conf", check=False),
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One line for everything that differs."""
    lines = difference(before["network"], after["network"])
    for part in ("files", "contents"):
        lines += [f"{part} lost: {item}" for item in sorted(before[part] - after[part])]
        lines += [f"{part} added: {item}" for item in sorted(after[part] - before[part])]
    if before["resolv.conf"] != after["resolv.conf"]:
        lines.append("resolv.conf is another one")
    return lines


def bumped(packages: Path, names: Sequence[str], folder: Path) -> Path:
    """The same packages as a later version, by dpkg-deb's own means."""
    for name in names:
        file, tree = next(packages.glob(f"{name}_*.deb")), folder / "tree"
        subprocess.run(["dpkg-deb", "--raw-extract", file, tree], check=True)
        control = tree / "DEBIAN/control"
        version = file.name.split("_")[1]
        control.write_text(control.read_text().replace(version, f"{version}+later"))
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, folder / f"{name}_later.deb"], check=True)
        shutil.rmtree(tree)
    return folder


def _of_others(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in OF_OTHERS)
