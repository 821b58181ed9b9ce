"""Nanoseconds per segment of 1360 bytes, each step by itself. Run with -m bench -s."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

import pytest

from mqvpn.dataplane.checksum import internet_checksum
from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.segment import segments
from mqvpn.dataplane.tun import Tun
from tests.dataplane import oracle
from tests.dataplane.oracle import ACK, PSH, TCP
from tests.dataplane.test_udp import V4, V6, Pair

pytestmark = pytest.mark.bench

SIZE, COUNT, ROUNDS = 1360, 46, 300


def measure(name: str, work: Callable[[], float], per: int = COUNT) -> None:
    """Print the best of many rounds; `work` returns the seconds it took."""
    print(f"{name:32} {min(work() for _ in range(ROUNDS)) / per * 1e9:8.1f} ns")


def seconds(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def flows(count: int) -> list[bytes]:
    """The segments of one super packet of each flow, interleaved."""
    parts = [
        oracle.split(oracle.ip(4, TCP, oracle.tcp(bytes(SIZE * COUNT), sport=port, flags=ACK | PSH)), SIZE)
        for port in range(count)
    ]
    return [packet for row in zip(*parts, strict=True) for packet in row]


def test_checksum() -> None:
    data = os.urandom(SIZE * COUNT)
    measure("checksum", lambda: seconds(lambda: internet_checksum(data)))


def test_split() -> None:
    packet = oracle.ip(4, TCP, oracle.tcp(os.urandom(SIZE * COUNT), flags=ACK | PSH))

    def work() -> float:
        batch = PacketBatch()
        batch.append(packet, SIZE)
        return seconds(lambda: segments(batch))

    measure("split, with a bytes object each", work)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_coalesce(count: int) -> None:
    packets = flows(count)
    with open("/dev/null", "wb") as sink:
        tun = Tun(sink.fileno())
        refs = PacketRefs()

        def work() -> float:
            for packet in packets:
                refs.append(packet)
            return seconds(lambda: tun.write(refs))

        measure(f"coalesce, {count} flows", work, COUNT * count)


@pytest.mark.parametrize(("family", "host"), [(V4, "127.0.0.1"), (V6, "::1"), (V6, "127.0.0.1")])
@pytest.mark.parametrize("offload", [True, False])
def test_send_and_receive(family: int, host: str, offload: bool) -> None:
    with contextlib.closing(Pair(family)) as pair:
        segment = SIZE if offload else 0
        name = f"{'IPv4' if family == V4 else host}{'' if offload else ', single datagrams'}"

        def fill() -> None:
            data = bytes(SIZE * 40 if offload else SIZE)
            for _ in range(8):
                pair.bursts.append(0, (host, pair.ports[1]), (host, 0), data, segment)

        def send() -> float:
            fill()
            took = seconds(lambda: pair.sockets.send(pair.bursts))
            while pair.sockets.receive(1, pair.batch):
                pass
            return took

        def receive() -> float:
            fill()
            pair.sockets.send(pair.bursts)
            took = seconds(lambda: pair.sockets.receive(1, pair.batch))
            assert len(pair.batch) == 8
            return took

        measure(f"send to {name}", send, 8 * (40 if offload else 1))
        measure(f"receive from {name}", receive, 8 * (40 if offload else 1))
