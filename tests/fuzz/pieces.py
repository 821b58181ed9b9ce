"""Inputs of targets that keep state: a row of pieces, each `kind (1 byte) | length (2) | payload`.

Any bytes are a row of pieces: the last one may be cut short. So what led to a finding, input after input, is one
input again when it is written one behind the other.
"""

Piece = tuple[int, bytes]
MAX_PIECES = 64


def split(data: bytes) -> list[Piece]:
    """The pieces in `data`, at most MAX_PIECES."""
    found: list[Piece] = []
    at = 0
    while at < len(data) and len(found) < MAX_PIECES:
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3])
        found.append((data[at], data[at + 3 : end]))
        at = end
    return found


def join(pieces: list[Piece]) -> bytes:
    """The bytes of a row of pieces."""
    return b"".join(bytes([kind]) + len(payload).to_bytes(2) + payload for kind, payload in pieces)
