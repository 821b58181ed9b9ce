"""What `mqvpn-setup server` makes: a certificate unless one is given, server.conf, and the first client's file."""

import argparse
import ssl
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from os import urandom
from pathlib import Path

from mqvpn.cli import found
from mqvpn.cli.place import Failed, create, readable_for_daemon, say
from mqvpn.config.compose import compose
from mqvpn.config.load import load
from mqvpn.config.table import CLIENT, SERVER
from mqvpn.config.values import HostPort
from mqvpn.wire import certificate
from mqvpn.wire.buffer import DecodeError

KEY_BYTES = 32
DAYS = 3650  # clients compare the key and not the date; ten years are for those that trust it as their CA
HEAD = "# mqvpn server, made by mqvpn-setup. After a change: mqvpn --check {file}; systemctl reload mqvpn-server\n\n"
HEAD_OF_CLIENT = "# For a client of {host}. There, as root: mqvpn-setup client {user} < THIS-FILE\n\n"


@dataclass(frozen=True, slots=True)
class Identity:
    """The server's certificate: where it is, its pin, and whether clients need that to trust it."""

    cert: str
    key: str
    pin: str
    self_signed: bool
    names: Sequence[str]


def make_server(arguments: argparse.Namespace, directory: Path, now: datetime) -> str:
    """Make the files that are missing; returns the first client's configuration. Raises Failed, OSError."""
    conf = directory / "server.conf"
    if conf.exists():
        raise Failed(f"{conf} exists and is left as it is; to make a new one, move it away")
    identity = _identity(arguments, directory, now)
    listen = arguments.listen or ("[::]:443" if found.has_ipv6() else "0.0.0.0:443")
    key = b64encode(urandom(KEY_BYTES)).decode()
    values = {
        "listen": [listen],
        "subnet": [arguments.subnet or str(found.free_subnet())],
        "cert_file": [identity.cert],
        "key_file": [identity.key],
        "users": [f"{arguments.user}:{key}"],
    }
    if arguments.subnet6 or found.has_ipv6():
        values["subnet6"] = [arguments.subnet6 or str(found.unique_subnet6())]
    load(None, values, "server")
    text = HEAD.format(file="/etc/mqvpn/server.conf") + compose(SERVER.values(), values)
    create(conf, text.encode())
    return _client_file(arguments.user, key, _address(identity.names, listen), identity)


def _identity(arguments: argparse.Namespace, directory: Path, now: datetime) -> Identity:
    """The certificate given, or the one from an earlier run, or a new one."""
    if arguments.cert_file or arguments.key_file:
        if not (arguments.cert_file and arguments.key_file):
            raise Failed("--cert and --key belong together: give both, or none to have them made")
        cert, key = (Path(name).absolute() for name in (arguments.cert_file, arguments.key_file))
        if not readable_for_daemon(key):
            say(f"{key}: the server runs as user mqvpn, who cannot read it: chgrp mqvpn {key}; chmod 640 {key}")
        return _existing(cert, key, str(cert), str(key))
    cert, key = directory / "server.crt", directory / "server.key"
    if not cert.exists() and not key.exists():
        names = arguments.name or _names()
        content, secret = certificate.make_self_signed(names, now, days=DAYS)
        create(key, secret)
        create(cert, content)
        say(f"made {cert}, self-signed, for {', '.join(names)}")
    return _existing(cert, key, *(str(Path("/etc/mqvpn") / file.name) for file in (cert, key)))


def _existing(cert: Path, key: Path, cert_name: str, key_name: str) -> Identity:
    """Certificate and key from their files, and under which names server.conf has these."""
    try:
        der = certificate.read_pem(cert.read_bytes())
        key.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        raise Failed(f"{cert} and {key} are no certificate and its key: {error.reason or error}") from None
    except DecodeError as error:
        raise Failed(f"{cert}: {error}") from None
    names = [name for name in certificate.names(der) if "*" not in name]
    return Identity(cert_name, key_name, certificate.pin(der), certificate.is_self_signed(der), names)


def _names() -> list[str]:
    """What this machine is called by others, the best first."""
    names = [*filter(None, [found.full_name()]), *map(str, found.addresses())]
    if not names:
        raise Failed("this machine has no default route to tell its address by; say --name HOST")
    return names


def _address(names: Sequence[str], listen: str) -> HostPort:
    """Where the client is to connect to."""
    address = HostPort(names[0] if names else _names()[0], HostPort.read(listen).port)
    literal = address.address
    if literal is not None and literal.is_private:
        say(f"{address.host} is a private address: for clients elsewhere write the public one into their Address")
    return address


def _client_file(user: str, key: str, address: HostPort, identity: Identity) -> str:
    """What `mqvpn-setup client` reads. A certificate of a CA may get another key when it is renewed: no pin then."""
    values = {"server_addr": [str(address)], "auth_key": [key]}
    if identity.self_signed:
        values["pins"] = [identity.pin]
    say(f"the certificate's pin is {identity.pin}")
    say("now: systemctl enable --now mqvpn-server; and give what follows to: mqvpn-setup client " + user)
    return HEAD_OF_CLIENT.format(host=address.host, user=user) + compose(CLIENT.values(), values, explain=False)
