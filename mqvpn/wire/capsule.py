"""The Capsule Protocol (RFC 9297, section 3): type, length and value on the request's data stream.

CapsuleReader takes the stream in pieces of any size. It holds at most one known capsule of 64 KiB; values it
has no use for are skipped as they pass, however long they claim to be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, Self

from mqvpn.wire.address import AddressAssign, AddressRequest, RouteAdvertisement
from mqvpn.wire.buffer import DecodeError, Reader, Writer

MAX_CAPSULE: Final = 65536
_MAX_HEADER: Final = 16  # two varints of eight bytes


@dataclass(frozen=True, slots=True)
class DatagramCapsule:
    """DATAGRAM (RFC 9297, section 3.5): `payload` is an HTTP Datagram Payload, without Quarter Stream ID."""

    type: ClassVar[int] = 0x00
    payload: bytes

    def write(self, out: Writer) -> None:
        out.write(self.payload)

    @classmethod
    def read(cls, src: Reader) -> Self:
        return cls(src.rest())


Capsule = DatagramCapsule | AddressAssign | AddressRequest | RouteAdvertisement

CAPSULES: Final[dict[int, Callable[[Reader], Capsule]]] = {
    DatagramCapsule.type: DatagramCapsule.read,
    AddressAssign.type: AddressAssign.read,
    AddressRequest.type: AddressRequest.read,
    RouteAdvertisement.type: RouteAdvertisement.read,
}


def write_capsule(out: Writer, capsule: Capsule) -> None:
    """Write `capsule` with its type and length."""
    fields = Writer()
    capsule.write(fields)
    value = bytes(fields)
    out.varint(capsule.type)
    out.varint(len(value))
    out.write(value)


class CapsuleReader:
    """Cuts one direction of a data stream into capsules.

    `lenient` is handed to AddressAssign.read().
    """

    __slots__ = ("_buffer", "_capsules", "_skip")

    def __init__(self, *, lenient: bool = False) -> None:
        self._buffer = bytearray()
        self._skip = 0
        self._capsules = CAPSULES | {AddressAssign.type: partial(AddressAssign.read, lenient=lenient)}

    def feed(self, data: bytes, end: bool) -> list[Capsule]:
        """Take the next bytes of the stream, return the known capsules that are complete now.

        `end` says that the stream was closed cleanly behind `data`. Raises DecodeError: the message is
        malformed and the stream must be aborted.
        """
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._buffer += data[skipped:]
        capsules = []
        while (header := self._header()) is not None:
            kind, start, length = header
            if kind is None:
                self._discard(start + length)
                continue
            if len(self._buffer) < start + length:
                break
            capsules.append(_read_value(kind, bytes(self._buffer[start : start + length])))
            del self._buffer[: start + length]
        # RFC 9297, section 3.3: "and the last Capsule on the stream was truncated, this MUST be treated as if
        # it were a malformed or incomplete message."
        if end and (self._buffer or self._skip):
            raise DecodeError("the stream ends inside a capsule")
        return capsules

    def _header(self) -> tuple[Callable[[Reader], Capsule] | None, int, int] | None:
        """Return how to read the next capsule (None: skip it), where its value starts and how long it is."""
        src = Reader(bytes(self._buffer[:_MAX_HEADER]))
        try:
            number, length = src.varint(), src.varint()
        except DecodeError:
            return None
        # RFC 9297, section 3.2: "Endpoints that receive a Capsule with an unknown Capsule Type MUST silently
        # drop that Capsule and skip over it to parse the next Capsule."
        kind = self._capsules.get(number)
        if kind is not None and length > MAX_CAPSULE:
            if number != DatagramCapsule.type:
                raise DecodeError(f"a capsule of type {number} with {length} bytes")
            # Section 3.5: "If an incoming DATAGRAM Capsule has a length that is known to be so large as to
            # not be usable, the implementation SHOULD discard the Capsule without buffering its contents".
            kind = None
        return kind, src.position, length

    def _discard(self, size: int) -> None:
        here = min(size, len(self._buffer))
        del self._buffer[:here]
        self._skip = size - here


def _read_value(kind: Callable[[Reader], Capsule], value: bytes) -> Capsule:
    src = Reader(value)
    capsule = kind(src)
    # RFC 9297, section 3.3: "A Capsule payload that contains additional bytes after the identified fields ...
    # MUST be treated as it if were a malformed or incomplete message."
    src.expect_end()
    return capsule
