"""A self-signed certificate for localhost, made once for each test run."""

import tempfile
from functools import cache
from pathlib import Path

from tests.fakes.certificate import write_certificate

FOLDER = tempfile.TemporaryDirectory(prefix="mqvpn-test-")


@cache
def certificate_files() -> tuple[str, str]:
    """Return the names of the PEM files of certificate and private key."""
    certificate, key = write_certificate(Path(FOLDER.name), "localhost")
    return str(certificate), str(key)
