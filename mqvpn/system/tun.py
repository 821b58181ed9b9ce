"""Opens the TUN device with a virtio-net header (linux/if_tun.h, linux/virtio_net.h).

The header lets the kernel hand over, and take back, TCP and UDP super packets of up to 64 KB with their
checksums undone. The descriptor is the device: closing it removes the interface with its addresses and
routes.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import struct
from dataclasses import dataclass
from enum import IntFlag

from mqvpn.system.change import change
from mqvpn.system.errors import OperationFailed, refused
from mqvpn.system.offloads import TSO, USO, VNET_HDR, without

IFF_TUN, IFF_PERSIST, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x0800, 0x1000, 0x4000
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
TUNGETIFF = 0x800454D2
VNET_HEADER_SIZE = 10  # struct virtio_net_hdr without num_buffers
COUNTERS = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "tx_dropped")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)


class Offload(IntFlag):
    """What the device may leave undone in packets it hands over (TUN_F_* of linux/if_tun.h)."""

    CSUM = 0x01
    TSO4 = 0x02
    TSO6 = 0x04
    USO4 = 0x20
    USO6 = 0x40


TCP_OFFLOADS = Offload.CSUM | Offload.TSO4 | Offload.TSO6
ALL_OFFLOADS = TCP_OFFLOADS | Offload.USO4 | Offload.USO6


@dataclass(frozen=True, slots=True)
class Tun:
    """An open TUN device; with vnet_header each packet is preceded by VNET_HEADER_SIZE bytes of virtio header."""

    fd: int
    name: str
    offloads: Offload
    vnet_header: bool = True  # else packets come bare, each of the MTU at most

    def describe(self) -> str:
        """What is in use, for the log."""
        if not self.vnet_header:
            return "no virtio headers"
        return f"virtio headers, {' '.join(str(one.name) for one in Offload if one in self.offloads) or 'no offloads'}"


def open_tun(name: str) -> Tun:
    """Create the TUN device `name`, or take over a persistent one that nobody holds; its descriptor is
    non-blocking.

    Raises OperationFailed when the name is not usable or belongs to another interface, or without the right
    to.
    """
    operation = f"create TUN interface {name}"
    if not NAME.fullmatch(name) or name in (".", ".."):
        raise OperationFailed(operation, "not a usable name", "take 1 to 15 letters, digits, '_', '.' or '-'")
    fd = _open_device(operation)
    try:
        with change("tun"):
            headers = _attach(fd, name, operation)
        if headers:
            return Tun(fd, name, _set_offloads(fd, operation))
        return Tun(fd, name, Offload(0), vnet_header=False)
    except BaseException:
        os.close(fd)
        raise


def close_tun(device: Tun) -> None:
    """The interface goes, unless it is persistent or another process has it, too."""
    with change("tun-gone"):
        os.close(device.fd)


def adopt_tun(fd: int, name: str) -> Tun | None:
    """The TUN device `name` from a descriptor that was kept for us; None, and closed, when it is not that device (any
    more). Raises OperationFailed."""
    try:
        answer = fcntl.ioctl(fd, TUNGETIFF, bytes(40))
    except OSError:  # EBADFD: the interface was deleted, or this is no TUN
        answer = bytes(40)
    found, flags = struct.unpack("16sH22x", answer)
    if found.rstrip(b"\0") != name.encode() or not flags & IFF_VNET_HDR:
        os.close(fd)
        return None
    os.set_blocking(fd, False)
    return Tun(fd, name, _set_offloads(fd, f"take over TUN interface {name}"))


def is_lent(device: Tun) -> bool:
    """Whether somebody else made it persistent, and so it stays when it is closed, with all that was set on it."""
    flags: int = struct.unpack("16xH22x", fcntl.ioctl(device.fd, TUNGETIFF, bytes(40)))[0]
    return bool(flags & IFF_PERSIST)


def _open_device(operation: str) -> int:
    try:
        return os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        hint = ""
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            hint = "load the kernel's tun module (modprobe tun), or give the container /dev/net/tun"
        raise refused(f"{operation}: /dev/net/tun", error.errno or 0, hint) from error


def _attach(fd: int, name: str, operation: str) -> bool:
    """Whether packets come with virtio headers, which some kernels do not know."""
    headers = (0,) if VNET_HDR in without() else (IFF_VNET_HDR, 0)
    for flag in headers:
        try:
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | flag))
            return bool(flag)
        except OSError as error:
            if error.errno != errno.EINVAL or flag == headers[-1]:
                raise _refusal(operation, error) from error
    return False


def _refusal(operation: str, error: OSError) -> OperationFailed:
    if error.errno == errno.EBUSY:
        hint = "another program holds this TUN: stop it, or set another TunName"
    elif error.errno == errno.EINVAL:
        hint = "an interface that is no (single-queue) TUN has this name: set another TunName"
    else:
        hint = ""
    return refused(operation, error.errno or 0, hint)


def _set_offloads(fd: int, operation: str) -> Offload:
    """The offloads that the kernel accepted; UDP segmentation needs Linux 6.2."""
    leave = without()
    most = Offload(0) if TSO in leave else TCP_OFFLOADS if USO in leave else ALL_OFFLOADS
    try:
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_SIZE))
        for offloads in (ALL_OFFLOADS, TCP_OFFLOADS):
            with contextlib.suppress(OSError):
                if offloads in most:
                    fcntl.ioctl(fd, TUNSETOFFLOAD, int(offloads))
                    return offloads
        fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
        return Offload(0)
    except OSError as error:
        raise refused(f"{operation}: offloads", error.errno or 0) from error


def exists(name: str) -> bool:
    """Whether there is an interface of this name."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def statistics(name: str) -> dict[str, int]:
    """Packets and bytes that the kernel counted on a TUN since it was made: rx came out of the tunnel, tx went into
    it, tx_dropped were lost in front of it. Empty when there is no such interface (any more)."""
    counts = {}
    for counter in COUNTERS:
        try:
            with open(f"/sys/class/net/{name}/statistics/{counter}") as file:
                counts[counter] = int(file.read())
        except (OSError, ValueError):
            return {}
    return counts
