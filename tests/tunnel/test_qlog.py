"""What is recorded of a connection: its handshake, paths and recovery, in the order of time, and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mqvpn.multipath.cids import reset_token
from mqvpn.multipath.trace import without_secrets
from mqvpn.tunnel import qlog
from mqvpn.tunnel.qlog import Recorder, encode, header
from tests.tunnel.pair import KEY, End, Network, is_up

WALL = 1_700_000_000.0


class Log:
    """One connection's file, as a program that reads it sees it."""

    def __init__(self, trace: qlog.Trace, records: list[qlog.Record]) -> None:
        self.text = header(trace, WALL) + b"".join(encode(trace, record) for record in records)
        assert self.text.startswith(b"\x1e")
        assert self.text.endswith(b"\n")
        self.header, *self.events = [json.loads(text) for text in self.text.split(b"\x1e")[1:]]

    def data(self, name: str, path: int = 0) -> list[dict[str, Any]]:
        group = f"path {path}"
        return [event["data"] for event in self.events if (event["name"], event["group_id"]) == (name, group)]


def logs(network: Network, end: End) -> list[Log]:
    recorder = end.tunnel.recorder
    assert recorder is not None
    recorder.sample(network.now)
    return [Log(trace, records) for trace, records in recorder.take()]


def connected(tmp_path: Path, links: int = 2) -> tuple[Network, End]:
    network = Network(tmp_path)
    client = network.client(links)
    network.server.tunnel.recorder, client.tunnel.recorder = Recorder(), Recorder()
    network.start(client)
    assert network.run_until(lambda: is_up(client))
    network.run(1.0)
    return network, client


def test_what_qvis_needs(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    for end, role, began in ((client, "client", 1000.0), (network.server, "server", 1000.01)):
        (log,) = logs(network, end)
        assert log.header["qlog_version"] == "0.3"
        assert log.header["qlog_format"] == "JSON-SEQ"
        assert log.header["trace"]["vantage_point"] == {"name": "mqvpn", "type": role}
        common = log.header["trace"]["common_fields"]
        assert common["time_format"] == "relative"
        assert common["reference_time"] == pytest.approx((WALL + began) * 1000, abs=0.01)
        assert len(bytes.fromhex(common["ODCID"])) >= 8
        assert all(set(event) == {"time", "name", "group_id", "data"} for event in log.events)
        times = [event["time"] for event in log.events]
        assert times == sorted(times)
        assert times[0] == 0.0
        assert 20 < times[-1] <= 2000


def test_both_ends_name_the_connection_alike(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    ours, theirs = logs(network, client)[0], logs(network, network.server)[0]
    assert ours.header["trace"]["common_fields"]["ODCID"] == theirs.header["trace"]["common_fields"]["ODCID"]


def test_the_handshake(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    (log,) = logs(network, client)
    assert log.events[0]["name"] == "connectivity:connection_started"
    assert log.events[0]["data"]["dst_ip"] == "192.0.2.1"
    assert log.data("transport:version_information")[0]["chosen_version"] == 1
    assert log.data("transport:alpn_information")[-1] == {"chosen_alpn": "h3"}
    assert log.data("multipath:negotiated") == [{"enabled": True}]
    assert {data["owner"] for data in log.data("transport:parameters_set")} == {"local", "remote"}
    sent = log.data("transport:packet_sent")
    assert {packet["header"]["packet_type"] for packet in sent} == {"initial", "handshake", "1RTT"}
    assert sent[0]["frames"][0]["frame_type"] == "crypto"
    received = [packet for packet in log.data("transport:packet_received") if "frames" in packet]
    assert len(received) >= 2
    assert all(packet["frames"] and packet["raw"]["length"] for packet in received)


def test_the_life_of_a_path(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    (log,) = logs(network, client)
    assert log.data("connectivity:path_assigned", 1) == [{"path_remote": {"ip": "192.0.2.1", "port": 4433}}]
    states = [data["new"] for data in log.data("multipath:path_state_updated", 1)]
    assert states[0] in ("opening", "validating")
    assert states[-2:] == ["proving", "active"]
    assert log.data("connectivity:mtu_updated", 1)[-1]["new"] >= 1331
    network.dead.add(("198.51.100.1", 5001))
    network.run(20.0)
    (log,) = logs(network, client)
    assert log.data("multipath:path_suspect", 1) == [{}]
    network.dead.clear()
    network.run(3.0)
    (log,) = logs(network, client)
    assert log.data("multipath:path_alive", 1) == [{}]
    client.tunnel.handle_link("eth1", (), network.now)
    network.settle(client)
    network.run(3.0)
    (log,) = logs(network, client)
    assert log.data("multipath:path_abandoned", 1)[0]["owner"] == "local"
    assert [data["new"] for data in log.data("multipath:path_state_updated", 1)] == ["abandoned", "closed"]


def test_recovery_is_sampled_and_says_only_what_changed(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    (log,) = logs(network, client)
    first = log.data("recovery:metrics_updated", 1)
    assert first[0]["congestion_window"] > 10_000
    merged: dict[str, float] = {}
    for data in first:
        merged |= data
    assert merged["smoothed_rtt"] == pytest.approx(20.0, abs=1.0)
    assert merged["min_rtt"] == pytest.approx(20.0, abs=1.0)
    assert merged["bytes_in_flight"] == 0
    assert merged["lost_packets"] == 0
    assert merged["delivery_rate"] > 0
    assert merged["pacing_rate"] > 0
    assert logs(network, client) == []


def test_one_record_for_many_packets_of_the_tunnel(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    logs(network, client)
    logs(network, network.server)
    packet = bytes.fromhex("4500001c00000000401100000a0000020a000001") + bytes(8)
    for _ in range(100):
        network.from_tun(client, packet)
    network.run(1.0)
    (ours,), (theirs,) = logs(network, client), logs(network, network.server)
    sums = ("transport:packet_sent", "transport:packet_received")
    assert {event["name"] for log in (ours, theirs) for event in log.events} <= {"recovery:metrics_updated", *sums}
    sent = [data for path in range(2) for data in ours.data(sums[0], path)]
    received = [data for path in range(2) for data in theirs.data(sums[1], path)]
    assert len(sent) <= 2
    assert 100 <= sum(data["packets"] for data in sent) == sum(data["packets"] for data in received) <= 110
    assert sum(data["raw"]["length"] for data in sent) == sum(data["raw"]["length"] for data in received) > 100 * 28
    assert sent[0]["header"] == {"packet_type": "1RTT"}  # a number would be one packet's


def test_key_updates(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    logs(network, client)
    client.tunnel.connection.engine_connection.update_keys()  # type: ignore[attr-defined]
    network.from_tun(client, bytes.fromhex("4500001c00000000401100000a0000020a000001") + bytes(8))
    network.run(20.0)
    (log,) = logs(network, network.server)
    updates = log.data("security:key_updated")
    assert [update["key_type"] for update in updates] == ["client_1rtt_secret", "server_1rtt_secret"]
    assert {update["generation"] for update in updates} == {1}


def test_the_end(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    client.tunnel.close(network.now)  # type: ignore[attr-defined]
    network.settle(client)
    network.run(3.0)
    closed = logs(network, client)[0].data("connectivity:connection_closed")
    assert closed == [{"owner": "local", "application_code": 0x100, "reason": ""}]
    closed = logs(network, network.server)[0].data("connectivity:connection_closed")
    assert closed[0]["owner"] == "remote"
    network.run(100.0)
    assert (logs(network, client), logs(network, network.server)) == ([], [])


def test_no_secret_in_any_record(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    server = network.server
    secrets = [KEY, *(reset_token(b"r" * 32, connection.host_cid) for connection in server.tunnel._connections)]
    assert len(secrets) == 2
    for end in (client, server):
        for log in logs(network, end):
            for secret in secrets:
                assert secret not in log.text
                assert secret.hex().encode() not in log.text
            assert b"reset_token" not in log.text
            assert b"authorization" not in log.text.lower()


def test_tokens_are_taken_out_at_any_depth() -> None:
    data = {"frames": [{"token": "ab", "length": 1}], "stateless_reset_token": "cd", "header": {"retry_token": "ef"}}
    assert without_secrets(data) == {"frames": [{"length": 1}], "header": {}}


def test_what_does_not_decrypt_leaves_no_trace(tmp_path: Path) -> None:
    network, _ = connected(tmp_path)
    logs(network, network.server)
    for number in range(300):
        initial = b"\xc3\x00\x00\x00\x01\x08" + number.to_bytes(8) + b"\x08" + bytes(8) + b"\x00\x44\x9e" + bytes(1182)
        network.inject(network.server, initial, ("203.0.113.1", 1000 + number))
    assert len(logs(network, network.server)) <= 1
    later = network.client()
    network.start(later)
    assert network.run_until(lambda: is_up(later))
    assert [log.events[0]["name"] for log in logs(network, network.server)][-1] == "connectivity:connection_started"


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qlog, "MAX_RECORDS", 5)
    network, client = connected(tmp_path)
    (log,) = logs(network, client)
    assert len(log.events) == 6
    assert log.events[-1]["name"] == "loglevel:warning"
    assert log.events[-1]["data"]["message"].endswith("events left out")
    monkeypatch.setattr(qlog, "MAX_TRACES", 1)
    network.start(network.client())
    network.run(3.0)
    assert len(logs(network, network.server)) <= 1


def test_a_closed_recorder_notes_nothing(tmp_path: Path) -> None:
    network, client = connected(tmp_path)
    client.tunnel.recorder.close()  # type: ignore[union-attr]
    network.run(30.0)
    assert logs(network, client) == []
