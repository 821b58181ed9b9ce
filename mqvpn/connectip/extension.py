"""Extensions to CONNECT-IP, ours and one of the C mqvpn: header fields, which others ignore, and an error code, which
means no error to them (RFC 9114, section 9). SPREAD, REORDER and LAST_ADDRESS are on when request and response both
carry the field; a server answers REORDER only where SPREAD is not on."""

import re
from typing import Final

# Flows that use several paths at once are numbered, and put back in order by the receiver. Context ID 2:
# flow (16 bit), sequence number (32 bit), IP packet.
SPREAD: Final = (b"mqvpn-spread", b"v1")

# The C mqvpn's way for UDP flows. In Context ID 0, where an IP packet would begin: 0x01, flags (8 bit), sequence number
# (48 bit), IP packet.
REORDER: Final = (b"mqvpn-reorder", b"v1")

# The client knows what it had last and asks for it by ADDRESS_REQUEST, behind the response; the server assigns nothing
# before that. Without this field no client asks at once: connect-ip-go takes ADDRESS_REQUEST for an error.
LAST_ADDRESS: Final = (b"mqvpn-last-address", b"v1")

# The client, among all of its user: 16 to 64 characters of base64url that nobody can guess. A newer session of the
# same user and instance replaces the older one.
INSTANCE: Final = b"mqvpn-instance"

_INSTANCE_FORM = re.compile(r"[A-Za-z0-9_-]{16,64}")

# The application error code that closes the connection of a session that a newer one replaced.
REPLACED: Final = 0x6D717601


def is_instance(text: str) -> bool:
    """Whether `text` may stand in the field INSTANCE."""
    return _INSTANCE_FORM.fullmatch(text) is not None
