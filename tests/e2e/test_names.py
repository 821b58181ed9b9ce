"""F28: a name server that does not answer when a client starts, and later does; which is no event on its machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mqvpn.daemon.names import SPARING
from tests.e2e.test_kill_switch import chatter, is_up
from tests.e2e.test_links import on_own_etc
from tests.lab.capture import Capture
from tests.lab.nameserver import command
from tests.lab.net import Net, program
from tests.lab.site import SERVER_ADDRESSES, Site, build_site
from tests.lab.tunnel import PORT, Daemon, Sections, client_config, server_daemon

pytestmark = pytest.mark.netns

NAMES = command(SERVER_ADDRESSES[1], SERVER_ADDRESSES[0])
SILENT = "table inet silent { chain in { type filter hook input priority 0; udp dport 53 drop; }; }"
BACK = 5  # seconds


def start(site: Site, **interface: str) -> Daemon:
    """A client that waits for its second attempt for half a minute at least."""
    named = {"Address": f"vpn.example:{PORT}"}
    changes: Sections = {"Interface": {"ReconnectInterval": "60", **interface}, "Server": named}
    client = Daemon(site.net, site.client, "client", "client", client_config(site, changes))
    client.wait_for("a long wait", lambda: "next attempt in" in client.log.read_text(), timeout=20)
    return client


@pytest.mark.parametrize("shut", ["false", "true"], ids=["open", "kill switch"])
@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "says nothing"])
def test_a_name_server_that_answers_again_ends_a_long_wait(tmp_path: Path, silent: bool, shut: str) -> None:
    def body(net: Net) -> None:
        site = build_site(net, [None])
        site.server.unchanged.but("silent")
        if silent:
            site.server.run("nft", SILENT)
        with server_daemon(site):
            client = start(site, KillSwitch=shut)
            time.sleep(4)
            assert client.stats()["attempts"] == 1
            with program(site.server, *NAMES, log=net.log("nameserver.log")):
                if silent:
                    site.server.run("nft", "delete", "table", "inet", "silent")
                began = time.monotonic()
                client.wait_for("an echo", lambda: is_up(site))
                took = time.monotonic() - began
                print(f"an echo {took:.2f} s after the name server was back")
                assert took < BACK
            assert client.stop() == 0

    on_own_etc(tmp_path, body)


@pytest.mark.pace
def test_a_link_that_comes_while_no_name_server_answers_is_one_attempt(tmp_path: Path) -> None:
    """Although each look-up fails at once."""

    def body(net: Net) -> None:
        Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
        site = build_site(net, [None, None])
        site.set_uplink(1, up=False)
        client = start(site)
        site.set_uplink(1, up=True)
        client.wait_for("another attempt", lambda: client.stats()["attempts"] > 1)
        time.sleep(3)
        assert client.stats()["attempts"] <= 4  # each of its addresses and routes is one change
        assert client.stop() == 0

    on_own_etc(tmp_path, body)


def test_a_captive_portal_lets_the_client_through_at_last(tmp_path: Path) -> None:
    """Until then it gives its own address for every name, where no server answers. Nothing else leaves meanwhile."""

    def body(net: Net) -> None:
        site = build_site(net, [None])
        portal, log = "10.1.0.1", net.log("nameserver.log")
        allowed = [(SERVER_ADDRESSES[0], PORT), (portal, PORT)]
        with server_daemon(site, {"Interface": {"Listen": f"{SERVER_ADDRESSES[0]}:{PORT}"}}):
            with program(site.server, *command(SERVER_ADDRESSES[1], portal), log=log):
                client = start(site, KillSwitch="true")
                with Capture(site.client, site.uplinks) as capture, chatter(site.client):
                    time.sleep(6)
            with program(site.server, *NAMES, log=log):
                began = time.monotonic()
                client.wait_for("an echo", lambda: is_up(site), timeout=SPARING + BACK)
                print(f"an echo {time.monotonic() - began:.2f} s after the portal let it through")
                assert client.stats()["attempts"] <= 2
            assert client.stop() == 0
        assert {(leak.destination, leak.dport) for leak in capture.leaks(allowed)} <= {(SERVER_ADDRESSES[1], 53)}

    on_own_etc(tmp_path, body)
