"""The two ways a CONNECT-IP request fails: the answer says no, or the stream is aborted."""

from mqvpn.wire.http3 import H3ErrorCode


class Refused(Exception):
    """The request is, or was, answered with the HTTP status `status`; `reason` is for the log."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class StreamError(Exception):
    """The peer broke the protocol: abort the request stream with `code`; `reason` is for the log."""

    def __init__(self, code: H3ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


def malformed(reason: str) -> StreamError:
    """Return the error for a malformed message (RFC 9114, section 4.1.2)."""
    return StreamError(H3ErrorCode.H3_MESSAGE_ERROR, reason)
