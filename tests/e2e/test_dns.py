"""A client with DNS on a machine without systemd-resolved: names are asked through the tunnel, and all is as before
after its end, also after one that was killed. The /etc of these tests is an overlay of a mount namespace of their own.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.mounts import own, private_mounts
from tests.lab.nameserver import command
from tests.lab.net import Net, program, run, stop, wait_for
from tests.lab.site import SERVER_ADDRESSES, Site, build_site
from tests.lab.tunnel import INNER, PORT, Daemon, client_daemon, server_daemon, write_config

pytestmark = pytest.mark.netns

RESOLV_CONF = Path("/etc/resolv.conf")
BEFORE = "# the administrator's\nnameserver 192.0.2.1\n"
CLIENT = {"Interface": {"DNS": INNER, "Domains": "corp.example"}}


def look() -> tuple[str, int, int]:
    status = RESOLV_CONF.lstat()
    return RESOLV_CONF.read_text(), status.st_mode, status.st_mtime_ns


def on_own_etc(room: Path, body: Any) -> None:
    def inside() -> None:
        own(room, "/etc", "/var/lib")
        Path("/etc/nsswitch.conf").write_text("hosts: files dns\n")
        RESOLV_CONF.unlink(missing_ok=True)
        RESOLV_CONF.write_text(BEFORE)
        RESOLV_CONF.chmod(0o600)
        with Net() as net:
            body(net, build_site(net, [None]))

    private_mounts(inside)


def ours() -> bool:
    return f"nameserver {INNER}\nsearch corp.example\n" in RESOLV_CONF.read_text()


def test_names_are_asked_through_the_tunnel_and_all_is_as_before(tmp_path: Path) -> None:
    def body(net: Net, site: Site) -> None:
        before = look()
        log = net.log("nameserver.log")
        nameserver = command(INNER, "192.0.2.77")
        with server_daemon(site), program(site.server, *nameserver, log=log), client_daemon(site, CLIENT) as client:
            client.wait_for("its DNS is set", ours)
            found = wait_for("a name", lambda: site.client.run("getent", "ahostsv4", "intranet", check=False))
            assert found.startswith("192.0.2.77 ")
            assert "intranet.corp.example\n" in log.read_text()
            told = client.wait_for("the statistics tell", lambda: (client.stats().get("dns") or {}).get("in_effect"))
            assert told
            assert client.stop() == 0
        assert look() == before

    on_own_etc(tmp_path, body)


def test_killed_and_started_again(tmp_path: Path) -> None:
    def body(net: Net, site: Site) -> None:
        before = look()
        with server_daemon(site):
            with client_daemon(site, CLIENT) as client:
                client.wait_for("its DNS is set", ours)
                os.kill(client.process.pid, signal.SIGKILL)
                client.process.wait()
            assert ours()
            with client_daemon(site, CLIENT) as client:
                client.wait_for("its DNS is set", ours)
                assert client.stop() == 0
            assert look() == before
            # The same, but put back by hand.
            with client_daemon(site, CLIENT) as client:
                client.wait_for("its DNS is set", ours)
                os.kill(client.process.pid, signal.SIGKILL)
                client.process.wait()
            run(sys.executable, "-m", "mqvpn.cli.dns", "restore")
            assert look() == before

    on_own_etc(tmp_path, body)


def test_a_server_that_moves_is_found_though_the_tunnels_name_servers_are_out_of_reach(tmp_path: Path) -> None:
    def body(net: Net, site: Site) -> None:
        old, new = SERVER_ADDRESSES[:2]
        RESOLV_CONF.write_text(f"nameserver {old}\n")
        changes = CLIENT | {"Server": {"Address": f"vpn.example:{PORT}", "Insecure": "true"}}
        log = net.log("nameserver.log")
        with server_daemon(site) as server:
            nameserver = net.enter(program(site.server, *command(old, old), log=log))
            wait_for("it serves", lambda: f"{old}:53 " in site.server.run("ss", "-Hlnu"))
            client = net.enter(client_daemon(site, changes))
            client.wait_for("its DNS is set", ours)
            client.wait_for("the address", lambda: client.stats().get("server", {}).get("address") == f"{old}:{PORT}")
            stop(nameserver)
            net.enter(program(site.server, *command(old, new), log=log))
            wait_for("it serves again", lambda: f"{old}:53 " in site.server.run("ss", "-Hlnu"))
            server.stop()
        with server_daemon(site):
            client.wait_for(
                "the tunnel to the other address",
                lambda: client.stats()["server"]["address"] == f"{new}:{PORT}" and client.stats()["state"] == "up",
                60,
            )
            assert ours()
            assert client.stop() == 0

    on_own_etc(tmp_path, body)


def test_what_cannot_be_set_fails_the_start(tmp_path: Path) -> None:
    def body(net: Net, site: Site) -> None:
        sections = {
            "Interface": {"TunName": "mqc0", "DNS": INNER, "DNSMode": "resolved"},
            "Server": {"Address": "192.0.2.9"},
            "Auth": {"Key": "k"},
        }
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={tmp_path}/none"
        daemon = Daemon(net, site.client, "client", "client", write_config(net.directory / "c.conf", sections))
        assert daemon.process.wait(20) == 1
        said = "ERROR set the DNS by systemd-resolved: it does not run; systemctl enable --now systemd-resolved"
        assert re.search(said, daemon.log.read_text())

    on_own_etc(tmp_path, body)
