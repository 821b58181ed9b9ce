"""Descriptors from and to systemd: sockets that it opened for us, and those that it keeps while we restart
(sd_listen_fds(3), sd_notify(3), systemd.service(5) FileDescriptorStoreMax=).

What is passed goes by name. A socket unit has one name for all its sockets, so those named OUR_SOCKETS are told
apart by what they are: `udp` and `control`. What the store holds has the name under which it was put there.
sdnotify cannot send descriptors, hence the few lines of our own here.
"""

import array
import contextlib
import os
import select
import socket

FIRST = 3  # SD_LISTEN_FDS_START
VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
OUR_SOCKETS = "mqvpn"  # FileDescriptorName= in our socket units
UDP, CONTROL = "udp", "control"

Descriptors = dict[str, list[int]]


def inherited() -> Descriptors:
    """The descriptors that systemd passed to this process, by name, in its order; none when there are none.

    The caller owns them. They are not passed on to children, and a second call finds nothing.
    """
    pid, count, names = (os.environ.pop(variable, "") for variable in VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    fds = range(FIRST, FIRST + int(count))
    found: Descriptors = {}
    for fd, name in zip(fds, names.split(":") if names else ["unknown"] * len(fds), strict=False):
        os.set_inheritable(fd, False)
        found.setdefault(_kind(fd) if name == OUR_SOCKETS else name, []).append(fd)
    return found


def store(name: str, *fds: int) -> None:
    """Let systemd keep these descriptors under the name, for the next process of this unit.

    They survive any death of this process and `systemctl restart`, not `systemctl stop`. What is kept already is not
    kept twice. systemd is told not to watch them: an ICMP error on a UDP socket would make it drop the socket.
    """
    notify(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", fds)


def unstore(name: str) -> None:
    """Let systemd close what it keeps under this name."""
    notify(f"FDSTOREREMOVE=1\nFDNAME={name}")


def barrier(timeout: float) -> bool:
    """Wait until systemd has read all that was sent before; False when it does not within `timeout` seconds."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        sent = notify("BARRIER=1", (theirs,))
    finally:
        os.close(theirs)
    try:
        poll = select.poll()
        poll.register(ours, 0)  # POLLHUP is always told: the last copy of the other end is closed
        return sent and bool(poll.poll(timeout * 1000))
    finally:
        os.close(ours)


def notify(message: str, fds: tuple[int, ...] = ()) -> bool:
    """Send a message with descriptors to systemd; False when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # the abstract name space
        address = "\0" + address[1:]
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line, contextlib.suppress(OSError):
        line.connect(address)
        line.sendmsg([message.encode()], rights)
        return True
    return False


def _kind(fd: int) -> str:
    """What one of our socket units' sockets is for."""
    with socket.socket(fileno=os.dup(fd)) as passed:
        return CONTROL if passed.family == socket.AF_UNIX else UDP
