"""What the server checks before it serves: its certificate, the clients' keys, its key for resets."""

from __future__ import annotations

import errno
import logging
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from mqvpn.config.server import ServerSettings
from mqvpn.config.values import Secret, User
from mqvpn.connectip.pool import Pool
from mqvpn.daemon import exit, server
from mqvpn.daemon.server import CertificateUnusable, Keys, load_certificate, load_reset_key
from mqvpn.dataplane.engine import OVERHEAD, SPREAD_BYTES
from mqvpn.system.errors import refused
from mqvpn.system.link import Interface
from mqvpn.tunnel import events
from tests.tunnel.pair import write_certificate


def test_a_usable_certificate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cert_file, key_file = write_certificate(tmp_path)
    Path(key_file).chmod(0o600)
    load_certificate(cert_file, key_file)
    assert caplog.records == []


def test_a_key_file_that_everybody_can_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cert_file, key_file = write_certificate(tmp_path)
    Path(key_file).chmod(0o644)
    load_certificate(cert_file, key_file)
    assert f"run: chmod o-rwx {key_file}" in caplog.text  # 600 would take it from the group mqvpn, too


def test_certificate_errors_name_the_file(tmp_path: Path) -> None:
    cert_file, key_file = write_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other_key = write_certificate(tmp_path / "other")
    nothing, garbage = str(tmp_path / "nothing.pem"), tmp_path / "garbage.pem"
    garbage.write_text("not a certificate\n")
    for cert, key, says in (
        (nothing, key_file, r"\[TLS\] Cert: .*nothing\.pem: No such file.*; correct the path, or have mqvpn-setup"),
        (cert_file, nothing, r"\[TLS\] Key: .*nothing\.pem: No such file"),
        (str(garbage), key_file, r"\[TLS\] Cert.*garbage\.pem"),
        (cert_file, str(garbage), r"\[TLS\] Cert.*garbage\.pem"),
        (cert_file, other_key, r"\[TLS\] Cert.*key does not belong"),
    ):
        with pytest.raises(CertificateUnusable, match=says):
            load_certificate(cert, key)


def test_run_ends_with_status_78_without_a_certificate(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    settings = ServerSettings(auth_key=Secret("k"), cert_file=missing, key_file=missing)
    assert server.run(settings) == exit.CONFIG
    logging.getLogger("mqvpn").setLevel(logging.NOTSET)


def test_the_reset_key_outlives_the_daemon(tmp_path: Path) -> None:
    key = load_reset_key(str(tmp_path))
    assert len(key) == 32
    assert load_reset_key(str(tmp_path)) == key
    assert (tmp_path / "reset.key").stat().st_mode & 0o777 == 0o600


def test_a_torn_reset_key_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "reset.key").write_bytes(b"torn")
    assert load_reset_key(str(tmp_path)) == load_reset_key(str(tmp_path))


def test_without_a_state_directory_the_reset_key_is_new_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_reset_key(None) != load_reset_key(None)
    assert len(load_reset_key(str(tmp_path / "missing"))) == 32
    assert "reset.key" in caplog.text


def test_keys_name_their_users() -> None:
    keys = Keys(Secret("shared"), (User("alice", Secret("a")), User("bob", Secret("b"))))
    assert [keys.user(token) for token in (b"shared", b"a", b"b")] == ["", "alice", "bob"]
    assert [keys.user(token) for token in (b"", b"c", b"\xff", b"alice")] == [None] * 4


def test_a_shared_key_that_is_also_a_users() -> None:
    """The user keeps the name: a lease by name is worth more than none."""
    assert Keys(Secret("a"), (User("alice", Secret("a")),)).user(b"a") == "alice"


def test_the_server_takes_the_first_address_of_each_pool() -> None:
    pool = Pool(IPv4Network("10.9.0.0/16"), IPv6Network("fd00:9::/112"))
    assert [str(address) for address in server._gateways(pool)] == ["10.9.0.1/16", "fd00:9::1/112"]


def test_addresses_of_users_are_logged_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mqvpn")
    server.handle_event(events.ClientJoined(3, "alice", (IPv4Network("10.0.0.2/32"),)))
    shown = {record.levelname: record.getMessage() for record in caplog.records}
    assert "alice" in shown["INFO"]
    assert "10.0.0.2" not in shown["INFO"]
    assert "10.0.0.2" in shown["DEBUG"]


def test_the_tun_takes_what_the_largest_interface_leaves() -> None:
    def link(name: str, mtu: int, *, is_up: bool = True) -> Interface:
        return Interface(name, 1, is_up, True, mtu, frozenset())

    links = [link("lo", 65536), link("eth0", 1500), link("eth1", 9000, is_up=False)]
    assert server.largest_inner_mtu({one.name: one for one in links}) == 1500 - 28 - OVERHEAD - SPREAD_BYTES
    links[2] = link("eth1", 9000)
    assert server.largest_inner_mtu({one.name: one for one in links}) == 9000 - 28 - OVERHEAD - SPREAD_BYTES


class Routes:
    """Interfaces by the address that leads to them."""

    def egress(self, address: IPv4Address | IPv6Address, source: IPv4Address | IPv6Address | None) -> tuple[int, int]:
        if str(address) == "203.0.113.5":
            raise refused("look up the route", errno.ENOMEM)
        return {"192.0.2.5": (7, 9000), "2001:db8::5": (8, 1400)}.get(str(address), (0, 0))


@pytest.mark.parametrize(
    ("remote", "largest"), [("192.0.2.5", 8972), ("2001:db8::5", 1352), ("198.51.100.5", 1472), ("203.0.113.5", 1472)]
)
def test_what_the_interface_towards_a_client_takes(remote: str, largest: int) -> None:
    routes: Any = Routes()
    assert server.towards(routes, (remote, 4433), ("::", 0)) == server.towards(routes, (remote, 4433), None) == largest
