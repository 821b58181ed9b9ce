"""The TUN device: opened for real, with its virtio header, and refused with advice."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from mqvpn.system.errors import OperationFailed
from mqvpn.system.offloads import VARIABLE, without
from mqvpn.system.tun import TCP_OFFLOADS, VNET_HEADER_SIZE, Offload, open_tun
from tests.lab.net import Net
from tests.system.inside import inside


@pytest.mark.parametrize("name", ["", "..", "tun/0", "tun 0", "tun%d", 'tun"0', "sixteen-letters-", "tün0"])
def test_unusable_names_are_refused(name: str) -> None:
    with pytest.raises(OperationFailed, match="not a usable name; take 1 to 15 letters"):
        open_tun(name)


@pytest.mark.netns
def test_packets_come_with_a_virtio_header_and_reading_does_not_block(net: Net) -> None:
    client = net.namespace("client")

    def run() -> None:
        tun = open_tun("mq-home.1")
        assert tun.name == "mq-home.1"
        assert tun.offloads & TCP_OFFLOADS == TCP_OFFLOADS
        assert not os.get_inheritable(tun.fd)
        client.sysctl(ipv6__conf__all__disable_ipv6=1)
        client.ip("link", "set", tun.name, "up")
        client.ip("addr", "add", "10.9.0.2/24", "dev", tun.name)
        with pytest.raises(BlockingIOError):
            os.read(tun.fd, 1 << 16)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"hello", ("10.9.0.9", 9))
        packet = os.read(tun.fd, 1 << 16)
        assert packet[VNET_HEADER_SIZE] == 0x45
        assert packet.endswith(b"hello")
        flags = struct.unpack_from("B", packet)[0]
        assert flags == 1  # VIRTIO_NET_HDR_F_NEEDS_CSUM: the checksum is left to us

    inside(client, run)


@pytest.mark.netns
@pytest.mark.parametrize(
    ("names", "headers", "offloads"),
    [
        ("", True, TCP_OFFLOADS),
        ("uso", True, TCP_OFFLOADS),
        ("tso uso", True, Offload(0)),
        ("vnet_hdr,gso", False, Offload(0)),
    ],
)
def test_offloads_can_be_left_aside(
    net: Net, monkeypatch: pytest.MonkeyPatch, names: str, headers: bool, offloads: Offload
) -> None:
    monkeypatch.setenv(VARIABLE, names)

    def run() -> None:
        tun = open_tun("tun0")
        assert tun.vnet_header == headers
        assert tun.offloads & TCP_OFFLOADS == offloads
        assert bool(tun.offloads & Offload.USO4) <= (not names)

    inside(net.namespace("client"), run)


def test_an_unknown_offload_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "gso,lro")
    with pytest.raises(OperationFailed, match=f"read {VARIABLE}.*lro; write some of vnet_hdr, tso, uso, gso, gro"):
        without()


@pytest.mark.netns
def test_closing_removes_the_interface(net: Net) -> None:
    def run() -> None:
        os.close(open_tun("tun0").fd)
        assert "tun0" not in [name for _, name in socket.if_nameindex()]

    inside(net.namespace("client"), run)


@pytest.mark.netns
def test_an_interface_that_is_no_tun_is_not_taken(net: Net) -> None:
    client = net.namespace("client")
    client.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")

    def run() -> None:
        with pytest.raises(OperationFailed, match="has this name: set another TunName"):
            open_tun("eth0")

    inside(client, run)


@pytest.mark.netns
def test_a_tun_in_use_is_not_taken_but_a_free_one_is(net: Net) -> None:
    client = net.namespace("client")
    client.ip("tuntap", "add", "free0", "mode", "tun")

    def run() -> None:
        open_tun("free0")
        with pytest.raises(OperationFailed, match="another program holds this TUN"):
            open_tun("free0")

    inside(client, run)


@pytest.mark.netns
def test_without_the_right_to_it_says_what_is_needed(net: Net) -> None:
    def run() -> None:
        os.setuid(65534)
        with pytest.raises(OperationFailed, match=f"{os.strerror(errno.EACCES)}|not permitted") as caught:
            open_tun("tun0")
        assert "CAP_NET_ADMIN" in str(caught.value)

    inside(net.namespace("client"), run)
