"""Where the control socket is, and what happens when it cannot be there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.load import load
from mqvpn.config.server import ServerSettings
from mqvpn.config.values import HostPort, Secret
from mqvpn.daemon.controlsocket import control_listener, default_path
from mqvpn.system.errors import OperationFailed

SERVER = ServerSettings(auth_key=Secret("k"))


def client(**changes: str) -> ClientSettings:
    return ClientSettings(server_addr=HostPort("vpn.example", 443), **changes)  # type: ignore[arg-type]


def test_default_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert default_path(SERVER) == Path("/run/mqvpn/server.sock")
    assert default_path(client()) == Path("/run/mqvpn/client-mqvpn0.sock")
    assert default_path(client(instance="home", tun_name="tun9")) == Path("/run/mqvpn/client-home.sock")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/a:/run/b")
    assert default_path(SERVER) == Path("/run/a/server.sock")


@pytest.mark.parametrize(
    ("name", "instance"),
    [("client-home.conf", "home"), ("client-a.b@c-2.conf", "a.b@c-2"), ("home.conf", ""), ("client-a b.conf", "")],
)
def test_the_instance_is_in_the_name_of_the_file(tmp_path: Path, name: str, instance: str) -> None:
    file = tmp_path / name
    file.write_text("[Server]\nAddress = h\n")
    assert load(file).instance == instance


def test_an_inherited_socket_is_used() -> None:
    ours, theirs = socket.socketpair()
    with theirs, control_listener(SERVER, ours) as listener:
        assert listener is not None
        assert listener.socket is ours
    assert ours.fileno() == -1


def test_none_is_none() -> None:
    with control_listener(client(control_socket="none")) as listener:
        assert listener is None


def test_the_default_place_may_be_missing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/proc/no/such")
    with control_listener(SERVER) as listener:
        assert listener is None
    assert "no control socket: listen on /proc/no/such/server.sock" in caplog.text
    with pytest.raises(OperationFailed), control_listener(client(control_socket="/proc/no/such")):
        pass


def test_two_daemons_of_one_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    refused = pytest.raises(OperationFailed, match="another mqvpn listens there")
    with control_listener(SERVER), refused, control_listener(SERVER):
        pass
