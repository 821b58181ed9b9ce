"""The contract with aioquic: each private name that seam.py leans on exists and has the shape it needs."""

import inspect
from typing import Any

import pytest
from aioquic import tls
from aioquic.quic.connection import CRYPTO_BUFFER_SIZE, QuicConnection
from aioquic.quic.packet_builder import QuicPacketBuilder

from mqvpn.multipath.connection import MultipathConnection
from mqvpn.multipath.seam import WINDOW, ControlConnection
from mqvpn.multipath.standin import FrameBuilder
from tests.sim.pair import Pair

ATTRIBUTES = {
    "_close_at": (float, type(None)),
    "_close_event": (object,),
    "_close_pending": (bool,),
    "_crypto_buffers": (dict,),
    "_crypto_streams": (dict,),
    "_cryptos": (dict,),
    "_events": (object,),
    "_handshake_complete": (bool,),
    "_handshake_confirmed": (bool,),
    "_handshake_done_pending": (bool,),
    "_host_cids": (list,),
    "_is_client": (bool,),
    "_local_active_connection_id_limit": (int,),
    "_network_paths": (list,),
    "_ping_pending": (list,),
    "_quic_logger": (type(None),),
    "_remote_active_connection_id_limit": (int,),
    "_remote_max_data": (int,),
    "_remote_max_data_used": (int,),
    "_remote_max_streams_bidi": (int,),
    "_remote_max_streams_uni": (int,),
    "_spaces": (dict,),
    "_streams": (dict,),
    "_streams_blocked_bidi": (list,),
    "_streams_blocked_pending": (bool,),
    "_streams_blocked_uni": (list,),
    "_streams_queue": (list,),
    "_version": (int,),
}
WRITERS = {  # the parameters we pass, by position
    "_write_connection_close_frame": ["builder", "epoch", "error_code", "frame_type", "reason_phrase"],
    "_write_crypto_frame": ["builder", "space", "stream"],
    "_write_handshake_done_frame": ["builder"],
    "_write_ping_frame": ["builder", "uids"],
    "_write_reset_stream_frame": ["builder", "stream"],
    "_write_stop_sending_frame": ["builder", "stream"],
    "_write_stream_frame": ["builder", "space", "stream", "max_offset"],
    "_write_streams_blocked_frame": ["builder", "frame_type", "limit"],
    "_on_connection_limit_delivery": ["delivery", "limit"],
    "_on_max_stream_data_delivery": ["delivery", "stream"],
    "_payload_received": ["context", "plain"],
    "_initialize": ["peer_cid"],
    "_parse_transport_parameters": ["data", "from_session_ticket"],
    "_serialize_transport_parameters": [],
    "_handle_crypto_frame": ["context", "frame_type", "buf"],
    "_replenish_connection_ids": [],
    "_close_end": [],
    "_set_state": ["state"],
}


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect(0.5)
    return pair


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_have_the_type_we_need(pair: Pair, name: str) -> None:
    for quic in (pair.c, pair.s):
        assert isinstance(vars(quic)[name], ATTRIBUTES[name])


@pytest.mark.parametrize("name", WRITERS)
def test_methods_take_what_we_pass(name: str) -> None:
    parameters = list(inspect.signature(getattr(QuicConnection, name)).parameters)[1:]
    assert parameters[: len(WRITERS[name])] == WRITERS[name]


def test_limits_count_value_sent_and_used(pair: Pair) -> None:
    for limit in (pair.c._local_max_data, pair.c._local_max_streams_bidi, pair.c._local_max_streams_uni):
        assert {"frame_type", "value", "sent", "used"} <= set(vars(limit))


def test_streams_have_the_parts_we_use(pair: Pair) -> None:
    pair.c.send_stream_data(0, b"x")
    stream = pair.c._streams[0]
    assert {
        "is_blocked",
        "max_stream_data_local",
        "max_stream_data_local_sent",
        "max_stream_data_remote",
    } <= set(vars(stream))
    assert {"stop_pending", "highest_offset", "is_finished"} <= set(vars(stream.receiver))
    assert {"reset_pending", "highest_offset", "buffer_is_empty"} <= set(vars(stream.sender))
    assert stream.receiver.starting_offset() == len(stream.receiver._ranges) == 0
    assert not stream.is_finished


def test_the_frame_handlers_are_a_table_of_handler_and_epochs(pair: Pair) -> None:
    theirs = vars(QuicConnection(configuration=pair.c.configuration))["_QuicConnection__frame_handlers"]
    assert set(range(0x1F)) <= set(theirs)
    ours = vars(pair.c)["_QuicConnection__frame_handlers"]
    own = set(ours.own)
    assert set(range(0x18, 0x1C)) <= own
    for number in set(theirs) - own:
        handler, epochs = ours[number]
        assert handler == getattr(pair.c, theirs[number][0].__name__)
        assert epochs == theirs[number][1]
    assert {ours[number][1] for number in own} == {frozenset({tls.Epoch.ONE_RTT})}
    with pytest.raises(KeyError):
        ours[0x21]


def test_tls_has_buffers_only_while_it_speaks(pair: Pair) -> None:
    assert pair.c._crypto_buffers == pair.s._crypto_buffers == {}
    assert pair.c._crypto_buffers[tls.Epoch.HANDSHAKE].capacity == CRYPTO_BUFFER_SIZE
    pair.c._push_crypto_data()
    assert pair.c._crypto_buffers == {}


def test_the_stand_in_builder_has_what_the_writers_use() -> None:
    theirs = inspect.signature(QuicPacketBuilder.start_frame).parameters
    ours = inspect.signature(FrameBuilder.start_frame).parameters
    assert list(theirs) == list(ours)
    for name in ("remaining_buffer_space", "remaining_flight_space", "packet_number"):
        assert hasattr(QuicPacketBuilder, name)
        assert hasattr(FrameBuilder(10), name)
    assert FrameBuilder(10).quic_logger_frames == []


def test_none_of_our_names_hides_one_of_aioquics(pair: Pair) -> None:
    plain = QuicConnection(configuration=pair.c.configuration)
    ours = set(vars(pair.c)) - set(vars(plain))
    assert not {name for name in ours if hasattr(QuicConnection, name)}
    overridden = {
        name
        for class_ in (ControlConnection, MultipathConnection)
        for name in vars(class_)
        if hasattr(QuicConnection, name) and not name.startswith("__")
    }
    assert overridden == {
        "send_stream_data",
        "reset_stream",
        "stop_stream",
        "send_ping",
        "_initialize",
        "_push_crypto_data",
        "_serialize_transport_parameters",
        "_parse_transport_parameters",
        "_close_end",
        "_handle_crypto_frame",
        "_replenish_connection_ids",
    } | (overridden & {"_abc_impl"})


def test_aioquic_announces_the_connection_id_limit_we_enforce(pair: Pair) -> None:
    from mqvpn.multipath.cids import ACTIVE_CONNECTION_ID_LIMIT

    assert pair.c._local_active_connection_id_limit == ACTIVE_CONNECTION_ID_LIMIT


def test_aioquic_builds_no_1rtt_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    built: set[str] = set()
    original = QuicPacketBuilder.start_packet

    def start_packet(self: QuicPacketBuilder, packet_type: Any, crypto: Any) -> None:
        built.add(packet_type.name)
        original(self, packet_type, crypto)

    monkeypatch.setattr(QuicPacketBuilder, "start_packet", start_packet)
    pair = Pair()
    pair.connect()
    pair.c.send_stream_data(0, bytes(5000))
    pair.client.settle()
    pair.run(1.0)
    pair.c.close(0)
    pair.client.settle()
    pair.run(5.0)
    assert built == {"INITIAL", "HANDSHAKE"}


def test_flow_control_windows_slide_but_do_not_grow(pair: Pair) -> None:
    for number in range(3):
        stream_id = pair.c.get_next_available_stream_id()
        pair.c.send_stream_data(stream_id, bytes(3 * WINDOW), end_stream=True)
        for _ in range(100):
            pair.client.settle()
            pair.run(0.5)
        received = sum(len(event.data) for event in pair.server.events if getattr(event, "stream_id", -1) >= 0)
        assert received == 3 * WINDOW * (number + 1)
        assert pair.s._local_max_data.value <= pair.s._local_max_data.used + WINDOW


def test_a_peer_may_have_eight_streams_of_each_kind_open_at_a_time(pair: Pair) -> None:
    for number in range(30):
        pair.c.send_stream_data(4 * number, b"request", end_stream=True)
    pair.client.settle()
    pair.run(1.0)
    assert sorted(pair.s._streams) == [4 * number for number in range(8)]
    for number in range(8):
        pair.s.send_stream_data(4 * number, b"response", end_stream=True)
    pair.server.settle()
    pair.run(1.0)
    assert sorted(pair.s._streams) == [4 * number for number in range(8, 16)]
