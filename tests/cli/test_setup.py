"""mqvpn-setup: what it makes can be loaded and trusted, fits together, and nothing is written over."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from mqvpn.cli import found, place, setup
from mqvpn.config.client import ClientSettings
from mqvpn.config.load import load
from mqvpn.config.server import ServerSettings
from mqvpn.config.values import HostPort
from mqvpn.daemon.server import load_certificate
from mqvpn.wire import certificate
from tests.fakes.certificate import write_certificate
from tests.lab.net import Net

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def group(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group that the packages make; here one that every Debian has, as a stranger to this process."""
    monkeypatch.setattr(place, "GROUP", "daemon")


def make_server(root: Path, capfd: Capture, *argv: str) -> tuple[str, str]:
    """What it printed: the client's file, and what it told the person."""
    assert setup.main(["server", "--root", str(root), *argv]) == os.EX_OK, capfd.readouterr().err
    out, err = capfd.readouterr()
    return out, err


def make_client(root: Path, text: str, monkeypatch: pytest.MonkeyPatch, *argv: str, status: int = 0) -> Path:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert setup.main(["client", "home", "--root", str(root), *argv]) == status
    return root / "etc/mqvpn/client-home.conf"


def test_a_server_and_its_client(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    printed, told = make_server(tmp_path, capfd, "--name", "vpn.example.com", "--name", "192.0.2.7")
    files = tmp_path / "etc/mqvpn"
    server = load(files / "server.conf")
    assert isinstance(server, ServerSettings)
    assert server.warnings == ()
    assert (server.cert_file, server.key_file) == ("/etc/mqvpn/server.crt", "/etc/mqvpn/server.key")
    assert server.subnet.subnet_of(IPv4Network("10.0.0.0/8"))
    if server.subnet6 is not None:
        assert server.subnet6.subnet_of(IPv6Network("fd00::/8"))

    load_certificate(str(files / "server.crt"), str(files / "server.key"))
    der = certificate.read_pem((files / "server.crt").read_bytes())
    assert certificate.names(der) == ["vpn.example.com", "192.0.2.7"]
    assert certificate.pin(der) in told

    client = load(make_client(tmp_path, printed, monkeypatch, "--path", "eth7"))
    assert isinstance(client, ClientSettings)
    assert client.warnings == ()
    assert client.server_addr == HostPort("vpn.example.com", 443)
    assert client.pins == (certificate.pin(der),)
    [user] = server.users
    assert (user.name, user.key) == ("home", client.auth_key)
    assert [path.interface for path in client.paths] == ["eth7"]


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: files cannot be given to a group")
def test_the_daemon_may_read_and_others_not(tmp_path: Path, capfd: Capture) -> None:
    make_server(tmp_path, capfd, "--name", "vpn.example.com")
    for file in (tmp_path / "etc/mqvpn").iterdir():
        status = file.stat()
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o640, 0, 1), file
    assert {file.name for file in (tmp_path / "etc/mqvpn").iterdir()} == {"server.conf", "server.crt", "server.key"}


def test_nothing_is_written_over(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    printed, _ = make_server(tmp_path, capfd, "--name", "vpn.example.com")
    file = make_client(tmp_path, printed, monkeypatch)
    before = {path: path.read_bytes() for path in file.parent.iterdir()}
    assert setup.main(["server", "--root", str(tmp_path)]) == 1
    assert "server.conf exists and is left as it is; to make a new one, move it away" in capfd.readouterr().err
    make_client(tmp_path, printed, monkeypatch, status=1)
    assert "client-home.conf exists and is left as it is" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in file.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["server", "lockdown"])
def test_no_client_gets_a_name_that_means_something_else(tmp_path: Path, capfd: Capture, name: str) -> None:
    """Such a file would be refused by the client, or mqvpnctl would never mean it."""
    for argv in (["client", name, "--server", "vpn.example.com"], ["server", "--user", name]):
        with pytest.raises(SystemExit):
            setup.main([*argv, "--root", str(tmp_path)])
        assert f"no client can be called {name}" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_text_is_said_to_be_none(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "home.conf"
    file.write_bytes(b"\xff\xfe[\0S\0")
    for argv, source in (["--from", str(file)], str(file)), ([], "standard input"):
        monkeypatch.setattr(sys, "stdin", file.open())
        assert setup.main(["client", "home", "--root", str(tmp_path), *argv]) == 1
        assert capfd.readouterr().err == f"{source}: this is no text; give what mqvpn-setup server printed\n"


def test_a_client_s_file_that_cannot_be_printed_is_no_success(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "mqvpn.cli.setup", "server", "--root", str(tmp_path), "--name", "vpn.example.com")
    with open("/dev/full", "w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "standard output: No space left on device"


def test_an_earlier_certificate_is_used_again(tmp_path: Path, capfd: Capture) -> None:
    first, _ = make_server(tmp_path, capfd, "--name", "vpn.example.com")
    (tmp_path / "etc/mqvpn/server.conf").unlink()
    second, told = make_server(tmp_path, capfd)
    assert "made" not in told
    assert [line for line in first.splitlines() if "Key" not in line] == [
        line for line in second.splitlines() if "Key" not in line
    ]
    assert "Address = vpn.example.com:443" in second


def test_a_certificate_that_is_given(tmp_path: Path, capfd: Capture) -> None:
    cert, key = write_certificate(tmp_path, "*.example.org", "vpn.example.org")
    printed, told = make_server(tmp_path, capfd, "--cert", str(cert), "--key", str(key), "--listen", "192.0.2.1:4433")
    server = load(tmp_path / "etc/mqvpn/server.conf")
    assert isinstance(server, ServerSettings)
    assert (server.cert_file, server.key_file) == (str(cert), str(key))
    assert {file.name for file in (tmp_path / "etc/mqvpn").iterdir()} == {"server.conf"}
    assert "Address = vpn.example.org:4433" in printed
    assert "Pin = sha256//" in printed
    assert f"{key}: the server runs as user mqvpn, who cannot read it" in told


def test_a_certificate_of_a_ca_is_not_pinned(tmp_path: Path, capfd: Capture) -> None:
    """Its next one may have another key; the CA vouches for it, too."""
    cert, key = signed_by_another(tmp_path)
    printed, told = make_server(tmp_path, capfd, "--cert", str(cert), "--key", str(key))
    assert "Pin" not in printed
    assert "the certificate's pin is sha256//" in told


def test_certificate_and_key_that_do_not_fit(tmp_path: Path, capfd: Capture) -> None:
    cert, key = write_certificate(tmp_path, "a.example")
    (tmp_path / "other").mkdir()
    _, other = write_certificate(tmp_path / "other", "a.example")
    for argv, says in (
        (("--cert", str(cert)), "--cert and --key belong together"),
        (("--cert", str(cert), "--key", str(other)), "are no certificate and its key"),
        (("--cert", str(tmp_path / "none"), "--key", str(key)), "none: No such file"),
        (("--cert", str(key), "--key", str(key)), "server.key"),
    ):
        assert setup.main(["server", "--root", str(tmp_path / "root"), *argv]) == 1, argv
        assert says in capfd.readouterr().err
        assert not (tmp_path / "root/etc/mqvpn/server.conf").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "standard input: nothing in it; give what mqvpn-setup server printed, or say --server HOST:PORT"),
        ("[Server]\nAdress = a", "standard input:2: [Server] Adress: unknown key; did you mean Address?"),
        ("[Interface]\nListen = [::]:443", "standard input:2: [Interface] Listen: not a setting of a client"),
        ("[Auth]\nKey = k", "[Server] Address: missing"),
        ("[Server]\nAddress = a\nPin = b", "write sha256// and 44 characters"),
    ],
)
def test_what_a_client_cannot_use(
    text: str, says: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not make_client(tmp_path, text, monkeypatch, status=1).exists()
    assert says in capfd.readouterr().err


def test_a_client_from_flags_alone(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "k").write_text("a key\n")
    flags = ("--server", "[2001:db8::1]:4433", "--auth-key", f"file:{tmp_path}/k", "--tls-server-name", "vpn.example")
    client = load(make_client(tmp_path, "[nothing of this is read]", monkeypatch, *flags))
    assert isinstance(client, ClientSettings)
    assert str(client.server_addr) == "[2001:db8::1]:4433"
    assert client.auth_key is not None
    assert client.auth_key.reveal() == "a key"
    assert "a key" not in (tmp_path / "etc/mqvpn/client-home.conf").read_text()


def test_the_name_of_an_instance_and_of_a_host(capfd: Capture) -> None:
    for argv in (("--name", "not a name"), ("--user", "a:b"), ("--subnet", "10.0.0.0/8")):
        with pytest.raises(SystemExit, match="2"):
            setup.main(["server", *argv])
    for name in ("", ".a", "-a", "a/b", "a b", "ä", "a" * 64):
        with pytest.raises(SystemExit, match="2"):
            setup.main(["client", "--", name])


def test_a_file_with_the_key_is_not_for_everybody(tmp_path: Path) -> None:
    printed = tmp_path / "home.conf"
    argv = (sys.executable, "-m", "mqvpn.cli.setup", "server", "--root", str(tmp_path / "root"), "--name", "a.example")
    with printed.open("w") as out:
        subprocess.run(argv, stdout=out, check=True)
    assert printed.stat().st_mode & 0o777 == 0o600


def test_the_pin(tmp_path: Path, capfd: Capture) -> None:
    make_server(tmp_path, capfd, "--name", "vpn.example.com")
    file = tmp_path / "etc/mqvpn/server.crt"
    assert setup.main(["pin", "--root", str(tmp_path)]) == setup.main(["pin", str(file)]) == 0
    assert capfd.readouterr().out == 2 * (certificate.pin(certificate.read_pem(file.read_bytes())) + "\n")
    assert setup.main(["pin", str(file.with_name("server.key"))]) == 1
    assert "server.key: it holds no certificate in PEM form" in capfd.readouterr().err
    assert setup.main(["pin", str(tmp_path / "none")]) == 1
    assert "none: No such file or directory" in capfd.readouterr().err


@pytest.mark.netns
def test_what_the_machine_tells(net: Net) -> None:
    box = net.namespace("box")
    code = "from mqvpn.cli import found; print(found.uplinks(), found.addresses(), found.free_subnet())"
    argv = (sys.executable, "-c", code)
    assert box.run(*argv).startswith("[] [] 10.")
    for number, other in enumerate(("one", "two")):
        net.veth(box, f"up{number}", net.namespace(other), "dn0")
        box.ip("addr", "add", f"198.51.{100 + number}.2/24", "dev", f"up{number}")
        box.ip("link", "set", f"up{number}", "up")
        route = ("default", "via", f"198.51.{100 + number}.1", "dev", f"up{number}", "metric", str(9 - number))
        box.ip("route", "add", *route)
    box.ip("addr", "add", "2001:db8:1::2/64", "dev", "up0", "nodad")
    box.ip("-6", "route", "add", "default", "via", "2001:db8:1::1", "dev", "up0")
    for second in range(0, 256, 2):  # half of 10/8 is taken
        box.ip("route", "add", f"10.{second}.0.0/16", "dev", "up0")
    uplinks, _, rest = box.run(*argv).partition("] ")
    assert uplinks == "['up1', 'up0'"
    assert rest.startswith("[IPv4Address('198.51.101.2'), IPv6Address('2001:db8:1::2')] 10.")
    assert int(rest.split(" 10.")[1].split(".")[0]) % 2 == 1


def test_subnets_are_of_the_kind_the_server_takes() -> None:
    for _ in range(20):
        assert found.free_subnet().prefixlen == 24
        assert found.unique_subnet6().is_private


def signed_by_another(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    cert, key = write_certificate(folder, "vpn.example.org")
    secret: Any = serialization.load_pem_private_key(key.read_bytes(), None)
    subject, issuer = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("a", "some CA"))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(issuer, subject, secret.public_key(), 7, now, now + timedelta(9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("vpn.example.org")]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return cert, key
