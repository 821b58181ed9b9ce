"""The link emulator does what it is told: without this, no other figure of the test bed means anything."""

from __future__ import annotations

import time

import pytest

from tests.lab import links
from tests.lab.links import Emulator, Link, Shape, compiled
from tests.lab.net import LabError, Namespace, Net
from tests.lab.traffic import Stream, ping, stream_result, transfer

B_ADDRESS = "10.9.0.2"


def joined(net: Net, shape: Shape) -> tuple[Namespace, Namespace, Emulator]:
    a, b = net.namespace("a"), net.namespace("b")
    emulator = net.enter(Emulator(Link("wire", a, "wire0", b, "wire1", shape)))
    for namespace, interface, address in ((a, "wire0", "10.9.0.1/24"), (b, "wire1", f"{B_ADDRESS}/24")):
        namespace.ip("addr", "add", address, "dev", interface)
        namespace.ip("link", "set", interface, "up")
    ping(a, B_ADDRESS, count=1)  # neighbours are known from here on
    return a, b, emulator


@pytest.mark.pace
@pytest.mark.netns
def test_delay(net: Net) -> None:
    a, _, _ = joined(net, Shape(rate=100, delay=15))
    answer = ping(a, B_ADDRESS, count=15)
    assert min(answer.rtts_ms) >= 29.5  # the relay reads the clock once for all that it finds
    assert answer.median_ms < 32


@pytest.mark.pace
@pytest.mark.netns
def test_rate(net: Net) -> None:
    a, b, _ = joined(net, Shape(rate=50, delay=5))
    result = transfer(a, b, B_ADDRESS, seconds=3, udp_mbit=80, size=1400)
    # 1400 of 1442 bytes are payload.
    assert 50 * 1400 / 1442 * 0.97 < result.between(0.5, 2.5) < 50 * 1400 / 1442 * 1.03
    assert result.lost_percent > 25


@pytest.mark.netns
def test_loss_and_duplicates(net: Net) -> None:
    a, b, emulator = joined(net, Shape(loss=20, duplicate=10))
    with Stream(a, b, B_ADDRESS, interval=0.001) as stream:
        time.sleep(2)
    result = stream.result
    assert 0.14 < result.lost / result.sent < 0.26
    assert 0.05 < result.duplicates / result.received < 0.15
    counters = emulator.counters()["wire.ab"]
    assert counters["sent"] >= result.received + result.duplicates
    assert counters["lost"] >= result.lost


@pytest.mark.netns
def test_reordering(net: Net) -> None:
    a, b, _ = joined(net, Shape(delay=1, reorder=10))
    with Stream(a, b, B_ADDRESS, interval=0.001) as stream:
        time.sleep(1)
    assert stream.result.reordered > 20
    assert stream.result.lost == 0


@pytest.mark.pace
@pytest.mark.netns
def test_blackhole_is_silent_and_ends(net: Net) -> None:
    a, b, emulator = joined(net, Shape(delay=1))
    with Stream(a, b, B_ADDRESS) as stream:
        time.sleep(0.5)
        emulator.set("wire", blackhole=1)
        time.sleep(0.7)
        assert "LOWER_UP" in a.ip("link", "show", "wire0")
        emulator.set("wire", blackhole=0)
        time.sleep(0.5)
    assert 0.6 < stream.result.longest_gap < 0.9


@pytest.mark.netns
def test_carrier(net: Net) -> None:
    a, _, emulator = joined(net, Shape())
    emulator.set("wire", carrier=0)
    assert "NO-CARRIER" in a.ip("link", "show", "wire0")
    emulator.set("wire", carrier=1)
    assert "LOWER_UP" in a.ip("link", "show", "wire0")


@pytest.mark.netns
@pytest.mark.parametrize("parameters", [{"rate": -1}, {"colour": 1}])
def test_wrong_parameter_is_refused(net: Net, parameters: dict[str, float]) -> None:
    _, _, emulator = joined(net, Shape())
    with pytest.raises(LabError, match="refused"):
        emulator.set("wire", **parameters)


@pytest.mark.pace
@pytest.mark.netns
def test_one_direction(net: Net) -> None:
    a, _, emulator = joined(net, Shape())
    emulator.set("wire", **{"ab.delay": 20.0})
    answer = ping(a, B_ADDRESS, count=15)
    assert min(answer.rtts_ms) >= 19.5
    assert answer.median_ms < 22


def test_stream_result_counts_each_kind_of_harm() -> None:
    arrivals = [(0, 0.0), (2, 0.1), (1, 0.2), (2, 0.3), (4, 0.8)]
    result = stream_result(6, arrivals)
    assert (result.received, result.lost, result.duplicates, result.reordered) == (4, 2, 1, 1)
    assert result.longest_gap == pytest.approx(0.6)


def test_a_program_is_compiled_for_its_flags_and_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = compiled("lab/linkem", "-lm")
    assert compiled("lab/linkem", "-lm") == plain
    quicker = compiled("lab/linkem", "-O3", "-lm")
    monkeypatch.setattr(links, "processor", lambda: "model name: another")
    elsewhere = compiled("lab/linkem", "-lm")
    try:
        assert len({plain, quicker, elsewhere}) == 3
        assert all(program.exists() for program in (plain, quicker, elsewhere))
    finally:
        quicker.unlink()
        elsewhere.unlink()
