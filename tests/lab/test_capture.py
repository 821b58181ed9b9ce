"""A capture has all that left, so that none of it goes unjudged."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.lab.capture import Capture
from tests.lab.net import Net
from tests.system.inside import inside

ADDRESS, PORTS = "10.9.0.1", range(2000, 2020)


def send() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for port in PORTS:
            udp.sendto(b"hello", (ADDRESS, port))


@pytest.mark.netns
def test_what_it_had_no_time_to_read(net: Net) -> None:
    """It had no processor when the packets left, and then was asked to end."""
    namespace = net.namespace("a")
    namespace.ip("link", "set", "lo", "up")
    namespace.ip("addr", "add", f"{ADDRESS}/24", "dev", "lo")
    with Capture(namespace, ["lo"]) as capture:
        capture.process.send_signal(signal.SIGSTOP)
        inside(namespace, send)
        capture.process.send_signal(signal.SIGTERM)
        capture.process.send_signal(signal.SIGCONT)
    assert [packet.dport for packet in capture.packets if packet.destination == ADDRESS and packet.dport] == list(PORTS)
