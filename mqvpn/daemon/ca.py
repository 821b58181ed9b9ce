"""The CA certificates that a client is told to trust in place of the system's."""

from pathlib import Path

from mqvpn.daemon.exit import Unusable
from mqvpn.wire.buffer import DecodeError
from mqvpn.wire.certificate import read_chain


class CAUnusable(Unusable):
    """[Server] CA cannot be used; `str()` says why."""


def load_ca(file: str) -> bytes | None:
    """The PEM certificates of `file`; None without a file: trust the system's CAs. Raises CAUnusable."""
    if not file:
        return None
    try:
        return read_chain(Path(file).read_bytes())
    except OSError as error:
        raise CAUnusable(f"[Server] CA: {file}: {error.strerror}") from None
    except DecodeError as error:
        raise CAUnusable(f"[Server] CA: {file}: {error}") from None
