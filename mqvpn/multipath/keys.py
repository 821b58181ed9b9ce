"""Packet protection keys from TLS secrets (RFC 9001, sections 5.1 and 6), handed to the engine.

The engine holds the keys of the generation in use and of the next one. When it says that keys were updated,
the one after is derived here. One key phase serves all paths; header protection keys never change.
"""

import hashlib
import hmac
import logging
from dataclasses import dataclass
from typing import Final

from mqvpn.dataplane import engine
from mqvpn.multipath.seam import CipherSuite

log = logging.getLogger(__name__)

IV_SIZE: Final = 12


@dataclass(frozen=True, slots=True)
class Suite:
    """What a TLS 1.3 cipher suite means for packet protection (RFC 9001, section 5)."""

    number: int  # the engine's
    hash_name: str
    key_size: int  # bytes, of the AEAD key and of the header protection key


SUITES: Final[dict[int, Suite]] = {
    CipherSuite.AES_128_GCM_SHA256: Suite(engine.AES_128_GCM, "sha256", 16),
    CipherSuite.AES_256_GCM_SHA384: Suite(engine.AES_256_GCM, "sha384", 32),
    CipherSuite.CHACHA20_POLY1305_SHA256: Suite(engine.CHACHA20_POLY1305, "sha256", 32),
}


def expand_label(hash_name: str, secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446, section 7.1, with an empty context."""
    name = b"tls13 " + label.encode()
    info = length.to_bytes(2) + bytes([len(name)]) + name + b"\0"
    output = block = b""
    while len(output) < length:  # HKDF-Expand of RFC 5869, section 2.3
        counter = len(output) // hashlib.new(hash_name).digest_size + 1
        block = hmac.digest(secret, block + info + bytes([counter]), hash_name)
        output += block
    return output[:length]


class DirectionKeys:
    """The keys of one direction, SEND or RECEIVE."""

    def __init__(self, connection: engine.Connection, direction: int, suite: int, secret: bytes) -> None:
        """Install generations 0 and 1 of the traffic secret that TLS gave."""
        self._connection = connection
        self._direction = direction
        self._suite = SUITES[suite]
        self._secret = secret  # of the newest generation installed
        self._generation = 0
        self._hp = self._expand("quic hp", self._suite.key_size)
        self._install()
        self.install_next()

    def update(self, generation: int) -> None:
        """The engine uses `generation` now: install the one after it, unless that was done before."""
        while self._generation <= generation:
            self.install_next()

    def install_next(self) -> None:
        """RFC 9001, section 6.1: the next secret comes from the current one with the label "quic ku"."""
        self._secret = self._expand("quic ku", len(self._secret))
        self._generation += 1
        self._install()

    def _install(self) -> None:
        key = self._expand("quic key", self._suite.key_size)
        iv = self._expand("quic iv", IV_SIZE)
        self._connection.set_keys(self._direction, self._generation, self._suite.number, key, iv, self._hp)

    def _expand(self, label: str, length: int) -> bytes:
        return expand_label(self._suite.hash_name, self._secret, label, length)


class Keys:
    """The keys of one connection, both directions."""

    def __init__(self, connection: engine.Connection) -> None:
        self._connection = connection
        self.is_aes = True
        self._directions: dict[int, DirectionKeys] = {}

    @property
    def can_receive(self) -> bool:
        """Whether 1-RTT packets can be opened."""
        return engine.RECEIVE in self._directions

    def install(self, is_send: bool, suite: int, secret: bytes) -> None:
        """Take the traffic secret that TLS gave for a direction."""
        direction = engine.SEND if is_send else engine.RECEIVE
        if is_send:
            log.debug("connection %d: packets are protected with %s", self._connection.id, CipherSuite(suite).name)
        self.is_aes = suite != CipherSuite.CHACHA20_POLY1305_SHA256
        self._directions[direction] = DirectionKeys(self._connection, direction, suite, secret)

    def handle_key_phase(self, generation: int) -> None:
        """The engine uses `generation` from now on."""
        for keys in self._directions.values():
            keys.update(generation)
