"""A small seeded mutator: the same seed gives the same inputs on every machine, without any fuzzing engine."""

import random
from collections.abc import Callable, Iterator, Sequence

from mqvpn.wire.buffer import Writer
from tests.fuzz import pieces

MAX_INPUT = 4096
EDGES = (0, 1, 2, 4, 7, 8, 63, 64, 255, 16383, 16384, 65535, 65536, 2**30 - 1, 2**30, 2**32 - 1, 2**32, 2**62 - 1)
# QUIC and multipath frame types and transport parameters, HTTP/3 frames and settings, capsules.
NUMBERS = (*range(0x20), 0x30, 0x31, 0x33, 0x3E, 0x3F, *range(0x3E75, 0x3E7D))


def inputs(seeds: Sequence[bytes], seed: int, *, in_pieces: bool) -> Iterator[bytes]:
    """The seeds, then mutations of them for ever; in_pieces: mostly inside of the pieces they consist of."""
    yield from seeds
    source = random.Random(seed)
    while True:
        data = source.choice(seeds)
        if in_pieces and source.random() < 0.9:
            yield _mutate_pieces(source, data, source.choice(seeds))
        else:
            yield mutate(source, data, source.choice(seeds))


def mutate(source: random.Random, data: bytes, other: bytes) -> bytes:
    """One to eight changes to `data`; `other` lends parts."""
    changed = bytearray(data)
    for _ in range(1 << source.randrange(4)):
        source.choice(CHANGES)(source, changed, other)
    return bytes(changed[:MAX_INPUT])


def _mutate_pieces(source: random.Random, data: bytes, other: bytes) -> bytes:
    row, lent = pieces.split(data), pieces.split(other)
    if lent and source.random() < 0.3:
        row.insert(source.randint(0, len(row)), source.choice(lent))
    if row:
        at = source.randrange(len(row))
        kind, payload = row[at]
        if source.random() < 0.1:
            kind = source.randrange(256)
        part = source.choice(lent)[1] if lent else b""
        row[at] = kind, mutate(source, payload, part)
    return pieces.join(row)[:MAX_INPUT]


def _place(source: random.Random, data: bytearray) -> int:
    return source.randint(0, len(data))


def _flip(source: random.Random, data: bytearray, other: bytes) -> None:
    if data:
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def _set(source: random.Random, data: bytearray, other: bytes) -> None:
    if data:
        data[source.randrange(len(data))] = source.choice((0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF))


def _random(source: random.Random, data: bytearray, other: bytes) -> None:
    if data:
        data[source.randrange(len(data))] = source.randrange(256)


def _cut(source: random.Random, data: bytearray, other: bytes) -> None:
    start = _place(source, data)
    del data[start : start + source.randint(1, 16)]


def _truncate(source: random.Random, data: bytearray, other: bytes) -> None:
    del data[_place(source, data) :]


def _repeat(source: random.Random, data: bytearray, other: bytes) -> None:
    start, at = _place(source, data), _place(source, data)
    data[at:at] = data[start : start + source.randint(1, 64)] * source.choice((1, 1, 2, 20))


def _varint(source: random.Random, data: bytearray, other: bytes) -> None:
    out = Writer()
    out.varint(source.choice(source.choice((EDGES, NUMBERS))))
    at = _place(source, data)
    data[at : at + source.choice((0, 1, len(bytes(out))))] = bytes(out)


def _splice(source: random.Random, data: bytearray, other: bytes) -> None:
    at, start = _place(source, data), source.randint(0, len(other))
    data[at : at + source.choice((0, 8, len(data)))] = other[start : start + source.randint(1, 256)]


def _noise(source: random.Random, data: bytearray, other: bytes) -> None:
    at = _place(source, data)
    data[at:at] = source.randbytes(source.randint(1, 16))


CHANGES: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    _flip,
    _set,
    _random,
    _cut,
    _truncate,
    _repeat,
    _varint,
    _varint,
    _splice,
    _noise,
)
