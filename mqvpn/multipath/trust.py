"""Whether a client trusts the server's certificate: what TLS verifies, and the pins.

Without a pin TLS verifies the chain (the CAs given, or else the system's), the dates and the name. A pin names
the server's key, and to have that key is all that counts then: issuer, dates and name are what the owner of the
key wrote about itself, and a machine whose clock is wrong still connects. With CAs and pins both must be content.
"""

from dataclasses import dataclass

from mqvpn.multipath.seam import ControlConnection, QuicConfiguration
from mqvpn.wire import certificate


@dataclass
class PinningConfiguration(QuicConfiguration):
    """aioquic's settings and the pins of the server's key (wire/certificate.py); none: any key."""

    pins: tuple[str, ...] = ()


class TrustingConnection(ControlConnection):
    """A connection that ends, on a client, before the server proved more than it must."""

    presented = ""  # what the server's certificate says of itself, for messages
    validity: tuple[float, float] | None = None  # and from when to when it is valid, in seconds since 1970

    def handle_certificate(self, der: bytes) -> None:
        self.presented = certificate.describe(der)
        self.validity = certificate.validity(der)
        pins = getattr(self.configuration, "pins", ())
        if pins and not certificate.pinned(certificate.pin(der), pins):
            raise ValueError("its key is not the pinned one")
