"""A server and a client, each a service of its own booted machine, with a tunnel over two links between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fakes import certificate
from tests.lab import product
from tests.lab.machine import Machine, boot, join
from tests.lab.net import Net, wait_for
from tests.lab.tunnel import Section, write_config

SERVER, CLIENT = "mqvpn-server", "mqvpn-client@home"
SERVER_CONF, CLIENT_CONF = "/etc/mqvpn/server.conf", "/etc/mqvpn/client-home.conf"
SERVER_ADDRESS = "198.51.100.1"
INNER, INNER_6 = "10.77.0.1", "fd77::1"
KEY = "a-key-of-the-tests"
SERVER_SECTIONS: Mapping[str, Section] = {
    "Interface": {"Listen": "[::]:443", "Subnet": "10.77.0.0/24", "Subnet6": "fd77::/112"},
    "TLS": {"Cert": "/etc/mqvpn/server.crt", "Key": "/etc/mqvpn/server.key"},
    "Auth": {"Key": KEY},
}
CLIENT_SECTIONS: Mapping[str, Section] = {
    "Server": {"Address": f"{SERVER_ADDRESS}:443", "Insecure": "true"},
    "Auth": {"Key": KEY},
    "Multipath": {"Path": ("up0", "up1")},
}


@dataclass(frozen=True)
class Pair:
    """The two machines; nothing is started yet."""

    client: Machine
    server: Machine

    def connect(self) -> None:
        """Start both services and wait until packets pass."""
        self.server.run("systemctl", "start", SERVER)
        self.client.run("systemctl", "start", CLIENT)
        self.wait_for_echo()

    def wait_for_echo(self, timeout: float = 10) -> None:
        wait_for("an echo through the tunnel", self.answers, timeout)

    def answers(self) -> bool:
        return "1 received" in self.client.run("ping", "-c1", "-W1", INNER, check=False)


def build_pair(net: Net) -> Pair:
    """Boot and join two machines, with the project and a configuration for a tunnel. Raises CannotBoot."""
    product.compiled()
    client, server = boot(net, "client", "server")
    join(net, client, server)
    for machine in (client, server):
        product.install(machine)
    cert, key = certificate.write_certificate(net.directory, "vpn.example", SERVER_ADDRESS)
    server.write("/etc/mqvpn/server.crt", cert.read_text())
    server.write("/etc/mqvpn/server.key", key.read_text(), 0o600)
    server.run("chown", "mqvpn:", "/etc/mqvpn/server.key")
    configure(server, SERVER_CONF, SERVER_SECTIONS, net.directory)
    configure(client, CLIENT_CONF, CLIENT_SECTIONS, net.directory)
    return Pair(client, server)


def configure(machine: Machine, name: str, sections: Mapping[str, Section], directory: Path) -> None:
    """Write a configuration as an administrator would: readable by root and the daemons."""
    machine.write(name, write_config(directory / "written.conf", sections).read_text(), 0o640)
    machine.run("chown", "root:mqvpn", name)
