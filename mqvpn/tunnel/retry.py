"""Address validation by Retry (RFC 9000, section 8.1.2), for when many handshakes are under way.

The token holds all that is to be remembered, so a client that only pretends to be at its address leaves nothing
behind. It is authenticated, bound to that address and to the connection ID asked for, and good for a while.
"""

import hmac
import secrets

from mqvpn.multipath.seam import encode_quic_retry
from mqvpn.tunnel.invariants import LongHeader
from mqvpn.wire.buffer import DecodeError, Reader, Writer

LIFETIME = 10  # seconds; a client answers within one round trip
CID_SIZE = 8
MAC_SIZE = 16

Endpoint = tuple[str, int]


class Retry:
    """Asks clients to come again with a token. `key` is secret and need not outlive the daemon."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key or secrets.token_bytes(32), b"retry", "sha256")

    def ask(self, header: LongHeader, remote: Endpoint, now: float) -> bytes:
        """Return the Retry packet that answers an Initial packet."""
        source = secrets.token_bytes(CID_SIZE)
        out = Writer()
        out.varint(int(now) + LIFETIME)
        out.write(header.destination)
        token = bytes(out)
        return encode_quic_retry(
            version=header.version,
            source_cid=source,
            destination_cid=header.source,
            original_destination_cid=header.destination,
            retry_token=self._mac(token, source, remote) + token,
        )

    def original(self, header: LongHeader, remote: Endpoint, now: float) -> bytes | None:
        """Return the connection ID that the client used first, or None without a token of ours that is good."""
        mac, token = header.token[:MAC_SIZE], header.token[MAC_SIZE:]
        if not hmac.compare_digest(mac, self._mac(token, header.destination, remote)):
            return None
        src = Reader(token)
        try:
            good_until, original = src.varint(), src.rest()
        except DecodeError:
            return None
        return original if now <= good_until else None

    def _mac(self, token: bytes, source: bytes, remote: Endpoint) -> bytes:
        """Bind the token to the connection ID of the Retry packet and the client's address."""
        bound = b"\0".join((f"{remote[0]} {remote[1]}".encode(), source, token))
        return hmac.digest(self._key, bound, "sha256")[:MAC_SIZE]
