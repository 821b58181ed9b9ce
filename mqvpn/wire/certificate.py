"""X.509 certificates as bytes: the pin of one, what one says of itself, and a self-signed one for a first start.

A pin is `sha256//` and the base64 of the SHA-256 of the SubjectPublicKeyInfo (RFC 7469, section 2.4; curl's
--pinnedpubkey writes it in the same way): it names the key, so a renewed certificate of the same key keeps it.
The only importer of cryptography, which aioquic brings along.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mqvpn.wire.buffer import DecodeError

PIN: Final = "sha256//"
MAX_COMMON_NAME: Final = 64  # characters: ub-common-name of RFC 5280, appendix A.1
SHOWN_NAMES: Final = 3


def pin(der: bytes) -> str:
    """The pin of a certificate. Raises DecodeError."""
    return PIN + b64encode(hashlib.sha256(_public_key(_read(der))).digest()).decode()


def pinned(presented: str, pins: Iterable[str]) -> bool:
    """Whether a pin is among `pins`, in a time that tells nothing about which of them is near."""
    found = False
    for one in pins:
        found |= hmac.compare_digest(presented.encode(), one.encode())
    return found


def describe(der: bytes) -> str:
    """What a peer's certificate says, for a message: its pin, its names, its last day. Raises DecodeError."""
    certificate = _read(der)
    shown = names(der)
    more = " and more" if len(shown) > SHOWN_NAMES else ""
    last = certificate.not_valid_after_utc.date()
    of = ", ".join(shown[:SHOWN_NAMES]) or "no name"
    return f"the key {pin(der)} in a certificate for {of}{more}, valid until {last}"


def validity(der: bytes) -> tuple[float, float]:
    """From when to when it is valid, in seconds since 1970. Raises DecodeError."""
    certificate = _read(der)
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def names(der: bytes) -> list[str]:
    """The host names and addresses it is for; only characters that a name or an address has. Raises DecodeError."""
    try:
        extension = _read(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise DecodeError(f"the certificate's extensions: {error}") from None
    found = [*extension.get_values_for_type(x509.DNSName)]
    found += map(str, extension.get_values_for_type(x509.IPAddress))
    return [re.sub(r"[^A-Za-z0-9.:*_/-]", "?", name)[:100] for name in found]


def is_self_signed(der: bytes) -> bool:
    """Whether no CA made it. Raises DecodeError."""
    certificate = _read(der)
    return certificate.issuer == certificate.subject


def read_pem(text: bytes) -> bytes:
    """The DER of the first certificate in a PEM file, a server's own. Raises DecodeError."""
    try:
        return x509.load_pem_x509_certificate(text).public_bytes(serialization.Encoding.DER)
    except (ValueError, x509.InvalidVersion):
        raise DecodeError("it holds no certificate in PEM form") from None


def read_chain(text: bytes) -> bytes:
    """Every certificate of a PEM file, written as aioquic reads them: nothing between. Raises DecodeError."""
    try:
        found = x509.load_pem_x509_certificates(text)
    except (ValueError, x509.InvalidVersion):
        raise DecodeError("it holds no certificate in PEM form") from None
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in found)


def make_self_signed(names: Sequence[str], now: datetime, *, days: int) -> tuple[bytes, bytes]:
    """PEM of a certificate for these host names and addresses, and of its fresh P-256 key (PKCS #8).

    It is valid from a day before `now`, for clocks that are late, and for so many days after.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:MAX_COMMON_NAME])])
    certificate = (
        x509.CertificateBuilder(issuer_name=subject, subject_name=subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return certificate.public_bytes(pem), key.private_bytes(pem, pkcs8, serialization.NoEncryption())


def _read(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise DecodeError(f"not a certificate: {error}") from None


def _public_key(certificate: x509.Certificate) -> bytes:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise DecodeError(f"the certificate's key cannot be read: {error}") from None
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
