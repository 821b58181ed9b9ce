"""A short run of every target: its seeds and as many mutations of them as fit, the same on every machine.

A finding of a longer run (packaging/fuzz TARGET SECONDS) becomes a seed with a name, or a test of its own.
"""

from __future__ import annotations

from itertools import islice

import pytest

from tests.fuzz import forks, pieces
from tests.fuzz.ends import After, Before, Ends
from tests.fuzz.mutate import inputs
from tests.fuzz.targets import TARGETS, Watch, seeds

MUTATIONS = 2000
OF_CONNECTIONS = 80  # as many as cost the same: each second one uses a connection up
SLOWNESS = 5.0  # of machines that run other tests at the same time


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_the_rule(name: str) -> None:
    kept, watch = seeds(name), Watch(name, slowness=SLOWNESS)
    count = len(kept) + (OF_CONNECTIONS if TARGETS[name].is_connection else MUTATIONS)
    for data in islice(inputs(kept, 1, in_pieces=TARGETS[name].in_pieces), count):
        watch(data)
    assert watch.count == count


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_small(name: str) -> None:
    assert 0 < sum(map(len, seeds(name))) < 10_000


def test_the_same_seed_gives_the_same_inputs() -> None:
    kept = seeds("frames")
    first = list(islice(inputs(kept, 7, in_pieces=True), 500))
    assert first == list(islice(inputs(kept, 7, in_pieces=True), 500))
    assert len(set(first)) > 450


def test_any_bytes_are_a_row_of_pieces() -> None:
    row = [(7, b"abc"), (0, b"")]
    assert pieces.split(pieces.join(row)) == row
    assert pieces.split(b"\x07\x00\x03a") == [(7, b"a")]
    assert pieces.split(b"\x07") == [(7, b"")]


CLOSE = b"\x1c\0\0\0"  # a CONNECTION_CLOSE frame


@pytest.mark.parametrize("of_server", [True, False])
@pytest.mark.parametrize(("attack", "kind"), [(Before, 2), (Before, 3), (After, 0), (After, 1)])
def test_what_an_attacker_seals_is_opened(attack: type[Ends], kind: int, of_server: bool) -> None:
    """Else the rest of these tests would say little. A server that sent Handshake packets still opens Initials."""
    target = attack(of_server=of_server)
    target(pieces.join([(0, b"garbage"), (kind, CLOSE)]))
    assert target.used_up()


def slow(data: bytes) -> None:
    for _ in range(10_000_000):
        pass


def broken(*arguments: object) -> None:
    raise KeyError(arguments)


def test_the_watch_reports_exceptions_and_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    target = TARGETS["packets"]
    monkeypatch.setitem(TARGETS, "packets", type(target)(lambda: slow))
    with pytest.raises(AssertionError, match="CPU time"):
        Watch("packets")(b"")
    monkeypatch.setitem(TARGETS, "packets", type(target)(lambda: broken))
    with pytest.raises(KeyError):
        Watch("packets")(b"")


def test_an_exception_inside_of_the_guards_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch("server-after")
    watch(b"")  # the tunnel is up
    monkeypatch.setattr("mqvpn.tunnel.http3.Http3.handle_event", broken)
    with pytest.raises(AssertionError, match="internal error"):
        watch(pieces.join([(4, b"\0stream data")]))


def test_copies_take_every_input_and_report_what_they_find() -> None:
    kept, watch = seeds("server-after"), Watch("server-after", slowness=SLOWNESS)
    assert forks.run(watch, inputs(kept, 1, in_pieces=True), watch, runs=60, over=lambda: False) == 60
    assert not watch.used_up()  # only copies of it were
    with pytest.raises(AssertionError, match="child ended with 255"):
        forks.run(watch, inputs(kept, 1, in_pieces=True), broken, runs=1, over=lambda: False)
