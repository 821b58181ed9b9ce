"""A link's DNS as a value: what it refuses, how resolv.conf has it, and whose machine asks systemd-resolved."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from mqvpn.system.dns import LinkDns, resolved_is_asked

SERVER = ip_address("9.9.9.9")


def test_as_resolv_conf_has_it() -> None:
    dns = LinkDns((SERVER, ip_address("2620:fe::fe")), ("corp.example", "~lab.example", "b.example"))
    assert dns.resolv_conf() == "nameserver 9.9.9.9\nnameserver 2620:fe::fe\nsearch corp.example b.example\n"
    assert LinkDns((SERVER,), ("~.",)).resolv_conf() == "nameserver 9.9.9.9\n"


@pytest.mark.parametrize(
    "domain", ["", ".", "~", "a b", "a\nnameserver 6.6.6.6", "a..b", "-a", "a" * 64, "a.example.", "a." * 127 + "a"]
)
def test_what_is_no_domain(domain: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        LinkDns((SERVER,), (domain,))


def test_what_else_is_refused() -> None:
    with pytest.raises(ValueError, match="name servers"):
        LinkDns(())
    with pytest.raises(ValueError, match="name servers"):
        LinkDns((SERVER,) * 9)
    with pytest.raises(ValueError, match="domains"):
        LinkDns((SERVER,), ("a",) * 65)
    with pytest.raises(ValueError, match="zone"):
        LinkDns((ip_address("fe80::1%eth0"),))
    with pytest.raises(ValueError, match="TLS"):
        LinkDns((SERVER,), (), "maybe")


@pytest.mark.parametrize(
    ("nsswitch", "resolv_conf", "asked"),
    [
        ("hosts: files dns", "nameserver 192.0.2.1", False),
        ("hosts:\tfiles resolve [!UNAVAIL=return] dns", "nameserver 192.0.2.1", True),
        ("hosts: files dns # resolve", "nameserver 192.0.2.1", False),
        ("passwd: resolve\n", "nameserver 192.0.2.1", False),
        ("", "# comment\nnameserver 127.0.0.53\noptions edns0", True),
        ("", "nameserver 127.0.0.53\nnameserver 192.0.2.1", False),
        ("", "search example", False),
        (None, None, False),
    ],
)
def test_whose_lookups_go_to_resolved(
    tmp_path: Path, nsswitch: str | None, resolv_conf: str | None, asked: bool
) -> None:
    for name, text in (("nsswitch.conf", nsswitch), ("resolv.conf", resolv_conf)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert resolved_is_asked(tmp_path) is asked


def test_a_link_to_what_resolved_writes(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert resolved_is_asked(tmp_path)
