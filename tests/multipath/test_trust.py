"""Which certificates a client goes on with: by CA, by pin, by both; and that the others get nothing from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mqvpn.multipath.seam import ConnectionTerminated, HandshakeCompleted
from mqvpn.wire import certificate
from mqvpn.wire.frame import TransportErrorCode
from tests.fakes.certificate import write_certificate
from tests.sim.pair import Pair

WRONG = "sha256//" + "A" * 43 + "="
BAD_CERTIFICATE = TransportErrorCode.CRYPTO_ERROR + 42
EXPIRED = TransportErrorCode.CRYPTO_ERROR + 45


class Server:
    """The files of a server of some name, what a client would trust it by, and attempts to connect to it."""

    def __init__(self, folder: Path, *names: str, days: int = 30) -> None:
        folder.mkdir()
        self.files = write_certificate(folder, *names, days=days)
        self.ca = self.files[0].read_bytes()
        self.pin = certificate.pin(certificate.read_pem(self.ca))

    def connect(self, **client: Any) -> Pair:
        files = dict(zip(("certificate", "private_key"), map(str, self.files), strict=True))
        pair = Pair(client={"verify": True, **client}, server=files)
        pair.connect()
        return pair


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "server", "localhost")


@pytest.fixture
def other(tmp_path: Path) -> Server:
    return Server(tmp_path / "other", "localhost")


@pytest.fixture
def expired(tmp_path: Path) -> Server:
    return Server(tmp_path / "expired", "localhost", days=-1)


def refusal(pair: Pair) -> tuple[int, str]:
    """Error code and reason; the client completed no handshake and gave the server no 1-RTT packet."""
    (closed,) = pair.client.seen(ConnectionTerminated)
    assert not pair.c.handshake_complete
    assert not pair.client.seen(HandshakeCompleted)
    assert not pair.server.seen(HandshakeCompleted)
    return closed.error_code, closed.reason_phrase


def test_a_ca_vouches_for_name_and_date(server: Server, other: Server, expired: Server) -> None:
    assert server.connect(ca=server.ca).c.handshake_confirmed
    assert refusal(server.connect(ca=server.ca, server_name="vpn.example"))[0] == BAD_CERTIFICATE
    assert refusal(server.connect(ca=other.ca))[0] == BAD_CERTIFICATE
    assert refusal(expired.connect(ca=expired.ca))[0] == EXPIRED


def test_nobody_vouches_for_a_self_signed_one(server: Server) -> None:
    assert refusal(server.connect())[0] == BAD_CERTIFICATE


def test_a_pin_needs_no_ca_no_name_and_no_date(server: Server, expired: Server) -> None:
    assert server.connect(pins=(server.pin,)).c.handshake_confirmed
    assert server.connect(pins=(server.pin,), server_name="vpn.example").c.handshake_confirmed
    assert expired.connect(pins=(expired.pin,)).c.handshake_confirmed
    assert server.connect(pins=(WRONG, server.pin)).c.handshake_confirmed


def test_the_wrong_pin_ends_the_handshake(server: Server, other: Server) -> None:
    pair = server.connect(pins=(other.pin, WRONG))
    assert refusal(pair) == (BAD_CERTIFICATE, "its key is not the pinned one")
    assert server.pin in pair.c.presented
    assert "a certificate for localhost, valid until" in pair.c.presented


def test_a_ca_and_a_pin_must_both_be_content(server: Server, other: Server, expired: Server) -> None:
    assert server.connect(ca=server.ca, pins=(server.pin,)).c.handshake_confirmed
    assert refusal(server.connect(ca=server.ca, pins=(WRONG,)))[1] == "its key is not the pinned one"
    assert refusal(server.connect(ca=other.ca, pins=(server.pin,)))[0] == BAD_CERTIFICATE
    assert refusal(expired.connect(ca=expired.ca, pins=(expired.pin,)))[0] == EXPIRED


def test_the_pinned_certificate_without_its_key_is_worth_nothing(server: Server, other: Server) -> None:
    """Anybody can copy a certificate: the signature that follows it must be made with its key."""
    thief = Server.__new__(Server)
    thief.files = (server.files[0], other.files[1])
    assert refusal(thief.connect(pins=(server.pin,)))[0] == TransportErrorCode.CRYPTO_ERROR + 51


def test_a_renewed_certificate_of_the_same_key_keeps_its_pin(tmp_path: Path, server: Server) -> None:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key: Any = serialization.load_pem_private_key(server.files[1].read_bytes(), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "another name")])
    renewed = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, datetime.now(UTC), datetime.now(UTC) + timedelta(9))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    assert certificate.pin(certificate.read_pem(renewed)) == server.pin
    server.files[0].write_bytes(renewed)
    assert server.connect(pins=(server.pin,)).c.handshake_confirmed
