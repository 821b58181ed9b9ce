"""Received packet numbers: what PATH_ACK tells of them, against a set."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mqvpn.wire.drop import Drop
from tests.dataplane.scripted import CLIENT, PING, SERVER, Scripted, read_path_ack, seal

REMEMBERED, TOLD = 64, 32  # ranges of received numbers


@given(st.lists(st.integers(0, 300).map(lambda n: n * n // 40 + 1000), max_size=200), st.integers(1, 40))
@settings(max_examples=60)
def test_acked_ranges_are_those_of_a_set(numbers: list[int], batch: int) -> None:
    end = Scripted()
    model: set[int] = set()
    floor = duplicates = 0
    for at in range(0, len(numbers), batch):
        for number in numbers[at : at + batch]:
            end.engine.receive_one(seal(0, number, PING), 0, SERVER, CLIENT, end.refs, end.now)
            duplicates += number in model or number < floor
            model |= {number} if number >= floor else set()
            found = ranges_of(model)
            if len(found) > REMEMBERED:
                floor = found[-1][1] + 1
                model = {kept for kept in model if kept >= floor}
        acks = [payload for _, _, payload in end.transmit()]
        if acks:
            assert len(acks) == 1
            assert read_path_ack(acks[0])[:2] == (0, ranges_of(model)[:TOLD])
    assert end.engine.drops()[Drop.DUPLICATE] == duplicates


def ranges_of(numbers: set[int]) -> list[tuple[int, int]]:
    highs = sorted((n for n in numbers if n + 1 not in numbers), reverse=True)
    lows = sorted((n for n in numbers if n - 1 not in numbers), reverse=True)
    return list(zip(lows, highs, strict=True))
