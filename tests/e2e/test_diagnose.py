"""What `mqvpnctl diagnose` says about real faults: of the links, of the server, of the configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.net import Namespace, Net
from tests.lab.site import SERVER_ADDRESSES, Site, build_site
from tests.lab.tunnel import PORT, Daemon, client_daemon, server_daemon, tunnel, write_config

pytestmark = pytest.mark.netns


def diagnose(daemon: Daemon, *argv: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Exit status; level and text of each finding by what it is about."""
    environment = os.environ | {"RUNTIME_DIRECTORY": str(daemon.control_socket.parent)}
    command = (sys.executable, "-m", "mqvpn.cli.ctl", "diagnose", "--json", daemon.name_of_instance, *argv)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    [one] = json.loads(done.stdout)["instances"]
    return done.returncode, by_subject(one["findings"])


def by_subject(findings: list[dict[str, str]]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for one in findings:
        found.setdefault(one["about"], []).append((one["level"], one["text"]))
    return found


def problems(found: dict[str, list[tuple[str, str]]]) -> dict[str, str]:
    return {about: text for about, some in found.items() for level, text in some if level == "problem"}


def block_udp(namespace: Namespace, interface: str) -> None:
    """What a firewall on the way does, in both directions."""
    namespace.unchanged.but('"blocked"')
    namespace.run("nft", "add", "table", "inet", "blocked")
    chain = "{ type filter hook input priority -300; }"
    namespace.run("nft", "add", "chain", "inet", "blocked", "in", chain)
    namespace.run("nft", "add", "rule", "inet", "blocked", "in", "iifname", interface, "meta", "l4proto", "udp", "drop")


def test_a_healthy_tunnel_has_no_problem(net: Net) -> None:
    with tunnel(build_site(net, [None, None])) as t:
        status, found = diagnose(t.client)
        assert (status, problems(found)) == (0, {})
        for uplink in t.site.uplinks:
            texts = [text for _, text in found[f"path {uplink}"]]
            assert texts[0].startswith("carries packets, ")
            assert texts[1].startswith(f"{SERVER_ADDRESSES[0]} answers UDP port {PORT} in ")
        assert found["certificate"][0][0] in ("ok", "warning")
        assert "DNS" in found
        assert "clock" in found
        status, found = diagnose(t.server)
        assert (status, problems(found)) == (0, {})
        assert found["forwarding"] == [("ok", "IPv4 is forwarded"), ("ok", "IPv6 is forwarded")]
        t.site.server.sysctl(ipv4__ip_forward=0)
        status, found = diagnose(t.server)
        assert (status, list(problems(found))) == (1, ["forwarding"])
        t.site.server.sysctl(ipv4__ip_forward=1)


def test_faults_of_links(net: Net) -> None:
    site = build_site(net, [None, None, None, None])
    changes = {"Multipath": {"Path": [*site.uplinks, "wwan9"]}}
    with server_daemon(site), client_daemon(site, changes) as client:
        client.wait_for("all paths", lambda: client.active_uplinks() == set(site.uplinks))
        block_udp(site.server, "dn1")
        site.client.unchanged.but_interfaces("up2", "up3")
        site.client.ip("link", "set", "up2", "down")
        site.client.ip("route", "del", "default", "dev", "up3")
        client.wait_for("they are noticed", lambda: client.active_uplinks() == {"up0"}, 30)  # a keep-alive is due
        status, found = diagnose(client)
        said = problems(found)
        assert status == 1
        assert "does not answer: the server is down, or a firewall" in said["path up1"]
        assert said["path up2"] == "the interface is down (ip link set up2 up)"
        assert said["path up3"].startswith(f"no route to {SERVER_ADDRESSES[0]} through this interface")
        assert said["path wwan9"].startswith("there is no interface wwan9; there are mqc0, up0")
        assert "path up0" not in said


def test_a_server_that_is_gone(net: Net) -> None:
    site = build_site(net, [None])
    with server_daemon(site) as server, client_daemon(site) as client:
        server.stop()
        client.wait_for("the loss is noticed", lambda: client.stats().get("state") not in (None, "up"))
        _, found = diagnose(client)
        said = problems(found)
        assert said["path up0"] == f"{SERVER_ADDRESSES[0]} UDP port {PORT}: nobody listens there"
        assert "tunnel" in said
        assert " ago: " in said["last end"]


def offline(site: Site, folder: Path, name: str) -> tuple[int, list[dict[str, Any]]]:
    """diagnose in the client's namespace, where no daemon runs and `folder` stands for /etc/mqvpn."""
    program = (
        "import sys; from pathlib import Path; from mqvpn.cli import ctl, diagnose;"
        f"diagnose.ETC = Path({str(folder)!r}); sys.exit(ctl.main(['diagnose', '--json', {name!r}]))"
    )
    with site.client.popen(sys.executable, "-c", program, stdout=subprocess.PIPE, text=True) as process:
        output = process.communicate(timeout=30)[0]
    return process.returncode, json.loads(output)["instances"]


def test_without_a_daemon(net: Net, tmp_path: Path) -> None:
    site = build_site(net, [None])
    file = write_config(
        tmp_path / "client-away.conf",
        {
            "Server": {"Address": f"{SERVER_ADDRESSES[0]}:{PORT}"},
            "Auth": {"Key": "k"},
            "Multipath": {"Path": site.uplinks},
        },
    )
    with server_daemon(site):
        status, [one] = offline(site, tmp_path, "away")
        assert problems(by_subject(one["findings"])) == {"daemon": "it is not running (mqvpnctl up away)"}
        assert status == 1
        assert any("answers UDP port" in text for _, text in by_subject(one["findings"])["path up0"])
    file.write_text("[Server]\nAddres = h\n")
    _, [one] = offline(site, tmp_path, "away")
    assert "Addres: unknown key; did you mean Address?" in problems(by_subject(one["findings"]))["configuration"]
    assert offline(site, tmp_path, "nobody") == (69, [])
