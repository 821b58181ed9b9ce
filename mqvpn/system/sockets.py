"""Opens the UDP sockets that paths and the server use (udp(7), ip(7), ipv6(7)).

One AF_INET6 socket carries both families (RFC 3493, section 3.7: IPv4 as ::ffff:a.b.c.d), so that the data
plane sees one form of address; only a kernel without IPv6 gives an AF_INET socket. DF is set and ICMP not
believed (RFC 9000, section 14.2.1): the path MTU is what probes prove. Every datagram tells the address it
came to.
"""

import contextlib
import errno
import ipaddress
import logging
import os
import socket

from mqvpn.system.errors import refused

log = logging.getLogger(__name__)

BUFFER_SIZE = 8 << 20  # bytes; 64 KB batches from several paths must wait out one turn of the loop
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
IP_PKTINFO, IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 8, 10, 23, 3
UDP_GRO = 104
TCP_BACKLOG = 16
SO_BINDTOIFINDEX = 62


def open_path_socket(interface: str | None, mark: int | None) -> socket.socket:
    """A non-blocking UDP socket for one path: any local port, bound to `interface` when given.

    `mark` (SO_MARK) keeps its packets out of the tunnel's own routes. Raises OperationFailed.
    """
    operation = f"open a UDP socket on {interface or 'any interface'}"
    udp = _open(operation)
    try:
        if interface is not None:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        if mark is not None:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        udp.bind(("::" if udp.family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104
    except OSError as error:
        udp.close()
        raise refused(operation, error.errno or 0) from error
    return udp


def open_server_socket(host: str, port: int) -> socket.socket:
    """The server's non-blocking UDP socket on the literal address `host`.

    `::` serves IPv4 and IPv6, `0.0.0.0` IPv4 alone. Raises OperationFailed.
    """
    address = ipaddress.ip_address(host)
    text = f"[{host}]:{port}" if address.version == 6 else f"{host}:{port}"
    operation = f"listen on UDP {text}"
    udp = _open(operation)
    try:
        if udp.family == socket.AF_INET6 and address.version == 4:
            host = f"::ffff:{host}"
        elif udp.family == socket.AF_INET and address.version == 6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        udp.bind((host, port))
    except OSError as error:
        udp.close()
        raise refused(operation, error.errno or 0, LISTEN_HINTS.get(error.errno or 0, "")) from error
    return udp


def open_tcp_socket(host: str, port: int) -> socket.socket:
    """A non-blocking TCP socket that listens on the literal address `host`. Raises OperationFailed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as half_done:
        try:
            listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            half_done.callback(listening.close)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(TCP_BACKLOG)
        except OSError as error:
            text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise refused(f"listen on TCP {text}", error.errno or 0, LISTEN_HINTS.get(error.errno or 0, "")) from error
        half_done.pop_all()
    return listening


def adopt_socket(fd: int) -> socket.socket | None:
    """A bound UDP socket from a descriptor that was opened, or kept, for us, set up as one of our own.

    None when it is none; it is closed then."""
    try:
        udp = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return None
    if udp.family not in (socket.AF_INET, socket.AF_INET6) or udp.type != socket.SOCK_DGRAM:
        udp.close()
        return None
    udp.setblocking(False)
    _set_options(udp)
    return udp


def listens_on(udp: socket.socket) -> str:
    """The address and port of a bound socket, as `Listen` is written; [::] with `only IPv6` if it takes no IPv4."""
    host, port = udp.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.version == 4:
        return f"{address}:{port}"
    only = address.is_unspecified and udp.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return f"[{address}]:{port}" + (" (only IPv6)" if only else "")


def bound_to(udp: socket.socket) -> int:
    """The index of the interface that a socket is bound to; 0: none."""
    return udp.getsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX)


LISTEN_HINTS = {
    errno.EADDRINUSE: "another program has this port (ss -lunp or -ltnp shows it): stop it, or change Listen",
    errno.EADDRNOTAVAIL: "no interface has this address: correct Listen",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EAFNOSUPPORT: "this kernel has no IPv6: set Listen to 0.0.0.0:PORT",
}


def _open(operation: str) -> socket.socket:
    try:
        try:
            udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise refused(operation, error.errno or 0) from error
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    _set_options(udp)
    return udp


def _set_options(udp: socket.socket) -> None:
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        udp.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    udp.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
    with contextlib.suppress(OSError):  # Linux 5.0
        udp.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    _set_buffer(udp, SO_RCVBUFFORCE, socket.SO_RCVBUF)
    _set_buffer(udp, SO_SNDBUFFORCE, socket.SO_SNDBUF)


def _set_buffer(udp: socket.socket, forced: int, plain: int) -> None:
    try:
        udp.setsockopt(socket.SOL_SOCKET, forced, BUFFER_SIZE)
    except PermissionError:
        udp.setsockopt(socket.SOL_SOCKET, plain, BUFFER_SIZE)
        granted = udp.getsockopt(socket.SOL_SOCKET, plain) // 2  # the kernel doubles it for its own use
        if granted < BUFFER_SIZE:
            log.debug("socket buffer of %d bytes; more needs CAP_NET_ADMIN or net.core.[rw]mem_max", granted)
