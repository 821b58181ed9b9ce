"""The systemd unit that this process is part of, and what systemd is about to do with it (systemd.exec(5),
`Environment variables set or propagated by the service manager`).

ExecStopPost= also runs between two lives of a unit, and no variable tells a stop from a restart: the unit's pending
job does, which systemctl shows to everybody.
"""

import os
import socket
import subprocess
from pathlib import Path

TIMEOUT = 3.0  # seconds
SERVICE = "MQVPN_UNIT"  # set for the clean-up of a socket unit: the service that is gone
RESTARTING = ("start", "restart", "try-restart")
FINAL_STATUSES = ("77", "78")  # RestartPreventExitStatus= of our units


def name() -> str:
    """The unit's name from our cgroup; empty when this is none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        unit = line.rpartition(":")[2].rpartition("/")[2]
        if unit.endswith(".service"):
            return unit
    return ""


def starts_again(unit: str) -> bool:
    """In ExecStopPost= of `unit`: whether systemd is about to start it again. False outside of a unit."""
    result = os.environ.get("SERVICE_RESULT")
    if result is None:
        return False
    job = pending_job(unit)
    if job:
        return job in RESTARTING
    return result != "success" and os.environ.get("EXIT_STATUS") not in FINAL_STATUSES


def stops_for_good(unit: str) -> bool:
    """In ExecStopPost= of `unit`: whether somebody stopped it, or it ended well. True outside of a unit."""
    if service := os.environ.get(SERVICE):
        return _systemctl("is-failed", service).strip() != "failed"
    return os.environ.get("SERVICE_RESULT") in (None, "success") or pending_job(unit) == "stop"


def is_stopping() -> bool:
    """Whether this is a command with which systemd stops a unit."""
    return "SERVICE_RESULT" in os.environ


def machine_stops() -> bool:
    """Whether the machine is going down, for good or to boot again. False if systemd cannot be asked, but is there."""
    return _systemctl("is-system-running").strip() == "stopping" or _is_abandoned()


def pending_job(unit: str) -> str:
    """What systemd is doing with the unit: start, stop, restart, ...; empty: nothing, or it cannot be asked."""
    answer = _systemctl("list-jobs", "--no-legend", "--plain", "--no-pager", unit)
    jobs = [line.split() for line in answer.splitlines()]
    return next((fields[2] for fields in jobs if len(fields) >= 3 and fields[1] == unit), "")


def _is_abandoned() -> bool:
    """Whether systemd has started this process and is gone: `reboot --force` stops no unit, but has systemd-shutdown,
    the next PID 1, kill all processes while the networks still stand (systemd.special(7) has no target for that)."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        try:
            line.connect("\0" + path[1:] if path.startswith("@") else path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _systemctl(*argv: str) -> str:
    try:
        done = subprocess.run(("systemctl", *argv), capture_output=True, text=True, timeout=TIMEOUT, check=False)
        return done.stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
