"""What stands in for aioquic's crypto pair of 1-RTT packets.

It hands the traffic secrets over and is never valid: aioquic then neither builds nor opens a 1-RTT packet.
"""

from collections.abc import Callable

SecretHandler = Callable[[bool, int, bytes], None]  # is it for sending?, TLS cipher suite, secret


class SecretSink:
    """Stands in for aioquic's CryptoContext of one direction of 1-RTT."""

    def __init__(self, is_send: bool, handler: SecretHandler) -> None:
        self._is_send = is_send
        self._handler = handler

    def setup(self, *, cipher_suite: int, secret: bytes, version: int) -> None:
        self._handler(self._is_send, cipher_suite, secret)

    def is_valid(self) -> bool:
        return False


class SecretPair:
    """Stands in for aioquic's CryptoPair of 1-RTT: never valid, so aioquic builds no such packet."""

    aead_tag_size = 16

    def __init__(self, handler: SecretHandler) -> None:
        self.recv = SecretSink(False, handler)
        self.send = SecretSink(True, handler)

    def teardown(self) -> None:
        """The engine owns the keys: nothing to forget here."""
