"""What the end of a client's tunnel means: for the operator as text, for the daemon as a Cause."""

from mqvpn.connectip.error import Refused
from mqvpn.connectip.extension import REPLACED
from mqvpn.multipath.ending import STATELESS_RESET
from mqvpn.multipath.seam import ConnectionTerminated
from mqvpn.tunnel.events import Cause, Closed
from mqvpn.wire.http3 import H3ErrorCode

# RFC 9001, section 4.8: CRYPTO_ERROR plus the TLS alerts bad_certificate (42) to unknown_ca (48)
CERTIFICATE_ALERTS = range(0x100 + 42, 0x100 + 49)
CERTIFICATE_EXPIRED = 0x100 + 45  # or not valid yet
NO_ERRORS = (0, H3ErrorCode.H3_NO_ERROR)


def terminated(event: ConnectionTerminated, *, unanswered: bool, presented: str = "") -> Closed:
    """The connection is over; `unanswered`: while our request waited for its answer.

    presented: what the server's certificate says of itself.
    """
    code: int = event.error_code
    if code in CERTIFICATE_ALERTS:
        reason = f"the server's certificate is not trusted: {event.reason_phrase}"
        reason += ", or is this machine's clock wrong?" if code == CERTIFICATE_EXPIRED else ""
        return Closed(reason + (f"; the server presented {presented}" if presented else ""), Cause.UNTRUSTED)
    # The C mqvpn closes the whole connection with this code instead of sending its 403.
    if unanswered and code == H3ErrorCode.H3_FRAME_ERROR:
        return Closed("the server closed the connection instead of answering: probably the wrong key")
    if code == REPLACED:
        return Closed("another client with our instance took the tunnel over", Cause.REPLACED)
    if code in NO_ERRORS and event.reason_phrase == STATELESS_RESET:
        return Closed("the server was started anew", Cause.FORGOTTEN)
    if event.reason_phrase:
        return Closed(event.reason_phrase)
    return Closed("the server closed the connection" + ("" if code in NO_ERRORS else f" ({_name(code)})"))


def refused(answer: Refused) -> Closed:
    """The server answered our request with another status than 2xx."""
    if answer.status in (401, 403):
        return Closed(f"the server does not accept our key ({answer.status})", Cause.REFUSED)
    return Closed(f"the server refused the tunnel with status {answer.status}")


def aborted(error_code: int) -> Closed:
    """The server reset the request stream."""
    return Closed(f"the server gave the tunnel up ({_name(error_code)})")


def _name(code: int) -> str:
    try:
        return H3ErrorCode(code).name
    except ValueError:
        return f"error {code:#x}"
