"""`systemctl reload` of running services: what can be applied is, a wrong file fails it and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.net import LabError, wait_for
from tests.machine.test_survival import main_pid
from tests.machine.tunnel import (
    CLIENT,
    CLIENT_CONF,
    CLIENT_SECTIONS,
    SERVER,
    SERVER_CONF,
    SERVER_SECTIONS,
    Pair,
    configure,
)

pytestmark = pytest.mark.machine


def test_reload_of_the_server(pair: Pair, tmp_path: Path) -> None:
    pair.connect()
    pid = main_pid(pair.server, SERVER)
    try:
        limited = dict(SERVER_SECTIONS) | {"Auth": {"User": "alice:another-key", "MaxClients": "1"}}
        configure(pair.server, SERVER_CONF, limited, tmp_path)
        pair.server.run("systemctl", "reload", SERVER)
        assert pair.answers()  # who is connected stays, though his key is gone
        assert '"max_clients": 1' in pair.server.run("mqvpnctl", "status", "--json", "server")

        wrong = dict(SERVER_SECTIONS) | {"Auth": {"Key": "k", "MaxClients": "many"}}
        configure(pair.server, SERVER_CONF, wrong, tmp_path)
        with pytest.raises(LabError, match="failed"):
            pair.server.run("systemctl", "reload", SERVER)
        assert '"max_clients": 1' in pair.server.run("mqvpnctl", "status", "--json", "server")
        assert f"{SERVER_CONF}:" in pair.server.run("journalctl", "-n20", "-ocat", "-u", SERVER)
        assert main_pid(pair.server, SERVER) == pid
        assert pair.answers()
    finally:
        configure(pair.server, SERVER_CONF, SERVER_SECTIONS, tmp_path)


def test_a_certificate_is_read_again_and_a_wrong_one_refused(pair: Pair) -> None:
    pair.server.run("systemctl", "start", SERVER)
    good = pair.server.path("/etc/mqvpn/server.crt").read_text()
    try:
        pair.server.write("/etc/mqvpn/server.crt", "no certificate\n")
        with pytest.raises(LabError, match="failed"):
            pair.server.run("systemctl", "reload", SERVER)
        assert pair.server.show(SERVER, "ActiveState") == {"ActiveState": "active"}
    finally:
        pair.server.write("/etc/mqvpn/server.crt", good)
    pair.server.run("systemctl", "reload", SERVER)
    pair.client.run("systemctl", "start", CLIENT)
    assert pair.answers()


def test_reload_of_the_client_changes_its_paths(pair: Pair, tmp_path: Path) -> None:
    pair.connect()
    try:
        configure(pair.client, CLIENT_CONF, dict(CLIENT_SECTIONS) | {"Multipath": {"Path": "up1"}}, tmp_path)
        pair.client.run("systemctl", "reload", CLIENT)
        wait_for("one path", lambda: "1/1 paths (up1 " in pair.client.show(CLIENT, "StatusText")["StatusText"])
        assert pair.answers()
        configure(pair.client, CLIENT_CONF, CLIENT_SECTIONS, tmp_path)
        pair.client.run("systemctl", "reload", CLIENT)
        wait_for("two paths", lambda: "2/2 paths" in pair.client.show(CLIENT, "StatusText")["StatusText"])
        assert pair.answers()
    finally:
        configure(pair.client, CLIENT_CONF, CLIENT_SECTIONS, tmp_path)
