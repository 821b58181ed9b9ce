"""The TUN interface's name, where the configuration does not tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqvpn.config.load import load


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("client-home.conf", "mq-home"),
        ("client-a-very-long-name.conf", "mq-a-very-long-"),
        ("client-a\\x2db@c.conf", "mq-a_x2db_c"),
        ("home.conf", "mqvpn0"),
    ],
)
def test_a_client_of_a_name_has_an_interface_of_its_own(tmp_path: Path, name: str, expected: str) -> None:
    file = tmp_path / name
    file.write_text("[Server]\nAddress = h\n")
    assert load(file).tun_name == expected
    file.write_text("[Server]\nAddress = h\n[Interface]\nTunName = tun7\n")
    assert load(file).tun_name == "tun7"
    assert load(file, {"tun_name": "tun8"}).tun_name == "tun8"
