"""Settings of a client that files of the C mqvpn do not know: several servers, Reconnect = always."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.errors import ConfigError
from mqvpn.config.load import load

CLIENT = {"server_addr": "vpn.example.com"}


def test_several_servers_in_order_of_preference(tmp_path: Path) -> None:
    text = "[Server]\nAddress = a.example\nAddress = [2001:db8::1]:4433\n"
    file = tmp_path / "client.conf"
    file.write_text(text)
    client = load(file)
    assert isinstance(client, ClientSettings)
    assert [str(server) for server in client.servers] == ["a.example:443", "[2001:db8::1]:4433"]
    one = load(None, CLIENT)
    assert isinstance(one, ClientSettings)
    assert one.servers == (one.server_addr,)
    with pytest.raises(ConfigError, match="the same one is given twice"):
        load(None, {"server_addr": ["a.example", "a.example:443"]})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("no", False), ("Always", "always")])
def test_reconnect(text: str, value: bool | str) -> None:
    client = load(None, CLIENT | {"reconnect": text})
    assert isinstance(client, ClientSettings)
    assert client.reconnect == value


def test_reconnect_says_what_it_may_be() -> None:
    with pytest.raises(ConfigError, match="write true, false or always"):
        load(None, CLIENT | {"reconnect": "sometimes"})
