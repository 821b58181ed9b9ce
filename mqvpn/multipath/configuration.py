"""Our settings, translated into aioquic's; the only place that does."""

import ssl
from dataclasses import replace
from typing import Final

from mqvpn.multipath.seam import WINDOW, CipherSuite, QuicConfiguration, QuicProtocolVersion
from mqvpn.multipath.trust import PinningConfiguration

CONNECTION_ID_SIZE: Final = 8  # bytes of each connection ID of ours
# RFC 9484, section 7.2, wants inner packets of 1280 bytes to pass. With the longest connection and stream IDs
# that is a UDP payload of 1331 bytes; Initial packets are padded so far, which proves it for path 0.
HANDSHAKE_DATAGRAM_SIZE: Final = 1331
# The server's order decides. AES-128 before AES-256, which aioquic prefers: a third less work for every byte, and a
# margin of security that nobody expects to need.
CIPHER_SUITES: Final = (
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
    CipherSuite.CHACHA20_POLY1305_SHA256,
)


def quic_configuration(
    *,
    is_client: bool,
    idle_timeout: float,
    server_name: str | None = None,
    verify: bool = True,
    ca: bytes | None = None,
    pins: tuple[str, ...] = (),
    certificate: str | None = None,
    private_key: str | None = None,
) -> QuicConfiguration:
    """Translate our settings into aioquic's, the only place that does; seconds, and names of PEM files.

    ca: trust these PEM certificates only; pins: accept only a server's certificate with one of these keys (trust.py).
    Raises OSError or ValueError if the certificate or its key cannot be read.
    """
    configuration = PinningConfiguration(
        alpn_protocols=["h3"],
        cadata=ca,
        cipher_suites=list(CIPHER_SUITES),
        connection_id_length=CONNECTION_ID_SIZE,
        idle_timeout=idle_timeout,
        is_client=is_client,
        max_data=WINDOW,
        max_datagram_frame_size=65535,
        max_datagram_size=HANDSHAKE_DATAGRAM_SIZE,
        max_stream_data=WINDOW,
        pins=pins,
        server_name=server_name,
        supported_versions=[QuicProtocolVersion.VERSION_1],
        verify_mode=ssl.CERT_REQUIRED if verify and (ca or not pins) else ssl.CERT_NONE,
    )
    if certificate is not None:
        configuration.load_cert_chain(certificate, private_key)
    return configuration


def with_token(configuration: QuicConfiguration, token: bytes) -> QuicConfiguration:
    """The same for a handshake with a server that gave us `token`."""
    return replace(configuration, token=token)
