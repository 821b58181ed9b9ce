"""A real server and real clients in a Site, started as the operator would: `mqvpn --config FILE --mode MODE`.

Every daemon writes its log into the directory of its Net, and its statistics into a file named by the environment
variable MQVPN_STATS, or, where its time is measured, tells them when asked. `tunnel` waits until packets pass and
every uplink carries a path.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mqvpn.cli.call import CallError, call
from tests.fakes import certificate
from tests.lab.net import LabError, Namespace, Net, stop, wait_for
from tests.lab.site import SERVER_ADDRESSES, SERVER_ADDRESSES_6, Site

SUBNET, SUBNET6 = "10.77.0.0/24", "fd77::/112"
INNER, INNER_6 = "10.77.0.1", "fd77::1"  # the server inside the tunnel
PORT = 4433


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for the server's names and addresses, and its key, as PEM files."""
    return certificate.write_certificate(directory, "vpn.example", *SERVER_ADDRESSES, *SERVER_ADDRESSES_6)


Section = Mapping[str, str | int | Sequence[str]]


def write_config(path: Path, sections: Mapping[str, Section]) -> Path:
    """An INI file, readable by its owner alone; a sequence becomes a repeated key."""
    lines = []
    for title, section in sections.items():
        lines.append(f"[{title}]")
        for key, value in section.items():
            values = [value] if isinstance(value, (str, int)) else value
            lines += [f"{key} = {one}" for one in values]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return path


class Daemon:
    """One running `mqvpn`: its process, its log, and the statistics it writes."""

    def __init__(
        self, net: Net, namespace: Namespace, mode: str, name: str, config: Path, *, statistics: bool = True
    ) -> None:
        self.namespace, self.mode, self.name = namespace, mode, name
        self.log = net.log(f"{name}.log")
        self._stats_file = net.directory / f"{name}.json" if statistics else None
        state = net.directory / f"{name}.state"
        state.mkdir(exist_ok=True)
        self.name_of_instance = "server" if mode == "server" else _tun_name(config)
        self.control_socket = state / ("server.sock" if mode == "server" else f"client-{self.name_of_instance}.sock")
        environment = os.environ | ({"MQVPN_STATS": str(self._stats_file)} if self._stats_file else {})
        environment |= {"STATE_DIRECTORY": str(state), "RUNTIME_DIRECTORY": str(state)}
        net.daemon_starts(namespace, state)
        argv = (sys.executable, "-m", "mqvpn.cli.main", "--mode", mode, "--config", str(config))
        with self.log.open("ab") as log:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.process = namespace.popen(*argv, env=environment, **streams)

    def stats(self) -> dict[str, Any]:
        """The newest statistics; empty before there are any."""
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, CallError):
            if self._stats_file is None:
                return call(self.control_socket, "Status")
            answer: dict[str, Any] = json.loads(self._stats_file.read_text())
            return answer
        return {}

    def active_uplinks(self) -> set[str]:
        """The interfaces that carry a path in use."""
        return {path["interface"] for path in self.stats().get("paths", ()) if path["state"] == "active"}

    def memory(self) -> int:
        """Resident bytes of its own: how much of libraries is mapped beside depends on the page cache."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")) * 1024

    def wait_for(self, what: str, condition: Any, timeout: float = 15) -> Any:
        """Like net.wait_for, but gives up at once when the process has ended, and shows its log."""

        def condition_or_end() -> Any:
            return condition() or self.process.poll() is not None

        try:
            answer = wait_for(what, condition_or_end, timeout)
            if self.process.poll() is not None:
                raise LabError(f"{self.name} ended with status {self.process.returncode} before: {what}")
        except LabError as error:
            raise LabError(f"{error}\n{self.tail()}") from None
        return answer

    def tail(self, lines: int = 40) -> str:
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"{self.name}: {line}" for line in text)

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        return stop(self.process)


def _tun_name(config: Path) -> str:
    lines = config.read_text().splitlines()
    return next(line.partition(" = ")[2] for line in lines if line.startswith("TunName = "))


@dataclass(frozen=True)
class Tunnel:
    """A server and one client with a tunnel between them, and the client's addresses inside it."""

    site: Site
    server: Daemon
    client: Daemon
    client_address: str
    client_address_6: str


KEY = secrets.token_urlsafe(24)
Sections = Mapping[str, Section]


def server_config(site: Site, changes: Sections | None = None) -> Path:
    """The file of a server in the site, with keys of its configuration changed or added."""
    cert, key = write_certificate(site.net.directory)
    sections: Sections = {
        "Interface": {"TunName": "mqs0", "Listen": f"[::]:{PORT}", "Subnet": SUBNET, "Subnet6": SUBNET6},
        "TLS": {"Cert": str(cert), "Key": str(key)},
        "Auth": {"Key": KEY},
        "Multipath": {"Scheduler": "wlb"},
    }
    return write_config(site.net.directory / "server.conf", _merged(sections, changes))


def client_config(site: Site, changes: Sections | None = None, *, name: str = "client") -> Path:
    """The file of a client in the site, over all its uplinks."""
    sections: Sections = {
        "Interface": {"TunName": "mqc0"},
        "Server": {"Address": f"{SERVER_ADDRESSES[0]}:{PORT}", "Insecure": "true"},
        "Auth": {"Key": KEY},
        "Multipath": {"Scheduler": "wlb", "Path": site.uplinks},
    }
    return write_config(site.net.directory / f"{name}.conf", _merged(sections, changes))


@contextlib.contextmanager
def server_daemon(site: Site, changes: Sections | None = None, *, statistics: bool = True) -> Iterator[Daemon]:
    """Run a server in the site, with keys of its configuration changed or added. Without `statistics` it spends no
    time on them."""
    daemon = Daemon(site.net, site.server, "server", "server", server_config(site, changes), statistics=statistics)
    try:
        daemon.wait_for("the server listens", lambda: f":{PORT} " in site.server.run("ss", "-Hlnu"))
        yield daemon
    finally:
        daemon.stop()


@contextlib.contextmanager
def client_daemon(
    site: Site,
    changes: Sections | None = None,
    *,
    name: str = "client",
    up: Callable[[Namespace, str], object] | None = None,
    statistics: bool = True,
) -> Iterator[Daemon]:
    """Run a client in the site over all its uplinks; the block begins when it has its addresses, an IPv4 and an IPv6
    one unless `up` says otherwise of its namespace and interface."""
    config = client_config(site, changes, name=name)
    daemon = Daemon(site.net, site.client, "client", name, config, statistics=statistics)
    interface = daemon.name_of_instance
    try:
        daemon.wait_for("the client has addresses", lambda: (up or inner_addresses)(site.client, interface))
        yield daemon
    finally:
        daemon.stop()


def _merged(sections: Sections, changes: Sections | None) -> Sections:
    changes = changes or {}
    return {title: {**sections.get(title, {}), **changes.get(title, {})} for title in {**sections, **changes}}


def inner_addresses(namespace: Namespace, interface: str) -> tuple[str, str] | None:
    """The IPv4 and IPv6 address of a TUN interface, None as long as it lacks one."""
    try:
        rows = json.loads(namespace.ip("-j", "addr", "show", "dev", interface))
    except LabError:
        return None
    found = {row["family"]: row["local"] for row in rows[0]["addr_info"] if row["scope"] == "global"}
    return (found["inet"], found["inet6"]) if len(found) == 2 else None


@contextlib.contextmanager
def tunnel(
    site: Site, *, server: Sections | None = None, client: Sections | None = None, statistics: bool = True
) -> Iterator[Tunnel]:
    """A server, a client, and a tunnel that carries packets over every uplink (or those given by Path)."""
    uplinks = (client or {}).get("Multipath", {}).get("Path", site.uplinks)
    assert not isinstance(uplinks, (str, int)), "Path is a sequence of interfaces"
    names = {uplink.partition(";")[0] for uplink in uplinks}
    ends = (
        server_daemon(site, server, statistics=statistics),
        client_daemon(site, client, statistics=statistics),
    )
    with ends[0] as server_end, ends[1] as client_end:
        addresses = inner_addresses(site.client, "mqc0")
        assert addresses is not None
        client_end.wait_for("an echo through the tunnel", lambda: _answers(site.client, INNER))
        client_end.wait_for("a path on every uplink", lambda: client_end.active_uplinks() == names)
        yield Tunnel(site, server_end, client_end, *addresses)


def _answers(namespace: Namespace, address: str) -> bool:
    return "1 received" in namespace.run("ping", "-c1", "-W1", address, check=False)
