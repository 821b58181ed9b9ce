"""Whatever bytes come: at worst this connection closes with an error that is the peer's fault."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mqvpn.dataplane.engine import CONTROL
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.wire.frame import FRAMES
from tests.multipath.test_datagram import HANDSHAKE, INITIAL
from tests.sim.pair import SERVER, Pair

FRAME_TYPES = [*range(0x1F), *FRAMES]


def type_bytes(number: int) -> bytes:
    return bytes([number]) if number < 64 else (number | 0x4000).to_bytes(2)


fields = st.lists(st.integers(0, 63) | st.sampled_from([0x4000, 0x7FFF]), max_size=8).map(
    lambda numbers: b"".join(bytes([number]) if number < 64 else number.to_bytes(2) for number in numbers)
)
frames = st.lists(
    st.tuples(st.sampled_from(FRAME_TYPES).map(type_bytes), fields, st.binary(max_size=24)).map(b"".join),
    min_size=1,
    max_size=6,
).map(b"".join)


def is_unharmed(quic: MultipathConnection) -> bool:
    return quic.close_event is None or quic.close_event.reason_phrase != "internal error"


@settings(max_examples=300)
@given(frames | st.binary(min_size=1, max_size=60), st.integers(0, 9), st.booleans())
def test_frames(garbage: bytes, path_id: int, to_client: bool) -> None:
    pair = Pair()
    pair.connect(0.3)
    end, quic = (pair.client, pair.c) if to_client else (pair.server, pair.s)
    quic.handle_event((CONTROL, quic.engine_connection, path_id, garbage, -1), pair.net.now)
    assert is_unharmed(quic)
    end.settle()
    pair.run(0.5)
    assert is_unharmed(quic)


@settings(max_examples=100)
@given(
    st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: INITIAL + tail) | st.just(HANDSHAKE),
    st.booleans(),
    st.sampled_from([0.0, 0.015, 0.025, 1.0]),
)
def test_datagrams(garbage: bytes, to_client: bool, after: float) -> None:
    pair = Pair()
    pair.connect(after)
    pair.run(0.02)
    end, quic = (pair.client, pair.c) if to_client else (pair.server, pair.s)
    remote = SERVER if to_client else pair.client.addresses[0]
    quic.receive_long(b"\xc0" + garbage, 0, remote, None, pair.net.now)
    end.settle()
    pair.run(1.0)
    assert pair.c.handshake_confirmed
    assert pair.c.close_event is None
    assert pair.s.close_event is None
