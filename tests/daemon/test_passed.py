"""What systemd passed or kept is used if it fits the configuration; else it is closed and made anew."""

from __future__ import annotations

import fcntl
import os
import socket

import pytest

from mqvpn.config.values import HostPort
from mqvpn.daemon.passed import ListenDiffers, Passed
from mqvpn.system import activation, tun
from tests.lab.net import Net
from tests.system.inside import inside


def told(systemd: socket.socket) -> list[str]:
    """What the store was asked for, such as `+tun` and `-listen`."""
    found = []
    systemd.setblocking(False)
    while True:
        try:
            lines = systemd.recv(1000).decode().splitlines()
        except BlockingIOError:
            return found
        sign = "+" if lines[0] == "FDSTORE=1" else "-"
        found.append(sign + lines[1].removeprefix("FDNAME="))


def passing(monkeypatch: pytest.MonkeyPatch, **fds: list[int]) -> Passed:
    monkeypatch.setattr(activation, "inherited", lambda: {name.replace("_", "-"): fds[name] for name in fds})
    return Passed()


def udp(host: str = "::", *, only6: bool = False) -> tuple[int, int]:
    """A bound socket's descriptor, and its port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as bound:
        if ":" in host:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only6)
        bound.bind((host, 0))
        return os.dup(bound.fileno()), bound.getsockname()[1]


@pytest.mark.parametrize("host", ["::", "127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_socket_of_the_unit_is_used(monkeypatch: pytest.MonkeyPatch, systemd: socket.socket, host: str) -> None:
    fd, port = udp(host)
    listen = HostPort(host.removeprefix("::ffff:"), port)
    with passing(monkeypatch, udp=[fd]).server_socket(listen) as used:
        assert used.fileno() == fd
        assert not used.getblocking()
        if used.family == socket.AF_INET6:
            assert used.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
    assert told(systemd) == ["-listen"]  # the socket unit keeps it, the store need not


def test_another_socket_than_configured_is_refused_with_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fd, port = udp()
    with pytest.raises(ListenDiffers, match=rf"socket is UDP \[::\]:{port}, \[Interface\] Listen is 0.0.0.0:{port}: "):
        passing(monkeypatch, udp=[fd]).server_socket(HostPort("0.0.0.0", port))
    with pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.fcntl(fd, fcntl.F_GETFD)
    first, one = udp()
    second, two = udp("127.0.0.1")
    with pytest.raises(ListenDiffers, match=rf"UDP \[::\]:{one} and 127.0.0.1:{two}, "):
        passing(monkeypatch, udp=[first, second]).server_socket(HostPort("::", one))
    only, port = udp(only6=True)
    with pytest.raises(ListenDiffers, match=rf"\[::\]:{port} \(only IPv6\), "):
        passing(monkeypatch, udp=[only]).server_socket(HostPort("::", port))


def test_without_a_unit_the_stored_socket_is_used_as_long_as_it_fits(
    monkeypatch: pytest.MonkeyPatch, systemd: socket.socket
) -> None:
    fd, port = udp()
    with passing(monkeypatch, listen=[fd]).server_socket(HostPort("::", port)) as used:
        assert used.fileno() == fd
    assert told(systemd) == []
    fd, _ = udp()
    with passing(monkeypatch, listen=[fd]).server_socket(HostPort("127.0.0.1", port)) as fresh:
        assert fresh.getsockname()[:2] == ("::ffff:127.0.0.1", port)
    assert told(systemd) == ["-listen", "+listen"]


def test_the_control_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        control = passing(monkeypatch, control=[os.dup(listening.fileno())]).control()
    assert control is not None
    assert control.family == socket.AF_UNIX
    control.close()
    assert passing(monkeypatch).control() is None


def test_what_nobody_takes_is_closed_and_leaves_the_store(
    monkeypatch: pytest.MonkeyPatch, systemd: socket.socket
) -> None:
    fd, _ = udp()
    passing(monkeypatch, path_eth9=[fd]).close()
    assert told(systemd) == ["-path-eth9"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.netns
def test_a_stored_device_keeps_its_number_and_addresses(
    net: Net, monkeypatch: pytest.MonkeyPatch, systemd: socket.socket
) -> None:
    space = net.namespace("client")

    def run() -> None:
        first = Passed().tun("mqvpn0")
        assert told(systemd) == ["+tun"]
        space.ip("addr", "add", "10.9.0.2/24", "dev", "mqvpn0")
        before = space.ip("-o", "addr", "show", "dev", "mqvpn0")
        kept = os.dup(first.fd)
        os.close(first.fd)
        second = passing(monkeypatch, tun=[kept]).tun("mqvpn0")
        assert (second.fd, second.offloads) == (kept, first.offloads)
        assert space.ip("-o", "addr", "show", "dev", "mqvpn0") == before
        assert told(systemd) == []
        third = passing(monkeypatch, tun=[kept]).tun("mqvpn1")  # TunName was changed
        assert third.name == "mqvpn1"
        assert told(systemd) == ["-tun", "+tun"]
        space.ip("link", "del", "mqvpn1")
        fourth = passing(monkeypatch, tun=[third.fd]).tun("mqvpn1")
        assert "mqvpn1" in space.ip("link")
        assert told(systemd) == ["-tun", "+tun"]
        os.close(fourth.fd)
        assert tun.adopt_tun(os.open("/dev/null", os.O_RDWR), "mqvpn1") is None

    inside(space, run)


@pytest.mark.netns
def test_path_sockets_keep_their_port_as_long_as_their_interface_is_there(
    net: Net, monkeypatch: pytest.MonkeyPatch, systemd: socket.socket
) -> None:
    space = net.namespace("client")

    def run() -> None:
        space.ip("link", "add", "eth0", "type", "veth")
        index = socket.if_nametoindex("eth0")
        first = Passed().path_socket("eth0", index, 7)
        port = first.getsockname()[1]
        second = passing(monkeypatch, path_eth0=[first.detach()]).path_socket("eth0", index, 7)
        assert second.getsockname()[1] == port
        assert told(systemd) == ["-path-eth0", "+path-eth0"]
        space.ip("link", "del", "eth0")
        space.ip("link", "add", "eth0", "type", "veth")
        index = socket.if_nametoindex("eth0")
        third = passing(monkeypatch, path_eth0=[second.detach()]).path_socket("eth0", index, 7)
        assert told(systemd) == ["-path-eth0", "+path-eth0"]
        assert third.getsockopt(socket.SOL_SOCKET, 62) == index
        third.close()

    inside(space, run)
