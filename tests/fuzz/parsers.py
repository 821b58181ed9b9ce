"""Targets without state: capsules, configuration, IP and long headers, super packets.

Each raises only when something is wrong; the exceptions that the parser declares are part of its contract.
"""

import os
import socket
import tempfile
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from mqvpn.config.errors import ConfigError
from mqvpn.config.load import load
from mqvpn.connectip.error import Refused, StreamError
from mqvpn.connectip.request import check, check_response
from mqvpn.connectip.session import Session
from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.segment import segments
from mqvpn.dataplane.tun import Tun
from mqvpn.multipath.datagram import split
from mqvpn.multipath.parameters import read_initial_max_path_id
from mqvpn.multipath.seam import QuicConnectionError
from mqvpn.tunnel.invariants import LongHeader
from mqvpn.wire import ip
from mqvpn.wire.buffer import DecodeError, Reader, Writer
from mqvpn.wire.capsule import Capsule, CapsuleReader, write_capsule
from mqvpn.wire.frame import read_frame, write_frame
from tests.fuzz import pieces

WRITTEN_AT_ONCE = 64  # packets, as a receive batch would have them
ROUTERS = (IPv4Address("10.0.0.1"), IPv6Address("fd00::1"))


def capsules(data: bytes) -> None:
    """One stream of capsules: in one piece, in small ones, and as a session's."""
    options, stream = data[:1] or b"\0", data[1:]
    lenient, size = bool(options[0] & 1), 1 + (options[0] >> 1)
    whole = _feed(stream, len(stream) or 1, lenient=lenient)
    assert whole == _feed(stream, size, lenient=lenient), "it matters how the stream is cut"
    for capsule in whole or ():
        out = Writer()
        write_capsule(out, capsule)
        assert CapsuleReader(lenient=lenient).feed(bytes(out), True) == [capsule]
    session = Session(lenient=lenient)
    with suppress(StreamError):
        session.receive(stream, bool(options[0] & 2))


def _feed(stream: bytes, size: int, *, lenient: bool) -> list[Capsule] | None:
    """The capsules of a stream that comes in pieces of `size`, or None: it is malformed."""
    reader, found = CapsuleReader(lenient=lenient), []
    try:
        for start in range(0, len(stream), size):
            found += reader.feed(stream[start : start + size], False)
        found += reader.feed(b"", True)
    except DecodeError:
        return None
    return found


class Configuration:
    """A configuration file's bytes behind one byte that says what it is to be."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self._file = Path(self._folder.name, "mqvpn.conf")

    def __call__(self, data: bytes) -> None:
        mode = (None, "client", "server")[(data[:1] or b"\0")[0] % 3]
        self._file.write_bytes(data[1:])
        refusal = ""
        try:
            load(self._file, mode=mode)
        except ConfigError as error:
            refusal = str(error)
        assert not refusal or refusal.startswith(str(self._file)), "the message does not say which file"


def packets(data: bytes) -> None:
    """An IP packet from anywhere: its header, and the ICMP errors about it."""
    with suppress(DecodeError):
        header = ip.IpHeader.read(data)
        assert header.payload <= len(data) or header.later_fragment
    for router in ROUTERS:
        for answer in (
            ip.packet_too_big(data, 1280, router),
            ip.source_refused(data, router),
            ip.no_route(data, router),
        ):
            if answer is not None:
                assert len(answer) <= (576 if router.version == 4 else 1280)
                assert ip.IpHeader.read(answer).source == router


def headers(data: bytes) -> None:
    """Whatever is read of a datagram before there are keys, frames as Python reads them, and field sections."""
    LongHeader.read(data)
    head, tail = split(data)
    assert len(head) in (0, len(data))
    assert len(tail) <= len(data)
    with suppress(QuicConnectionError):
        read_initial_max_path_id(data)
    with suppress(DecodeError):
        source = Reader(data)
        frame = read_frame(source)
        out = Writer()
        write_frame(out, frame)
        assert read_frame(Reader(bytes(out))) == frame
    fields = [(name, value) for line in data.split(b"\n") for name, _, value in (line.partition(b"="),)]
    for judge in (check, check_response):
        with suppress(Refused, StreamError):
            judge(fields)


class SuperPackets:
    """Messages from a TUN device with virtio headers: read, cut into segments, and those written again."""

    def __init__(self) -> None:
        self._kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours = ours
        for end in (self._kernel, ours):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._tun = Tun(ours.fileno(), True, True)
        self._batch, self._refs = PacketBatch(), PacketRefs()

    def __call__(self, data: bytes) -> None:
        for _, message in pieces.split(data)[:8]:
            if message:
                self._kernel.send(message)
        self._tun.read(self._batch, 1.0)
        cut = segments(self._batch)
        for start in range(0, len(cut), WRITTEN_AT_ONCE):
            for segment in cut[start : start + WRITTEN_AT_ONCE]:
                self._refs.append(segment)
            self._tun.write(self._refs)
            with suppress(BlockingIOError):
                while self._kernel.recv(70000):
                    pass
