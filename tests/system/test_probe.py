"""Probes against real sockets: a QUIC server's Version Negotiation, a closed port, silence, nonsense."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mqvpn.system.probe import DATAGRAM, Outcome, Target, explain, probe
from mqvpn.tunnel.invariants import LongHeader, version_negotiation

Answer = Callable[[bytes], bytes]


def negotiate(datagram: bytes) -> bytes:
    """As our server does."""
    header = LongHeader.read(datagram)
    assert header is not None
    assert header.version not in (0, 1)
    assert header.version & 0x0F0F0F0F == 0x0A0A0A0A  # RFC 9000, section 15
    assert len(datagram) == DATAGRAM
    return version_negotiation(header, (1,))


@contextmanager
def server(answer: Answer | None, family: int = socket.AF_INET, skip: int = 0) -> Iterator[tuple[str, int]]:
    """A UDP socket that answers each datagram but the first `skip`; None: it says nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        udp.settimeout(0.05)
        stop = threading.Event()

        def run() -> None:
            seen = 0
            while not stop.is_set():
                try:
                    data, sender = udp.recvfrom(4096)
                except TimeoutError:
                    continue
                seen += 1
                if answer is not None and seen > skip:
                    udp.sendto(answer(data), sender)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield udp.getsockname()[:2]
        finally:
            stop.set()
            thread.join()


def ask(*servers: tuple[str, int], interface: str = "", timeout: float = 0.3) -> list[Outcome]:
    targets = [Target(interface, one) for one in servers]
    outcomes = probe(targets, None, timeout)
    return [outcomes[target] for target in targets]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_server_answers(family: int) -> None:
    with server(negotiate, family) as address:
        began = time.monotonic()
        [outcome] = ask(address, timeout=5)
        assert outcome.rtt is not None
        assert 0 < outcome.rtt < 1
        assert time.monotonic() - began < 2


def test_nobody_listens() -> None:
    with server(None) as address:
        pass
    [outcome] = ask(address)
    assert outcome.error == errno.ECONNREFUSED
    assert explain(outcome) == "nobody listens there"


def test_silence_takes_its_time_and_no_more() -> None:
    with server(None) as address:
        began = time.monotonic()
        assert ask(address, timeout=0.3) == [Outcome()]
        assert 0.3 <= time.monotonic() - began < 2


def test_a_lost_probe_is_sent_again() -> None:
    with server(negotiate, skip=1) as address:
        [outcome] = ask(address, timeout=5)
        assert outcome.rtt is not None
        assert outcome.rtt < 0.4  # since the second was sent


@pytest.mark.parametrize("answer", [lambda _: b"", lambda data: data, lambda data: negotiate(data)[:-8]])
def test_what_is_no_version_negotiation_is_no_answer(answer: Answer) -> None:
    with server(answer) as address:
        assert ask(address) == [Outcome()]


def test_all_are_asked_at_once() -> None:
    with server(negotiate) as good, server(None) as silent, server(None) as silent_too:
        began = time.monotonic()
        first, second, third = ask(good, silent, silent_too, timeout=1)
        assert time.monotonic() - began < 2
        assert first.rtt is not None
        assert not second.done
        assert not third.done


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_through_an_interface() -> None:
    with server(negotiate) as address:
        assert ask(address, interface="lo", timeout=2)[0].rtt is not None
        assert ask(address, interface="mq-none")[0].error == errno.ENODEV
