"""Certificates as bytes: pins equal OpenSSL's, what is made is what was asked for, garbage is DecodeError."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mqvpn.wire import certificate
from mqvpn.wire.buffer import DecodeError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES = ("vpn.example.com", "192.0.2.1", "2001:db8::1")
OPENSSL = "openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"


@pytest.fixture(scope="module")
def made() -> tuple[bytes, bytes]:
    return certificate.make_self_signed(NAMES, NOW, days=365)


def test_it_is_for_these_names_and_as_long_as_asked(made: tuple[bytes, bytes]) -> None:
    der = certificate.read_pem(made[0])
    assert certificate.names(der) == list(NAMES)
    said = certificate.describe(der)
    assert said == f"the key {certificate.pin(der)} in a certificate for {', '.join(NAMES)}, valid until 2027-01-01"


def test_the_pin_is_what_openssl_and_curl_make_of_it(made: tuple[bytes, bytes]) -> None:
    done = subprocess.run(["sh", "-c", OPENSSL], input=made[0], capture_output=True, check=True)
    assert certificate.pin(certificate.read_pem(made[0])) == "sha256//" + done.stdout.decode().strip()


def test_openssl_takes_certificate_and_key_as_a_servers(made: tuple[bytes, bytes], tmp_path: Path) -> None:
    file = tmp_path / "server.pem"
    file.write_bytes(made[0])
    at = str(int(NOW.timestamp()))
    argv = ["openssl", "verify", "-attime", at, "-purpose", "sslserver", "-verify_hostname", NAMES[0], "-CAfile"]
    assert subprocess.run([*argv, file, file], capture_output=True, text=True).stdout == f"{file}: OK\n"
    assert made[1].startswith(b"-----BEGIN PRIVATE KEY-----")


def test_a_pin_among_several() -> None:
    assert certificate.pinned("sha256//b", ["sha256//a", "sha256//b", "sha256//c"])
    assert not certificate.pinned("sha256//b", ["sha256//a", "sha256//B", "sha256//"])
    assert not certificate.pinned("sha256//b", [])


def test_a_chain_is_written_without_what_stands_between(made: tuple[bytes, bytes]) -> None:
    other, _ = certificate.make_self_signed(["b.example"], NOW, days=1)
    text = b"Bag Attributes\r\n" + made[0].replace(b"\n", b"\r\n") + b"\n# comment\n" + other.rstrip() + b"\nend"
    assert certificate.read_chain(text) == made[0] + other


def test_names_of_a_stranger_cannot_write_into_the_log() -> None:
    names = ["a\n\x1b[31mfake.example", *(f"n{n}.example" for n in range(9))]
    pem, _ = certificate.make_self_signed(names, NOW, days=1)
    said = certificate.describe(certificate.read_pem(pem))
    assert said.isprintable()
    assert "for a???31mfake.example, n0.example, n1.example and more," in said


@pytest.mark.parametrize("read", [certificate.pin, certificate.names, certificate.describe])
def test_garbage_is_no_certificate(read: object, made: tuple[bytes, bytes]) -> None:
    der = certificate.read_pem(made[0])
    for wrong in (b"", b"\x30", der[:-1], der[10:], made[0]):
        with pytest.raises(DecodeError):
            read(wrong)  # type: ignore[operator]
    for text in (b"", b"hello", made[1]):
        with pytest.raises(DecodeError, match="it holds no certificate in PEM form"):
            certificate.read_pem(text)
        with pytest.raises(DecodeError, match="it holds no certificate in PEM form"):
            certificate.read_chain(text)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
@example(12, b"\x01")  # of version 2
def test_any_damage_gives_a_value_or_an_error(at: int, bytes_: bytes) -> None:
    der = certificate.read_pem(certificate.make_self_signed(NAMES, NOW, days=1)[0])
    with suppress(DecodeError):
        assert certificate.describe(der[:at] + bytes_ + der[at + len(bytes_) :]).isprintable()
