"""UDP sockets on the real kernel: both families, the address asked, marks, DF, and errors."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink
from mqvpn.system.routing import DEFAULT_ROUTES, FIRST, MARK, TunnelRoutes, apply
from mqvpn.system.sockets import BUFFER_SIZE, IP_PKTINFO, UDP_GRO, open_path_socket, open_server_socket
from mqvpn.system.sysctl import Sysctls
from mqvpn.system.tun import open_tun
from tests.lab.net import Namespace, Net
from tests.system.inside import enter, inside

Message = tuple[int, int, bytes]


def pktinfo(udp: socket.socket, send_to: tuple[str, int], family: int) -> tuple[str, str]:
    """The sender's address and the address asked, as the server socket `udp` sees one datagram."""
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", send_to)
        _, messages, flags, sender = _received(udp)
    assert not flags & socket.MSG_CTRUNC
    return sender[0], socket.inet_ntop(socket.AF_INET6, asked(messages))


def asked(messages: list[Message]) -> bytes:
    """The address that the datagram was sent to, 16 bytes (RFC 3542, section 6.1)."""
    kind = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
    return next(data[:16] for *found, data in messages if tuple(found) == kind)


def answer(udp: socket.socket, messages: list[Message], sender: tuple[str, int]) -> None:
    """Answer from the address that was asked."""
    source = asked(messages) + struct.pack("i", 0)
    udp.sendmsg([b"pong"], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source)], 0, sender)


def _received(udp: socket.socket) -> tuple[bytes, list[Message], int, tuple[str, int]]:
    udp.settimeout(5)
    return udp.recvmsg(100, 200)


def test_one_socket_serves_both_families_and_tells_the_address_asked() -> None:
    with open_server_socket("::", 0) as udp:
        port = udp.getsockname()[1]
        assert pktinfo(udp, ("127.0.0.5", port), socket.AF_INET) == ("::ffff:127.0.0.1", "::ffff:127.0.0.5")
        assert pktinfo(udp, ("::1", port), socket.AF_INET6) == ("::1", "::1")


def test_an_ipv4_wildcard_serves_ipv4_alone_in_the_same_form() -> None:
    with open_server_socket("0.0.0.0", 0) as udp:
        port = udp.getsockname()[1]
        assert udp.family == socket.AF_INET6
        assert pktinfo(udp, ("127.0.0.5", port), socket.AF_INET) == ("::ffff:127.0.0.1", "::ffff:127.0.0.5")
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.connect(("::1", port))
            client.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                client.send(b"x")


def test_the_answer_leaves_from_the_address_asked() -> None:
    with open_server_socket("::", 0) as udp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"x", ("127.0.0.5", udp.getsockname()[1]))
        _, messages, _, sender = _received(udp)
        answer(udp, messages, sender)
        assert client.recvfrom(10)[1][0] == "127.0.0.5"


class WithoutIPv6(socket.socket):
    """The sockets of a kernel that was built, or booted, without IPv6."""

    def __init__(self, family: int = -1, kind: int = -1, *more: Any, **options: Any) -> None:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        super().__init__(family, kind, *more, **options)


def test_a_kernel_without_ipv6_gives_ipv4_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", WithoutIPv6)
    with open_path_socket(None, None) as path, open_server_socket("127.0.0.1", 0) as udp:
        assert path.family == udp.family == socket.AF_INET
        path.sendto(b"x", udp.getsockname())
        kinds = [message[:2] for message in _received(udp)[1]]
        assert kinds == [(socket.IPPROTO_IP, IP_PKTINFO)]
    with pytest.raises(OperationFailed, match=r"no IPv6: set Listen to 0\.0\.0\.0:PORT"):
        open_server_socket("::", 443)


@pytest.mark.parametrize("host", ["127.0.0.5", "::1"])
def test_one_address(host: str) -> None:
    with open_server_socket(host, 0) as udp:
        assert udp.getsockname()[0].removeprefix("::ffff:") == host


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with open_server_socket("127.0.0.1", 0) as udp:
        port = udp.getsockname()[1]
        with pytest.raises(OperationFailed, match=rf"UDP 127.0.0.1:{port}: Address already in use; another"):
            open_server_socket("127.0.0.1", port)


def test_an_address_of_nobody_is_an_error() -> None:
    with pytest.raises(OperationFailed, match=r"UDP \[2001:db8::1\]:443.*no interface has this address"):
        open_server_socket("2001:db8::1", 443)


def test_reading_does_not_block_and_datagrams_are_coalesced() -> None:
    with open_path_socket(None, None) as udp:
        assert udp.getsockname()[1] != 0
        assert udp.getsockopt(socket.IPPROTO_UDP, UDP_GRO) == 1
        with pytest.raises(BlockingIOError):
            udp.recv(1)


@pytest.mark.netns
def test_buffers_hold_eight_megabytes_with_the_right_to(net: Net) -> None:
    def run() -> None:
        with open_path_socket(None, MARK) as udp:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                assert udp.getsockopt(socket.SOL_SOCKET, option) == 2 * BUFFER_SIZE

    inside(net.namespace("client"), run)


@pytest.mark.netns
def test_without_the_right_to_the_buffers_are_what_the_host_allows(net: Net) -> None:
    def run() -> None:
        os.setuid(65534)
        with open_path_socket(None, None) as udp:
            assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 0
        with pytest.raises(OperationFailed, match="CAP_NET_ADMIN"):
            open_path_socket(None, MARK)

    inside(net.namespace("client"), run)


@pytest.mark.netns
def test_an_interface_that_is_not_there_is_named(net: Net) -> None:
    def run() -> None:
        with pytest.raises(OperationFailed, match="UDP socket on wlan9: No such device"):
            open_path_socket("wlan9", MARK)

    inside(net.namespace("client"), run)


def two_uplinks(net: Net) -> tuple[Namespace, Namespace]:
    client, server = net.namespace("client"), net.namespace("server")
    for number in (1, 2):
        net.veth(client, f"eth{number}", server, f"eth{number}")
        for side, host in ((client, 2), (server, 1)):
            side.ip("link", "set", f"eth{number}", "up")
            side.ip("addr", "add", f"192.0.{number}.{host}/24", "dev", f"eth{number}")
            side.ip("addr", "add", f"2001:db8:{number}::{host}/64", "dev", f"eth{number}", "nodad")
        client.ip("route", "add", "default", "via", f"192.0.{number}.1", "metric", str(number))
        client.ip("-6", "route", "add", "default", "via", f"2001:db8:{number}::1", "metric", str(number))
    server.ip("addr", "add", "198.51.100.1/32", "dev", "lo")
    server.ip("addr", "add", "2001:db8:ffff::1/128", "dev", "lo", "nodad")
    return client, server


def ask(path: socket.socket, server: socket.socket, address: str) -> tuple[str, str]:
    """The client's address at the server, and the address that the answer came from."""
    path.settimeout(5)
    path.sendto(b"ping", (address, 4433))
    _, messages, _, sender = _received(server)
    answer(server, messages, sender)
    return sender[0], path.recvfrom(100)[1][0]


@pytest.mark.netns
@pytest.mark.parametrize("address", ["::ffff:198.51.100.1", "2001:db8:ffff::1"])
def test_each_path_leaves_by_its_interface_although_the_default_route_is_the_tunnel(
    strict_net: Net, address: str
) -> None:
    client, server = two_uplinks(strict_net)

    def run() -> None:
        open_tun("tun0")
        client.ip("link", "set", "tun0", "up")
        with Netlink() as netlink, ThreadPoolExecutor(1) as elsewhere, Sysctls() as sysctls:
            apply(netlink, TunnelRoutes("tun0", DEFAULT_ROUTES), FIRST)
            elsewhere.submit(enter, server.name).result()
            serving = elsewhere.submit(open_server_socket, "::", 4433).result()
            for number in (1, 2):
                sysctls.loosen_rp_filter(f"eth{number}")
                source = f"192.0.{number}.2" if "." in address else f"2001:db8:{number}::2"
                with open_path_socket(f"eth{number}", MARK) as path:
                    seen, answered_from = ask(path, serving, address)
                    assert (seen.removeprefix("::ffff:"), answered_from) == (source, address)

    inside(client, run)


@pytest.mark.netns
@pytest.mark.parametrize("address", ["::ffff:192.0.1.1", "2001:db8:1::1"])
def test_datagrams_are_never_fragmented(net: Net, address: str) -> None:
    client, _ = two_uplinks(net)
    client.ip("link", "set", "eth1", "mtu", "1400")

    def run() -> None:
        with open_path_socket("eth1", None) as path:
            path.sendto(bytes(1352), (address, 4433))
            with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
                path.sendto(bytes(1373), (address, 4433))

    inside(client, run)


@pytest.fixture
def strict_net() -> Iterator[Net]:
    """A test bed where every host drops what comes by another interface than it would answer by."""
    with Net(strict_rp_filter=True) as net:
        yield net
