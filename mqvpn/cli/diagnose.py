"""`mqvpnctl diagnose`: what a running daemon finds wrong, or what can be said of a configuration without one."""

import os
from pathlib import Path

from mqvpn.cli.call import EX_NOPERM, EX_UNAVAILABLE, LONG_TIMEOUT, CallError, call
from mqvpn.cli.instances import Instance
from mqvpn.cli.tables import fit

ETC = Path("/etc/mqvpn")
SERVER_FILE = "server.conf"
PROBLEM = "problem"

Found = list[dict[str, str]]


def of_running(instance: Instance) -> Found:
    """What the daemon says. Raises CallError."""
    findings: Found = call(instance.socket, "Diagnose", timeout=LONG_TIMEOUT)["findings"]
    return findings


def of_stopped(name: str) -> Found:
    """What its configuration and this machine say about an instance that does not run. Raises CallError."""
    file = ETC / (SERVER_FILE if name == "server" else f"client-{name}.conf")
    if not file.exists():
        raise CallError(f"it is not running, and there is no {file}", EX_UNAVAILABLE)
    if not os.access(file, os.R_OK):
        raise CallError(f"it is not running, and you may not read {file}", EX_NOPERM)
    advice = f"it is not running (mqvpnctl up {name})"
    return [{"level": PROBLEM, "about": "daemon", "text": advice}, *_offline(file)]


def configured() -> list[str]:
    """The instances that have a configuration."""
    names = ["server"] if (ETC / SERVER_FILE).exists() else []
    return names + sorted(file.stem.removeprefix("client-") for file in ETC.glob("client-*.conf"))


def lines(findings: Found) -> list[str]:
    """The findings for people, the problems marked; a long one goes on in the terminal's next line."""
    about = max((len(one["about"]) for one in findings), default=0)
    return [fit(f"  {_mark(one['level']):<8} {one['about']:<{about}}  {one['text']}", None) for one in findings]


def _mark(level: str) -> str:
    return level.upper() if level == PROBLEM else level


def _offline(file: Path) -> Found:
    from mqvpn.daemon.diagnose import of_file  # and all of the daemons: nothing else here is in a hurry

    found: Found = of_file(file)
    return found
