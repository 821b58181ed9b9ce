"""What both daemons of a running tunnel answer on their control sockets, and that it is as described."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mqvpn.daemon import control
from tests.fakes.stranger import NOBODY
from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, Daemon, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

DESCRIPTION = Path(control.__file__).with_name("mqvpn.Control.varlink").read_text()


def call(daemon: Daemon, method: str, **parameters: Any) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(daemon.control_socket))
        request = {"method": method if "." in method else f"mqvpn.Control.{method}", "parameters": parameters}
        connection.sendall(json.dumps(request).encode() + b"\0")
        answer = b""
        while not answer.endswith(b"\0"):
            answer += connection.recv(1 << 16)
    found: dict[str, Any] = json.loads(answer[:-1])
    return found


def described(name: str) -> set[str]:
    """The fields of a type or of a method's answer."""
    body = re.search(rf"^(?:type {name} |method {name}\([^\n]*\) -> )\(\n(.*?)^\)", DESCRIPTION, re.M | re.S)
    assert body is not None, name
    return set(re.findall(r"^  (\w+): ", body[1], re.M))


def test_both_daemons_tell_how_they_are(net: Net) -> None:
    with tunnel(build_site(net, [None, None])) as t:
        assert ping(t.site.client, INNER).received == 3
        client, server = (call(daemon, "Status")["parameters"] for daemon in (t.client, t.server))
        assert (client["role"], client["instance"], client["state"]) == ("client", "mqc0", "up")
        assert (server["role"], server["instance"], server["connected"]) == ("server", "server", 1)
        assert {path["interface"] for path in client["paths"]} == set(t.site.uplinks)
        assert client["address"][0] == f"{t.client_address}/32"
        assert client["server"]["address"] == client["server"]["name"]
        assert client["up"] >= 0
        assert client["traffic"]["tx_packets"] >= 3
        assert client["tun"]["rx_packets"] >= 3
        assert client["drops"].get("no_route", 0) == 0
        assert set(client) | set(server) == described("Status")
        assert set(client["paths"][0]) == described("Path")
        assert set(client["traffic"]) == described("Traffic")
        assert set(client["reordering"]) == described("Reordering")
        assert ("0.0.0.0/0", "tunnel", "Routes = default") in {tuple(route.values()) for route in client["routes"]}
        assert set(client["routes"][0]) == described("Route")
        assert set(client["server"]) == described("ServerName")
        assert set(client["server"]["certificate"]) == described("Certificate")
        assert set(client["interfaces"][0]) == described("Interface")
        listed = call(t.server, "Clients")["parameters"]
        assert set(listed) == described("Clients")
        [one] = listed["clients"]
        assert set(one) == described("Client")
        assert one["address"] == client["address"]
        assert one["traffic"]["rx_packets"] >= 3
        assert call(t.server, "Clients", after=one["number"])["parameters"]["clients"] == []
        assert call(t.server, "Clients", after="x")["parameters"] == {"parameter": "after"}
        for daemon, status in ((t.client, client), (t.server, server)):
            assert set(status) <= set(daemon.stats())  # the statistics file comes from the same function
            about = call(daemon, "Version")["parameters"]
            assert (about["role"], about["version"]) == (status["role"], status["version"])


def ctl(daemon: Daemon, *argv: str) -> str:
    """What mqvpnctl prints when it looks where this daemon's socket is."""
    environment = os.environ | {"RUNTIME_DIRECTORY": str(daemon.control_socket.parent)}
    argv = (sys.executable, "-m", "mqvpn.cli.ctl", *argv)
    return subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_mqvpnctl_shows_it(net: Net) -> None:
    with tunnel(build_site(net, [None, None])) as t:
        status = ctl(t.client, "status", "mqc0")
        assert status.startswith("client mqc0: connected for ")
        assert f"  address    {t.client_address}, {t.client_address_6} on mqc0, MTU " in status
        for uplink in t.site.uplinks:
            assert re.search(rf"^ +\d  {uplink} +active +[\d.]+ ms", status, re.M)
        assert len(json.loads(ctl(t.client, "paths", "mqc0", "--json"))["instances"][0]["paths"]) == 2
        assert "1 of 64" in ctl(t.server, "status", "server")
        assert re.search(rf"^ +0  \(shared key\)  {t.client_address}, .* 2/2 ", ctl(t.server, "clients"), re.M)
        assert len(re.findall(r"^ +0  \(shared key\)", ctl(t.server, "paths", "server"), re.M)) == 2
        assert ctl(t.server, "version", "server").splitlines()[1].startswith("server ")


def test_varlink_tools_find_their_way(net: Net) -> None:
    with tunnel(build_site(net, [None])) as t:
        info = call(t.client, "org.varlink.service.GetInfo")["parameters"]
        assert info["interfaces"] == ["org.varlink.service", "mqvpn.Control"]
        text = call(t.server, "org.varlink.service.GetInterfaceDescription", interface="mqvpn.Control")
        assert text["parameters"]["description"] == DESCRIPTION
        unknown = call(t.server, "org.varlink.service.GetInterfaceDescription", interface="x")
        assert unknown["error"] == "org.varlink.service.InterfaceNotFound"


def test_other_users_read_what_concerns_no_other(net: Net, tmp_path: Path) -> None:
    """setpriv, as a user of this machine would come: from another process."""
    program = (
        "import json, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "for m in ('Status', 'Clients'):\n"
        "    s.sendall(json.dumps({'method': 'mqvpn.Control.' + m}).encode() + b'\\n')\n"
        "    print(s.makefile().readline(), end='')\n"
    )
    with tunnel(build_site(net, [None]), server={"Control": {"Socket": f"/tmp/{net.directory.name}.sock"}}) as t:
        user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3")
        said = t.site.server.run(*user, "-c", program, f"/tmp/{net.directory.name}.sock")
        status, clients = map(json.loads, said.splitlines())
        assert status["parameters"]["connected"] == 1
        assert t.client_address not in said
        assert clients == {"error": "mqvpn.Control.PermissionDenied", "parameters": {"group": "mqvpn-admin"}}


def test_the_socket_goes_with_the_daemon(net: Net) -> None:
    with tunnel(build_site(net, [None])) as t:
        assert t.client.stop() == 0
        assert not t.client.control_socket.exists()
        t.server.process.kill()
        t.server.process.wait()
        assert t.server.control_socket.exists()


def test_a_flood_of_calls_stalls_no_packet(net: Net) -> None:
    """Callers that ask without end, and some that never read, while packets go through the tunnel."""
    flood = (
        "import socket, sys, time\n"
        "end = time.monotonic() + 5\n"
        "request = b'{\"method\": \"mqvpn.Control.Status\"}\\n'\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        s = socket.socket(socket.AF_UNIX); s.settimeout(0.2); s.connect(sys.argv[1])\n"
        "        for _ in range(50):\n"
        "            s.sendall(request)\n"
        "            if len(sys.argv) == 2: s.recv(1 << 16)\n"
        "    except OSError:\n"
        "        pass\n"
    )
    with tunnel(build_site(net, [None])) as t:
        path = str(t.client.control_socket)
        argv = [[sys.executable, "-c", flood, path], [sys.executable, "-c", flood, path, "never reads"]]
        callers = [subprocess.Popen(argv[number % 2]) for number in range(6)]
        answer = ping(t.site.client, INNER, count=40)
        for caller in callers:
            caller.wait()
        assert answer.received == answer.sent
        assert sorted(answer.rtts_ms)[len(answer.rtts_ms) // 2] < 50  # ms
        assert call(t.client, "Status")["parameters"]["state"] == "up"
