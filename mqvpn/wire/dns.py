"""DNS queries for addresses, and the addresses in their answers (RFC 1035, section 4; RFC 3596).

Just what a stub resolver needs to look one name up. Whatever bytes come in, reading raises DecodeError and nothing
else. An answer's names are not followed: a server that does the recursion puts the addresses behind all CNAMEs of the
question into it.
"""

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from mqvpn.wire.buffer import DecodeError, Reader, Writer

PORT = 53
INTERNET = 1  # class IN
RESPONSE, TRUNCATED, RECURSION_DESIRED = 0x8000, 0x0200, 0x0100
NAME_ERROR = 3  # RCODE: there is no such name
POINTER = 0xC0
LABEL_BYTES, NAME_BYTES = 63, 253


class Kind(IntEnum):
    """TYPE of a record."""

    A = 1
    AAAA = 28


class NoSuchName(DecodeError):
    """The server answered that the name does not exist."""


def write_query(identifier: int, name: str, kind: Kind) -> bytes:
    """One question; `name` in ASCII, as IDNA writes it. Raises ValueError for what is no domain name."""
    out = Writer()
    _uint16(out, identifier, RECURSION_DESIRED, 1, 0, 0, 0)
    labels = name.rstrip(".").encode("ascii").split(b".")
    if len(name) > NAME_BYTES or not all(0 < len(label) <= LABEL_BYTES for label in labels):
        raise ValueError(f"{name} is no domain name")
    for label in labels:
        out.uint8(len(label))
        out.write(label)
    out.uint8(0)
    _uint16(out, kind, INTERNET)
    return bytes(out)


def read_answer(message: bytes, query: bytes, kind: Kind) -> list[IPv4Address | IPv6Address]:
    """The addresses of this kind in the answer to `query`; an answer that was cut short has those that fit.

    Raises NoSuchName, or DecodeError for what does not answer the query.
    """
    source = Reader(message)
    identifier, flags, questions, answers, _, _ = (_read16(source) for _ in range(6))
    question = query[12:]
    if identifier != int.from_bytes(query[:2]) or not flags & RESPONSE or questions != 1:
        raise DecodeError("this answers no question of ours")
    if source.take(len(question)).lower() != question.lower():  # RFC 4343: case does not matter
        raise DecodeError("this answers another question")
    if flags & 15 == NAME_ERROR:
        raise NoSuchName("there is no such name")
    if flags & 15:
        raise DecodeError(f"the name server failed (RCODE {flags & 15})")
    try:
        return [address for _ in range(answers) if (address := _read_record(source, kind)) is not None]
    except DecodeError:
        if flags & TRUNCATED:
            return []
        raise


def _read_record(source: Reader, kind: Kind) -> IPv4Address | IPv6Address | None:
    """The address of a record of this kind, None for any other record."""
    _skip_name(source)
    found, group = _read16(source), _read16(source)
    source.take(4)  # TTL
    content = source.take(_read16(source))
    if (found, group) != (kind, INTERNET):
        return None
    if len(content) != (4 if kind is Kind.A else 16):
        raise DecodeError(f"an address of {len(content)} bytes")
    return ip_address(content)


def _skip_name(source: Reader) -> None:
    """RFC 1035, section 4.1.4: labels, then a zero byte or a pointer."""
    while size := source.uint8():
        if size & POINTER == POINTER:
            source.take(1)
            return
        source.take(size)


def _read16(source: Reader) -> int:
    return int.from_bytes(source.take(2))


def _uint16(out: Writer, *values: int) -> None:
    for value in values:
        out.write(value.to_bytes(2))
