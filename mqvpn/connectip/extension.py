"""Extensions of ours to CONNECT-IP. Each is on when request and response both carry its header field."""

from typing import Final

# Flows that use several paths at once are numbered, and put back in order by the receiver. Context ID 2:
# flow (16 bit), sequence number (32 bit), IP packet.
SPREAD: Final = (b"mqvpn-spread", b"v1")
