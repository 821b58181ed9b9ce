"""What an administrator finds in the journal of a real machine."""

from __future__ import annotations

import pytest

from tests.lab.net import wait_for
from tests.machine.tunnel import CLIENT, KEY, SERVER, Pair

pytestmark = pytest.mark.machine


def test_events_are_found_by_their_fields_and_explained(pair: Pair) -> None:
    pair.connect()
    wait_for("two paths", lambda: len(pair.client.journal("MQVPN_EVENT=path-up")) >= 2)
    (joined, *_) = pair.server.journal("MQVPN_EVENT=client-connected")
    assert joined["MQVPN_INSTANCE"] == "server"
    assert (joined["PRIORITY"], joined["MESSAGE"]) == ("6", "client 0 (shared key) connected")
    pair.client.namespace.unchanged.but_interfaces("up1")
    pair.client.namespace.ip("link", "set", "up1", "down")
    try:
        wait_for("a path is down", lambda: pair.client.journal("MQVPN_EVENT=path-down", "MQVPN_PATH=up1"))
        (gone, *_) = pair.client.journal("MQVPN_EVENT=interface-unusable", "MQVPN_PATH=up1")
        assert gone["MQVPN_INSTANCE"] == "home"
        assert gone["MQVPN_REASON"] == "down"
        assert gone["_SYSTEMD_UNIT"] == f"{CLIENT}.service"
        explained = pair.client.run("journalctl", "-x", "-n1", "MQVPN_EVENT=path-down")
        assert "Subject: A path is closed" in explained
        assert "no longer uses up1" in explained
    finally:
        pair.client.namespace.ip("link", "set", "up1", "up")
        route = ("default", "via", "10.1.1.1", "dev", "up1", "metric", "101")
        pair.client.namespace.ip("route", "replace", *route)


def test_no_secret_and_no_address_of_a_user_is_logged(pair: Pair) -> None:
    pair.connect()
    for machine, unit in ((pair.client, CLIENT), (pair.server, SERVER)):
        text = machine.run("journalctl", "-ojson", "-u", unit)
        assert KEY not in text
    everything = pair.server.run("journalctl", "-ojson", "-u", SERVER)
    assert "10.77.0.2" not in everything
    assert "10.1.0.2" not in everything
