"""[Server] CA: what is read of the file, and what its absence ends with."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort
from mqvpn.daemon import client, exit
from mqvpn.daemon.ca import CAUnusable, load_ca
from tests.tunnel.pair import write_certificate


def test_the_systems_or_those_of_the_file(tmp_path: Path) -> None:
    assert load_ca("") is None
    cert_file, _ = write_certificate(tmp_path)
    assert load_ca(cert_file) == Path(cert_file).read_bytes()


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    _, key_file = write_certificate(tmp_path)
    with pytest.raises(CAUnusable, match=r"\[Server\] CA: .*server\.key: it holds no certificate in PEM form"):
        load_ca(key_file)
    with pytest.raises(CAUnusable, match=r"\[Server\] CA: .*/none: No such file or directory"):
        load_ca(str(tmp_path / "none"))


@pytest.mark.netns
def test_a_client_ends_with_status_78_and_leaves_nothing(tmp_path: Path, net: object) -> None:
    settings = ClientSettings(server_addr=HostPort("192.0.2.1", 443), ca_file=str(tmp_path / "none"), tun_name="mqca0")
    assert client.run(settings) == exit.CONFIG
    assert not Path("/sys/class/net/mqca0").exists()
    logging.getLogger("mqvpn").setLevel(logging.NOTSET)
