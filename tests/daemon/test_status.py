"""What a daemon tells of itself, before, during and after a tunnel."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.server import ServerSettings
from mqvpn.config.values import HostPort, PathSetting, Secret
from mqvpn.daemon.clientstatus import ClientStatus
from mqvpn.daemon.dns import Dns
from mqvpn.daemon.servers import Servers
from mqvpn.daemon.serverstatus import ServerStatus
from mqvpn.daemon.status import duration
from mqvpn.system.undo import Undo
from mqvpn.tunnel import events
from mqvpn.tunnel.client import ClientTunnel
from tests.tunnel.pair import Network, is_up

SETTINGS = ClientSettings(
    server_addr=HostPort("vpn.example", 443), paths=(PathSetting("eth0"), PathSetting("eth1")), instance="home"
)

DNS = Dns(SETTINGS, "mq0", lambda status: None, Undo(None))


def pump(tunnel: Any = None) -> Any:
    """Stands for a Pump: the tunnel, and devices that dropped nothing."""
    device = SimpleNamespace(drops=dict)
    return SimpleNamespace(tunnel=tunnel, tun=device, sockets=device)


def test_before_there_is_a_tunnel(tmp_path: Path) -> None:
    status = ClientStatus(SETTINGS, Network(tmp_path).server.engine, pump(), "mq0", DNS, Servers(SETTINGS.servers))
    status.attempt()
    told = status()
    assert (told["state"], told["attempts"], told["last_close"], told["next_attempt"]) == ("resolving", 1, None, None)
    assert told["server"] == {"name": "vpn.example:443", "address": None, "certificate": None}
    assert told["tun"] == {}  # there is no such interface here
    assert status.describe() == "Resolving: vpn.example:443"


def test_after_an_attempt_that_failed(tmp_path: Path) -> None:
    status = ClientStatus(SETTINGS, Network(tmp_path).server.engine, pump(), "mq0", DNS, Servers(SETTINGS.servers))
    status.attempt()
    status.ended(events.Closed("no answer from 192.0.2.1:443", events.Cause.UNTRUSTED))
    status.wait(7.2)
    told = status()
    assert told["last_close"] == {"reason": "no answer from 192.0.2.1:443", "cause": "untrusted", "ago": 0}
    assert told["next_attempt"] == 7
    assert status.describe() == "Resolving: vpn.example:443 (no answer from 192.0.2.1:443)"


def test_while_it_is_up(tmp_path: Path) -> None:
    network = Network(tmp_path)
    client = network.client(links=2)
    assert isinstance(client.tunnel, ClientTunnel)
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.run(1)
    status = ClientStatus(SETTINGS, client.engine, pump(client.tunnel), "mq0", DNS, Servers(SETTINGS.servers))
    status.attempt()
    status.handle_event(events.TunnelUp(client.tunnel.addresses, 1368, "eth0"))
    told = status()
    assert (told["mtu"], told["up"], told["attempts"]) == (1368, 0, 0)
    assert [(one["name"], one["path"], one["reason"]) for one in told["interfaces"]] == [
        ("eth0", True, None),
        ("eth1", True, None),
    ]
    status.handle_event(events.PathSilent(1, "eth1"))
    assert status()["interfaces"][1]["reason"] == "does not answer"
    status.handle_event(events.PathAnswers(1, "eth1"))
    assert status()["interfaces"][1]["reason"] is None
    line = status.describe()
    assert line.startswith("Connected to vpn.example:443; 2/2 paths (eth0 ")
    assert line.endswith("ms); 10.0.0.2; up 0s")
    assert line.isascii()


def test_a_server_counts_whom_it_served_and_refused(tmp_path: Path) -> None:
    network = Network(tmp_path)
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    settings = ServerSettings(auth_key=Secret("k"))
    status = ServerStatus(settings, network.server.engine, pump(network.server.tunnel), "mqs0")
    [number] = [one.number for one in network.server.tunnel.clients]  # type: ignore[union-attr]
    status.handle_event(events.ClientJoined(number, "", (IPv4Network("10.0.0.2/32"),)))
    status.handle_event(events.ClientRefused(7, 403, "no such key"))
    status.handle_event(events.ClientRefused(8, 403, "no such key"))
    told = status()
    assert (told["connected"], told["served"], told["refused"]) == (1, 1, {"403": 2})
    assert "10.0.0.2" not in str(told)
    [served], following = status.page(-1)
    assert (served["address"], served["connected"], following) == (["10.0.0.2/32", "fd00::2/128"], 0, None)
    assert status.everything()["clients"] == [served]
    status.handle_event(events.ClientLeft(number, "", "gone"))
    assert status.page(-1)[0][0]["connected"] is None
    assert status.describe() == "Serving 0.0.0.0:443; 1 clients"


def test_clients_come_in_pages(tmp_path: Path) -> None:
    network = Network(tmp_path)
    clients = [network.client() for _ in range(3)]
    for client in clients:
        network.start(client)
        network.run_until(lambda client=client: is_up(client))  # type: ignore[misc]
    status = ServerStatus(ServerSettings(auth_key=Secret("k")), network.server.engine, pump(network.server.tunnel), "s")
    seen, after, pages = [], -1, 0
    while True:
        shown, following = status.page(after, limit=2)
        seen += [one["number"] for one in shown]
        pages += 1
        if following is None:
            break
        after = following
    assert (len(seen), pages) == (3, 2)
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (60, "1min"), (7199, "1h"), (86400 * 3.5, "3d")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
