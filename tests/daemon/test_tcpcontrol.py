"""The C mqvpn's control interface as its documentation has it, read-only; and `mqvpn --status` that asks it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mqvpn.cli import main
from mqvpn.config.load import load
from mqvpn.config.server import ServerSettings
from mqvpn.config.values import HostPort, Secret, User
from mqvpn.daemon.controlsocket import control_port
from mqvpn.daemon.serverstatus import ServerStatus
from mqvpn.daemon.tcpcontrol import MAX_CONNECTIONS, TcpControl, answer
from mqvpn.system.errors import OperationFailed
from mqvpn.system.sockets import open_tcp_socket
from mqvpn.tunnel.reordering import Reordering
from tests.daemon.test_status import pump
from tests.lab.net import wait_for
from tests.tunnel.pair import Network, is_up

SETTINGS = ServerSettings(
    auth_key=Secret("k"), users=(User("alice", Secret("a")), User("bob", Secret("b"))), scheduler="minrtt"
)


@pytest.fixture
def status(tmp_path: Path) -> ServerStatus:
    """Of a server with one client, over two paths."""
    network = Network(tmp_path, authorize=lambda key: "")
    client = network.client(links=2)
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.run(1)
    return ServerStatus(SETTINGS, network.server.engine, pump(network.server.tunnel), "mqs0")


@pytest.fixture
def port(status: ServerStatus) -> Iterator[int]:
    """Where it is served, by a loop in a thread."""
    loop = asyncio.new_event_loop()
    stop, ready = asyncio.Event(), threading.Event()

    async def serve(listening: socket.socket) -> None:
        with TcpControl(listening, status):
            ready.set()
            await stop.wait()
        await asyncio.sleep(0)

    with open_tcp_socket("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=loop.run_until_complete, args=(serve(listening),))
        thread.start()
        ready.wait(5)
        yield listening.getsockname()[1]
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()


def ask(port: int, request: bytes) -> Any:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request)
        text = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert text.endswith(b"\n")
    return json.loads(text)


def test_get_status(port: int) -> None:
    told = ask(port, b'{"cmd":"get_status"}')  # ended by its brace, without a newline
    assert (told["ok"], told["n_clients"]) == (True, 1)
    [client] = told["clients"]
    assert set(client) == {"user", "endpoint", "connected_sec", "bytes_tx", "bytes_rx", "n_paths", "paths"}
    assert (client["user"], client["n_paths"]) == ("(global)", 2)
    names = "path_id srtt_ms min_rtt_ms cwnd in_flight bytes_tx bytes_rx pkt_sent pkt_recv pkt_lost state state_label"
    for path in client["paths"]:
        assert set(path) == set(names.split())
        assert (path["state"], path["state_label"]) == (2, "active")
        assert path["srtt_ms"] > 10


def test_the_other_commands(port: int) -> None:
    assert ask(port, b'{"cmd": "list_users"}\n') == {"ok": True, "users": ["alice", "bob"]}
    stats = ask(port, b'{"cmd": "get_stats"}\n')
    assert (stats["ok"], stats["n_clients"]) == (True, 1)
    assert {"bytes_tx", "bytes_rx", "dgram_sent", "dgram_recv", "dgram_lost", "uptime_sec"} < set(stats)
    build = ask(port, b'{"cmd": "get_build_info"}\n')
    assert (build["ok"], build["scheduler"], build["fec_enabled"]) == (True, "minrtt", 0)


def test_get_reorder_stats(port: int) -> None:
    told = ask(port, b'{"cmd": "get_reorder_stats"}\n')
    names = (
        "gap_count gap_filled_count gap_timeout_count gap_overflow_count gap_demote_count gap_reset_count"
        " ack_demote_count too_late_drop_count too_far_ahead_drop_count duplicate_drop_count pool_drop_count"
        " per_flow_limit_drop_count reset_discard_count delivered_count"
        " added_latency_p99_ms added_latency_max_ms added_latency_buffered_p99_ms"
    )
    assert told == {"ok": True, "reorder": dict.fromkeys(names.split(), 0)}


def test_reorder_stats_are_sums_in_the_terms_of_the_c_mqvpn() -> None:
    found = Reordering(
        numbered=1000, waited=20, waiting=1, late=2, duplicates=3, no_room=4, discarded=5, gaps_filled=6, gaps_lost=7,
        gaps_expired=8, gaps_overrun=9, flows_demoted=10, longest_ms=11.5, p99_ms=8.0,
    )  # fmt: skip
    status: Any = SimpleNamespace(reordering=lambda: found)
    told = asyncio.run(answer(status, {"cmd": "get_reorder_stats"}))["reorder"]
    assert told["gap_count"] == 6 + 7 + 8 + 9
    assert (told["delivered_count"], told["pool_drop_count"]) == (1000 - 1 - 3 - 5, 0)
    assert (told["gap_timeout_count"], told["gap_overflow_count"], told["ack_demote_count"]) == (15, 9, 10)
    assert (told["added_latency_p99_ms"], told["added_latency_max_ms"]) == (8.0, 11.5)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (b'{"cmd": "get_fec_stats", "user": "alice"}', "fec not built"),
        (b'{"cmd": "get_all_fec_stats"}', "fec not built"),
        (b'{"cmd": "nonsense"}', "unknown cmd"),
        (b"{}", "missing cmd"),
        (b'{"cmd": 3}', "missing cmd"),
        (b"nonsense\n", "missing cmd"),
        (b"[" * 5000, "request too large"),
    ],
)
def test_refusals(port: int, request_: bytes, error: str) -> None:
    assert ask(port, request_) == {"ok": False, "error": error}


@pytest.mark.parametrize("command", ["add_user", "remove_user"])
def test_nobody_is_added_by_a_stranger(status: ServerStatus, command: str) -> None:
    told = asyncio.run(answer(status, {"cmd": command, "name": "eve", "key": "k"}))
    assert not told["ok"]
    assert "mqvpnctl reload" in told["error"]
    assert asyncio.run(answer(status, {"cmd": "list_users"}))["users"] == ["alice", "bob"]


def test_a_ninth_connection_is_turned_away(port: int) -> None:
    held = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(MAX_CONNECTIONS)]
    time.sleep(0.2)
    assert ask(port, b"") == {"ok": False, "error": "too many connections"}
    for connection in held:
        connection.close()

    def is_answered() -> bool:
        with contextlib.suppress(ConnectionResetError):  # turned away before the request was read
            return bool(ask(port, b'{"cmd": "list_users"}\n')["ok"])
        return False

    wait_for("there is room again", is_answered)


def test_packets_move_while_many_clients_are_told() -> None:
    one = {"user": "", "paths": [], "connected": 0, "traffic": {"tx_bytes": 0, "rx_bytes": 0}}
    pages: Any = SimpleNamespace(page=lambda after: ([one], after + 1 if after < 9 else None))

    async def story() -> int:
        told, turns = asyncio.create_task(answer(pages, {"cmd": "get_status"})), 0
        while not told.done():
            turns += 1
            await asyncio.sleep(0)
        assert told.result()["n_clients"] == 11
        return turns

    assert asyncio.run(story()) > 10


@pytest.mark.parametrize(
    ("listen", "remote", "served"),
    [("127.0.0.1", False, True), ("::1", False, True), ("0.0.0.0", False, False), ("0.0.0.0", True, True)],
)
def test_only_this_machine_unless_told_otherwise(
    listen: str, remote: bool, served: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    settings = ServerSettings(auth_key=Secret("k"), control_listen=HostPort(listen, number), control_remote=remote)
    with control_port(settings) as listening:
        assert (listening is not None) is served
    assert ("is not served" in caplog.text) is not served


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = HostPort("127.0.0.1", taken.getsockname()[1])
        settings = ServerSettings(auth_key=Secret("k"), control_listen=listen)
        with pytest.raises(OperationFailed, match="another program has this port"), control_port(settings):
            pass


def test_flags_of_the_c_mqvpn(tmp_path: Path) -> None:
    key = tmp_path / "k"
    key.write_text("k")
    settings = load(None, {"auth_key": f"file:{key}", "control_listen": "localhost:9090"}, "server")
    assert isinstance(settings, ServerSettings)
    assert settings.control_listen == HostPort("127.0.0.1", 9090)
    assert settings.warnings == ()


def test_mqvpn_status_asks_it(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--status", "--control-port", str(port)]) == 0
    first, head, *rows = capsys.readouterr().out.splitlines()
    assert (first, head.split()[:2], len(rows)) == ("1 client", ["USER", "ENDPOINT"], 2)
    assert rows[0].startswith("(global)  ")


def test_mqvpn_status_where_nothing_answers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    assert main.main(["--status", "--control-port", str(number), "--control-addr", "127.0.0.1"]) == 69
    assert "no server answers there: Connection refused" in capsys.readouterr().err
    assert main.main(["--status", "--control-port", "x"]) == 2


def test_mqvpn_status_without_a_port_shows_what_runs_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("mqvpn.cli.instances.RUN", str(tmp_path))
    assert main.main(["--status"]) == 69
    assert "no daemon of mqvpn is running" in capsys.readouterr().err
