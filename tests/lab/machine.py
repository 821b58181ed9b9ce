"""Real Debian 13 machines for tests: systemd as PID 1, the journal, D-Bus, polkit and resolved, a TUN device.

A machine is booted by boot.sh in a network namespace of a Net, so veths and the link emulator join machines as they
join namespaces. All share one root file system, made once (packaging/debian-root) in build/machines or in the
directory that MQVPN_MACHINES names; what a machine writes is gone with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab.net import ROOT, LabError, Namespace, Net, run, wait_for

CACHE = Path(os.environ.get("MQVPN_MACHINES") or ROOT / "build" / "machines")
TOOLS = ("systemd-nspawn", "unshare", "nsenter", "mmdebstrap")
PACKAGES = (
    *("systemd", "systemd-sysv", "libnss-systemd", "dbus", "systemd-resolved", "libnss-resolve", "polkitd"),
    *("adduser", "init-system-helpers", "openssl", "procps"),
    *("iproute2", "nftables", "iputils-ping", "iperf3"),
    *("python3", "python3-aioquic", "python3-pylsqpack", "python3-pyroute2", "python3-dbus-next"),
    *("python3-sdnotify", "python3-configobj", "python3-cryptography"),
)
BOOTED = (*PACKAGES, "network-manager")  # which does nothing until a test starts it
# What a machine of a few seconds' life need not do at boot.
MASKED = (
    *("getty@tty1.service", "console-getty.service", "systemd-firstboot.service", "systemd-hwdb-update.service"),
    *("ldconfig.service", "systemd-update-done.service", "systemd-homed-firstboot.service"),
    *("systemd-modules-load.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"),
)
ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LANG=C.UTF-8")
BOOT_TIMEOUT = 60  # seconds; it takes two on a machine that does nothing else


class CannotBoot(LabError):
    """This machine cannot boot others; the text says why."""


def missing_for_machines() -> str | None:
    """Why this machine cannot boot others, as far as that is seen without trying; None if it can."""
    if os.geteuid() != 0:
        return "not root: machines cannot be booted"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (packaging/prepare --machines installs what is needed)"
    if _cgroups() is None:
        return "no cgroup2 file system: systemd cannot run in a container here"
    return None


def root_directory(packages: Sequence[str] = BOOTED) -> Path:
    """A Debian 13 root with these packages that boots quickly; made when there is none. Raises CannotBoot."""
    recipe = hashlib.sha256(repr((sorted(packages), sorted(MASKED))).encode()).hexdigest()[:8]
    root = CACHE / f"root-{recipe}"
    if not (root / ".bootable").exists():
        done = subprocess.run([ROOT / "packaging/debian-root", root, *packages], capture_output=True, text=True)
        if done.returncode:
            raise CannotBoot("no Debian root can be made: " + " / ".join(done.stderr.strip().splitlines()[-3:]))
        _make_bootable(root)
    return root


def boot(net: Net, *names: str) -> list[Machine]:
    """Boot machines side by side, each in a new namespace of the Net, which ends them when it closes.

    Raises CannotBoot.
    """
    root = root_directory()
    _remove_orphans()
    machines = []
    for name in names:
        machines.append(Machine(net.namespace(name), net.log(f"{name}.console.log")))
        net.callback(machines[-1].remove)
        machines[-1].start(root)
    for machine in machines:
        machine.wait_booted()
    return machines


def join(net: Net, client: Machine, server: Machine, links: int = 2) -> None:
    """Plain links upN, 10.1.N.2, of the client to dnN, 10.1.N.1, of the server, whose lo has 198.51.100.1, too.

    The client has a default route over each link, with the metric 100 + N; IPv6 alike, as in tests/lab/site.py.
    """
    end, start = client.namespace, server.namespace
    for address in ("198.51.100.1/32", "2001:db8:100::1/128"):
        start.ip("addr", "add", address, "dev", "lo")
    for number in range(links):
        up, down = f"up{number}", f"dn{number}"
        net.veth(end, up, start, down)
        for namespace, interface, host in ((start, down, 1), (end, up, 2)):
            namespace.ip("addr", "add", f"10.1.{number}.{host}/24", "dev", interface)
            namespace.ip("addr", "add", f"2001:db8:1:{number}::{host}/64", "dev", interface, "nodad")
            namespace.ip("link", "set", interface, "up")
    for number in range(links):
        for family, gateway in (("-4", f"10.1.{number}.1"), ("-6", f"2001:db8:1:{number}::1")):
            route = ("default", "via", gateway, "dev", f"up{number}", "metric", str(100 + number))
            end.ip(family, "route", "replace", *route)


class Machine:
    """One booted machine. `run` and `popen` work in it, `path` leads to its files, `namespace` to its network."""

    def __init__(self, namespace: Namespace, console: Path) -> None:
        self.namespace = namespace
        self._console = console
        self._state = console.parent / f"{namespace.name}.machine"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def start(self, root: Path) -> None:
        """Switch it on."""
        self._state.mkdir(parents=True)
        argv = (ROOT / "tests/lab/boot.sh", root, self._state, self.namespace.name)
        with self._console.open("ab") as console:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": console, "stderr": console}
            self._process = subprocess.Popen(argv, start_new_session=True, **streams)

    def wait_booted(self) -> None:
        self._wait_until_booted(0)

    def run(self, *argv: str, timeout: float = 60, check: bool = True) -> str:
        """Run a command in the machine to its end, as root, outside of any unit; see net.run."""
        return run(*self._inside(argv), timeout=timeout, check=check)

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[Any]:
        return subprocess.Popen(self._inside(argv), **options)

    def path(self, name: str) -> Path:
        """Where this process sees the machine's file `name`; absolute links in it lead astray."""
        return Path(f"/proc/{self._leader}/root") / name.lstrip("/")

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit, as `systemctl show` prints them."""
        lines = self.run("systemctl", "show", unit, *(f"-p{name}" for name in properties)).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def wait_active(self, unit: str, state: str = "active", timeout: float = 20) -> None:
        """Until the unit is in that state; LabError, with the end of its journal, when it does not get there."""
        try:
            wait_for(f"{unit} is {state}", lambda: self.show(unit, "ActiveState")["ActiveState"] == state, timeout)
        except LabError as error:
            raise LabError(f"{error}\n{self.run('journalctl', '-n40', '-ocat', '-u', unit, check=False)}") from None

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """The journal's entries that match, such as `MQVPN_EVENT=path-down`, oldest first."""
        self.run("journalctl", "--sync")
        return [json.loads(line) for line in self.run("journalctl", "-ojson", *matches).splitlines()]

    def reboot(self, *options: str) -> None:
        """What systemd does on `reboot`: the same files, a new boot, and a network as it was outside."""
        leader = self._leader
        self.run("systemctl", "reboot", *options, check=False)
        self._wait_until_booted(leader)

    def remove(self) -> None:
        """Pull the plug."""
        _kill(self.namespace.name)
        if self._process is not None:
            self._process.wait()
        shutil.rmtree(self._state, ignore_errors=True)

    def _inside(self, argv: Sequence[str]) -> tuple[str, ...]:
        enter = ("nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--")
        return (*enter, "env", "-i", *ENVIRONMENT, *argv)

    def _wait_until_booted(self, old_leader: int) -> None:
        assert self._process is not None
        process = self._process

        def booted() -> bool:
            if process.poll() is not None:
                return True
            # boot.sh has become bash, whose child is nspawn, whose child is the machine's PID 1.
            leader = _only_child(_only_child(process.pid))
            if leader in (0, old_leader):
                return False
            self._leader = leader
            return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

        try:
            wait_for(f"{self.namespace.name} boots", booted, BOOT_TIMEOUT, every=0.1)
            failure = f"systemd-nspawn ended with status {process.returncode}" if process.returncode else ""
        except LabError as error:
            failure = str(error)
        if failure:
            end = self._console.read_text(errors="replace").strip().splitlines()[-5:]
            raise CannotBoot(f"{failure}: {' / '.join(end)}")


def _make_bootable(root: Path) -> None:
    units = root / "etc/systemd/system"
    for name in MASKED:
        with contextlib.suppress(FileExistsError):
            (units / name).symlink_to("/dev/null")
    for enabled in units.glob("*.wants/NetworkManager*"):
        enabled.unlink()
        with contextlib.suppress(OSError):  # others have theirs in it
            enabled.parent.rmdir()
    with contextlib.suppress(FileExistsError):
        (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    # nspawn copies the host's node with its mode; udev makes it 0666 on a Debian host.
    (root / "etc/tmpfiles.d/tun.conf").write_text("z /dev/net/tun 0666 root root -\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    shutil.rmtree(root / "var/log/journal", ignore_errors=True)
    (root / ".bootable").touch()


def _only_child(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return 0


def _cgroups(kind: str = "cgroup2", option: str = "") -> Path | None:
    """Where a cgroup file system is mounted."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next((Path(where) for _, where, what, options, *_ in mounts if what == kind and option in options), None)


def _kill(name: str) -> None:
    """End every process of a machine, and remove its cgroups."""
    trees = [tree / name for tree in (_cgroups(), _cgroups("cgroup", "name=systemd")) if tree is not None]
    with contextlib.suppress(FileNotFoundError):
        (trees[0] / "cgroup.kill").write_text("1")
        wait_for(f"{name} is off", lambda: "populated 0" in (trees[0] / "cgroup.events").read_text())
    for tree in trees:
        for directory in sorted(tree.glob("**/"), reverse=True):
            with contextlib.suppress(OSError):
                directory.rmdir()


def _remove_orphans() -> None:
    """End the machines of test runs that were killed before they could do so themselves."""
    for path in (_cgroups() or Path("/nonexistent")).glob("mq[0-9]*-*"):
        owner = int(path.name[2:].split("-")[0])
        try:
            os.kill(owner, signal.SIG_DFL)
        except ProcessLookupError:
            _kill(path.name)
