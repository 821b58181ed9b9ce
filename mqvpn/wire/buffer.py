"""Reading and writing the integers that QUIC and its relatives are made of.

Varints are those of RFC 9000, section 16; other integers are big-endian. Whatever bytes come in, reading
raises DecodeError and nothing else; writing a value that does not fit is the caller's fault and a ValueError.
"""

from typing import Final

VARINT_MAX: Final = (1 << 62) - 1


class DecodeError(ValueError):
    """The bytes are not what the format says they must be."""


def varint_size(value: int) -> int:
    """Return how many bytes the shortest encoding of `value` takes: 1, 2, 4 or 8."""
    if not 0 <= value <= VARINT_MAX:
        raise ValueError(f"{value} does not fit into a variable-length integer")
    if value < 1 << 6:
        return 1
    if value < 1 << 14:
        return 2
    return 4 if value < 1 << 30 else 8


class Reader:
    """Takes fields off the front of `data`."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._position

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._position

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        if size > self.remaining:
            raise DecodeError(f"{size} bytes expected, {self.remaining} left")
        start = self._position
        self._position += size
        return self._data[start : self._position]

    def uint8(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        """Read a variable-length integer; encodings longer than needed are valid (RFC 9000, section 16)."""
        first = self.uint8()
        tail = self.take((1 << (first >> 6)) - 1)
        return int.from_bytes(bytes([first & 0x3F]) + tail)

    def rest(self) -> bytes:
        """Read everything that is left."""
        return self.take(self.remaining)

    def expect_end(self) -> None:
        """Refuse bytes behind the last field."""
        if self.remaining:
            raise DecodeError(f"{self.remaining} bytes too many")


class Writer:
    """Appends fields; `bytes(writer)` is the result."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    def write(self, data: bytes) -> None:
        self._data += data

    def uint8(self, value: int) -> None:
        self._data.append(value)

    def varint(self, value: int) -> None:
        """Write `value` in its shortest form."""
        size = varint_size(value)
        self._data += (value | (size.bit_length() - 1) << (8 * size - 2)).to_bytes(size)
