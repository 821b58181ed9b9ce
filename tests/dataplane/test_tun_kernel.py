"""Two real TUN devices joined by our code: the kernel takes what we write and understands what we cut.

TCP and UDP of both families cross from one namespace to the other; every super packet is cut after reading
and joined again before writing.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.segment import segments
from mqvpn.dataplane.tun import Tun
from tests.lab.net import Namespace, Net

pytestmark = pytest.mark.netns

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
CSUM, TSO4, TSO6, USO4, USO6 = 1, 2, 4, 0x20, 0x40
SOL_UDP, UDP_SEGMENT = 17, 103
CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """What is opened in the block belongs to the namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace.name}") as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0


class End:
    """A namespace with a TUN device, 10.9.0.N and fd09::N."""

    def __init__(self, net: Net, number: int, vnet_header: bool) -> None:
        self.namespace = net.namespace(f"end{number}")
        flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if vnet_header else 0)
        uso = False
        with inside(self.namespace):
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", b"tun0", flags))
            if vnet_header:
                uso = self.offload(CSUM | TSO4 | TSO6 | USO4 | USO6)
                assert uso or self.offload(CSUM | TSO4 | TSO6)
        self.tun = Tun(self.fd, vnet_header, uso)
        self.namespace.ip("link", "set", "tun0", "mtu", "1400", "up")
        self.namespace.ip("addr", "add", f"10.9.0.{number}/24", "dev", "tun0")
        self.namespace.ip("addr", "add", f"fd09::{number}/64", "dev", "tun0", "nodad")

    def offload(self, features: int) -> bool:
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.fd, TUNSETOFFLOAD, features)
            return True
        return False

    def wrong_checksums(self) -> int:
        """TCP segments that the kernel refused: the last of the Tcp counters, InCsumErrors."""
        counters = self.namespace.run("cat", "/proc/net/snmp").splitlines()
        return int([line for line in counters if line.startswith("Tcp:")][1].split()[-1])

    def socket(self, family: int, kind: int) -> socket.socket:
        with inside(self.namespace):
            opened = socket.socket(family, kind)
        opened.settimeout(10)
        return opened


class Bridge(threading.Thread):
    """Carries packets between two ends; counts pieces read and segments cut."""

    def __init__(self, a: End, b: End) -> None:
        super().__init__()
        self.ends = {a.fd: (a, b), b.fd: (b, a)}
        self.pieces = self.segments = 0
        self.closing = threading.Event()

    def run(self) -> None:
        batch, refs = PacketBatch(), PacketRefs()
        while not self.closing.is_set():
            for fd in select.select(list(self.ends), [], [], 0.05)[0]:
                source, sink = self.ends[fd]
                self.pieces += source.tun.read(batch, 0.0, 16)
                for packet in segments(batch):
                    self.segments += 1
                    refs.append(packet)
                sink.tun.write(refs)


@contextlib.contextmanager
def bridged(net: Net, vnet_header: bool = True) -> Iterator[tuple[End, End, Bridge]]:
    ends = End(net, 1, vnet_header), End(net, 2, vnet_header)
    bridge = Bridge(*ends)
    bridge.start()
    try:
        yield *ends, bridge
    finally:
        bridge.closing.set()
        bridge.join()
        for end in ends:
            os.close(end.fd)


def address(family: int, number: int) -> str:
    return f"10.9.0.{number}" if family == socket.AF_INET else f"fd09::{number}"


def transfer(a: End, b: End, family: int, amount: int) -> None:
    """Send bytes over TCP from a to b and compare."""
    block = os.urandom(1 << 16)
    sent, received = hashlib.sha256(), hashlib.sha256()
    with b.socket(family, socket.SOCK_STREAM) as listener, a.socket(family, socket.SOCK_STREAM) as client:
        listener.bind((address(family, 2), 5000))
        listener.listen()
        client.connect((address(family, 2), 5000))
        server, _ = listener.accept()

        def send() -> None:
            for _ in range(amount // len(block)):
                sent.update(block)
                client.sendall(block)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        with server:
            while data := server.recv(1 << 16):
                received.update(data)
        sender.join()
    assert received.digest() == sent.digest()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_tcp_crosses_in_super_packets(net: Net, family: int) -> None:
    with bridged(net) as (a, b, bridge):
        transfer(a, b, family, 32 << 20)
        assert bridge.segments > 3 * bridge.pieces
        for end in (a, b):
            assert not any(end.tun.drops().values())
            assert end.wrong_checksums() == 0


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_udp_bursts_arrive_as_the_datagrams_they_were(net: Net, family: int) -> None:
    with bridged(net) as (a, b, _), b.socket(family, socket.SOCK_DGRAM) as sink:
        sink.bind((address(family, 2), 5000))
        with a.socket(family, socket.SOCK_DGRAM) as source:
            source.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
            payload = os.urandom(30500)
            source.sendto(payload, (address(family, 2), 5000))
            assert b"".join(sink.recv(2000) for _ in range(31)) == payload
        for end in (a, b):
            assert not any(end.tun.drops().values())


def test_without_virtio_header(net: Net) -> None:
    with bridged(net, vnet_header=False) as (a, b, bridge):
        transfer(a, b, socket.AF_INET, 1 << 20)
        assert bridge.segments == bridge.pieces


def test_a_deleted_device_is_noticed(net: Net) -> None:
    end = End(net, 1, True)
    try:
        end.namespace.ip("link", "delete", "tun0")
        end.tun.read(PacketBatch(), 0.0)
        assert end.tun.failed
    finally:
        os.close(end.fd)


def test_a_device_that_is_down_only_drops(net: Net) -> None:
    end = End(net, 1, True)
    try:
        end.namespace.ip("link", "set", "tun0", "down")
        assert not end.tun.write_packet(b"\x45" + bytes(40))
        assert end.tun.failed == 0
    finally:
        os.close(end.fd)
