"""Tokens by which a client that comes again shows that its addresses are its own (RFC 9000, section 8.1.3).

A NEW_TOKEN frame brings one; with it the next handshake needs no Retry. It is authenticated, lasts a day, covers every
validated address of the connection (draft-ietf-quic-multipath-21, section 3.1.3), and names none in clear.
"""

import hmac
import secrets
from collections.abc import Iterable

from mqvpn.wire.buffer import DecodeError, Reader, Writer

LIFETIME = 24 * 3600  # seconds
MAC_SIZE = 16
ADDRESS_SIZE = 8  # bytes of an address's digest


class Tokens:
    """The tokens of one server, good until it ends: the clock they are dated by does not outlive the machine."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def issue(self, hosts: Iterable[str], now: float) -> bytes:
        """Return a token for a client at these addresses."""
        out = Writer()
        out.varint(int(now) + LIFETIME)
        for host in sorted(hosts):
            out.write(self._digest(host))
        return self._mac(bytes(out)) + bytes(out)

    def covers(self, token: bytes, host: str, now: float) -> bool:
        """Whether this is a token of ours that is still good, for that address among others."""
        mac, rest = token[:MAC_SIZE], token[MAC_SIZE:]
        if not hmac.compare_digest(mac, self._mac(rest)):
            return False
        src = Reader(rest)
        try:
            good_until, digests = src.varint(), src.rest()
        except DecodeError:
            return False
        mine = self._digest(host)
        covered = (digests[at : at + ADDRESS_SIZE] for at in range(0, len(digests), ADDRESS_SIZE))
        return now <= good_until and any(hmac.compare_digest(digest, mine) for digest in covered)

    def _digest(self, host: str) -> bytes:
        return hmac.digest(self._key, b"address " + host.encode(), "sha256")[:ADDRESS_SIZE]

    def _mac(self, data: bytes) -> bytes:
        return hmac.digest(self._key, b"token " + data, "sha256")[:MAC_SIZE]
