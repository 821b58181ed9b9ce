"""The daemons of this machine: which run, and where their control sockets are.

A socket that systemd holds for a daemon that is not running would start it, so systemd is asked first and such
sockets are left alone: reading a status never starts an instance.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

RUN = "/run/mqvpn"
BOOTED = Path("/run/systemd/system")  # sd_booted(3)
UNITS = ("mqvpn-server.service", "mqvpn-server.socket", "mqvpn-client@*.service", "mqvpn-client@*.socket")
UNIT = re.compile(r"mqvpn-(server|client@(.+))\.(service|socket)")
ASLEEP = ("inactive", "failed", "")
SYSTEMCTL_TIMEOUT = 10.0
NAME = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*")


@dataclass(frozen=True, slots=True)
class Instance:
    """A daemon: the server, or the client `name`."""

    is_server: bool
    name: str
    socket: Path

    @property
    def title(self) -> str:
        return "server" if self.is_server else f"client {self.name}"


def folders() -> list[Path]:
    """Where control sockets are looked for: the first place counts."""
    own = [Path(one) for one in os.environ.get("RUNTIME_DIRECTORY", "").split(":") if one]
    return [*own, Path(RUN)]


def running(name: str | None = None) -> list[Instance]:
    """The instances that may be called; `name`: those that the operator calls so."""
    found: dict[str, Instance] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.sock")):
            instance = at(path)
            if instance is not None and (name is None or name in _names(instance)):
                found.setdefault(path.stem, instance)
    asleep = sleeping() if found else set()
    return [instance for stem, instance in found.items() if stem not in asleep]


def at(path: Path) -> Instance | None:
    """Whose control socket this is, by its name."""
    if path.stem == "server":
        return Instance(True, "server", path)
    kind, _, name = path.stem.partition("-")
    return Instance(False, name, path) if kind == "client" and name else None


def sleeping() -> set[str]:
    """Those that systemd would start if somebody connected, as the stems of their sockets' names."""
    states: dict[str, dict[str, str]] = {}
    for unit, state in _unit_states().items():
        if match := UNIT.fullmatch(unit):
            stem = "server" if match[1] == "server" else f"client-{match[2]}"
            states.setdefault(stem, {})[match[3]] = state
    return {
        stem
        for stem, of in states.items()
        if of.get("socket", "") not in ASLEEP and of.get("service", "") in ASLEEP
    }


def unit(name: str) -> str:
    """The service of the instance that the operator calls so. Raises ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name}: not the name of an instance")
    return "mqvpn-server.service" if name == "server" else f"mqvpn-client@{name}.service"


def systemctl(*argv: str) -> tuple[int, str]:
    """Exit status and output of systemctl; 69 where systemd does not run."""
    if not BOOTED.is_dir():
        return os.EX_UNAVAILABLE, ""
    try:
        done = subprocess.run(
            ("systemctl", *argv), stdout=subprocess.PIPE, text=True, timeout=SYSTEMCTL_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return os.EX_UNAVAILABLE, ""
    return done.returncode, done.stdout


def _names(instance: Instance) -> tuple[str, str]:
    return instance.name, instance.socket.stem


def _unit_states() -> dict[str, str]:
    """ActiveState by unit (systemctl show, whose output is made for programs)."""
    _, output = systemctl("show", "--property=Id,ActiveState", "--", *UNITS)
    states = {}
    for block in output.split("\n\n"):
        rows = dict(line.partition("=")[::2] for line in block.splitlines())
        states[rows.get("Id", "")] = rows.get("ActiveState", "")
    return states
