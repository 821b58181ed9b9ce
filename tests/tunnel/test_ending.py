"""The end of a tunnel in the operator's words, and whether it is worth another attempt."""

from __future__ import annotations

import pytest

from mqvpn.connectip.error import Refused
from mqvpn.connectip.extension import REPLACED
from mqvpn.multipath.seam import ConnectionTerminated
from mqvpn.tunnel import ending
from mqvpn.tunnel.events import Cause
from mqvpn.wire.http3 import H3ErrorCode


def terminated(code: int, reason: str = "") -> ConnectionTerminated:
    return ConnectionTerminated(error_code=code, frame_type=None, reason_phrase=reason)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (terminated(0), "the server closed the connection"),
        (terminated(H3ErrorCode.H3_NO_ERROR), "the server closed the connection"),
        (terminated(H3ErrorCode.H3_EXCESSIVE_LOAD), "the server closed the connection (H3_EXCESSIVE_LOAD)"),
        (terminated(0x1234), "the server closed the connection (error 0x1234)"),
        (terminated(1, "stateless reset"), "stateless reset"),
    ],
)
def test_connections_that_end(event: ConnectionTerminated, says: str) -> None:
    closed = ending.terminated(event, unanswered=False)
    assert (closed.reason, closed.cause) == (says, Cause.LOST)


def test_a_server_that_was_started_anew() -> None:
    assert ending.terminated(terminated(0, "stateless reset"), unanswered=False).cause is Cause.FORGOTTEN


def test_a_client_that_was_replaced() -> None:
    closed = ending.terminated(terminated(REPLACED, "any words"), unanswered=False)
    assert (closed.reason, closed.cause) == ("another client with our instance took the tunnel over", Cause.REPLACED)


def test_the_c_servers_way_to_refuse_a_key() -> None:
    event = terminated(H3ErrorCode.H3_FRAME_ERROR)
    assert "wrong key" in ending.terminated(event, unanswered=True).reason
    assert "wrong key" not in ending.terminated(event, unanswered=False).reason


@pytest.mark.parametrize("alert", [42, 43, 44, 45, 46, 48])
def test_certificates(alert: int) -> None:
    assert ending.terminated(terminated(0x100 + alert, "expired"), unanswered=False).cause is Cause.UNTRUSTED


def test_a_certificate_whose_dates_do_not_fit() -> None:
    reasons = [ending.terminated(terminated(0x100 + alert, "no"), unanswered=False).reason for alert in (45, 46)]
    assert ["clock" in reason for reason in reasons] == [True, False]


def test_other_tls_alerts_are_no_question_of_trust() -> None:
    for alert in (40, 49, 80, 120):
        assert ending.terminated(terminated(0x100 + alert), unanswered=False).cause is Cause.LOST


@pytest.mark.parametrize(
    ("status", "cause"), [(401, Cause.REFUSED), (403, Cause.REFUSED), (503, Cause.LOST), (302, Cause.LOST)]
)
def test_answers(status: int, cause: Cause) -> None:
    closed = ending.refused(Refused(status, "no"))
    assert closed.cause is cause
    assert str(status) in closed.reason


def test_a_stream_that_is_reset() -> None:
    assert "H3_REQUEST_REJECTED" in ending.aborted(H3ErrorCode.H3_REQUEST_REJECTED).reason
