"""`credential:NAME` in place of a file: what systemd passes to this unit alone, out of a file that only root can read
or that is encrypted to this machine (systemd.exec(5), LoadCredential= and LoadCredentialEncrypted=).
"""

import os
import re

PREFIX = "credential:"
VARIABLE = "CREDENTIALS_DIRECTORY"
NAME = re.compile(r"[!-.0-9;-~]{1,255}")  # ASCII but '/' and ':'


def credential_path(text: str) -> str:
    """The file of `credential:NAME`. Raises ValueError, with what to add to the unit."""
    name = text.removeprefix(PREFIX)
    if not NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError("behind credential: the name of a credential is expected, such as credential:psk")
    path = os.path.join(os.environ.get(VARIABLE, ""), name)
    if not os.environ.get(VARIABLE) or not os.path.exists(path):
        raise ValueError(f"systemd passes no credential {name}; write LoadCredential={name}:/FILE into the unit")
    return path


def read_path_or_credential(text: str) -> str:
    """A file's name, which may be that of a credential; see read_path."""
    if text.startswith(PREFIX):
        return credential_path(text)
    if not text.isprintable():
        raise ValueError("a file name is expected")
    return text
