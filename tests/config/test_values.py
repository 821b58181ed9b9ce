"""HostPort, PathSetting, Secret, User: what they take, what they refuse, and that keys stay secret."""

import hashlib
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from mqvpn.config.values import HostPort, PathSetting, Secret, User, is_pattern, read_pin


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("vpn.example.com:8443", "vpn.example.com", 8443),
        ("vpn.example.com", "vpn.example.com", 443),
        ("192.0.2.1:4433", "192.0.2.1", 4433),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("[::]", "::", 443),
        ("[fe80::1%eth0]:443", "fe80::1%eth0", 443),
        ("my_host.lan.:1", "my_host.lan.", 1),
    ],
)
def test_host_port(text: str, host: str, port: int) -> None:
    assert HostPort.read(text) == HostPort(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":443",
        "host:",
        "host:0",
        "host:65536",
        "host:4 4",
        "host:+1",
        "host:٤٤٣",
        "2001:db8::1",
        "::1:443",
        "[192.0.2.1]:443",
        "[::1",
        "::1]",
        "[]:443",
        "[::1]443",
        "192.0.2.300:443",
        "1.2.3:443",
        "-a.example:1",
        "a..b:1",
        "a" * 64 + ".example:1",
        "two words:1",
        "bücher.example:443",
        "http://host:443",
    ],
)
def test_host_port_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|brackets|port|neither"):
        HostPort.read(text)


def test_host_port_text_and_address() -> None:
    assert str(HostPort("::", 443)) == "[::]:443"
    assert str(HostPort("192.0.2.1", 443)) == "192.0.2.1:443"
    assert HostPort("::", 443).address == IPv6Address("::")
    assert HostPort("192.0.2.1", 443).address == IPv4Address("192.0.2.1")
    assert HostPort("vpn.example.com", 443).address is None


@pytest.mark.parametrize("name", ["eth0", "wwan0.100", "enp0s31f6", "a" * 15, "br-lan"])
def test_path(name: str) -> None:
    assert PathSetting.read(name).interface == name


@pytest.mark.parametrize("name", ["", "a" * 16, "..", ".", "a/b", "a b", "eth0:1", "a%d", "é"])
def test_path_refuses(name: str) -> None:
    with pytest.raises(ValueError, match="interface name"):
        PathSetting.read(name)


@pytest.mark.parametrize(
    ("text", "role", "weight"),
    [
        ("wwan0; role=backup", "backup", 1.0),
        ("wwan0;role=primary;weight=0.5", "primary", 0.5),
        ("wwan0 ; weight = 3 ; role = backup", "backup", 3.0),
    ],
)
def test_path_with_its_part(text: str, role: str, weight: float) -> None:
    assert PathSetting.read(text) == PathSetting("wwan0", role, weight)


@pytest.mark.parametrize(
    "more",
    ["role", "role=spare", "role=", "cost=3", "weight=0", "weight=-1", "weight=nan", "weight=101", "", "role=;role="],
)
def test_path_refuses_its_part(more: str) -> None:
    with pytest.raises(ValueError, match=r"role|weight"):
        PathSetting.read(f"wwan0;{more}")


@pytest.mark.parametrize(
    ("text", "cap", "period"),
    [("5G/month", 5 * 10**9, "month"), ("500M/day", 500 * 10**6, "day"), ("1T/week", 10**12, "week")],
)
def test_path_with_a_cap(text: str, cap: int, period: str) -> None:
    assert PathSetting.read(f"wwan0; cap={text}") == PathSetting("wwan0", cap=cap, period=period)


@pytest.mark.parametrize("text", ["5G", "0G/month", "5g/month", "5G/year", "5GB/month", "-5G/day", "/day"])
def test_path_refuses_a_cap(text: str) -> None:
    with pytest.raises(ValueError, match="a cap is written like 500M/day, 2G/week or 5G/month"):
        PathSetting.read(f"wwan0; cap={text}")


def test_secret_never_shows_itself() -> None:
    secret = Secret.read("correct horse")
    assert secret.reveal() == "correct horse"
    for text in (repr(secret), str(secret), f"{secret}", f"{User('alice', secret)}", repr([secret])):
        assert "horse" not in text
        assert hashlib.sha256(b"correct horse").hexdigest() not in text


def test_secrets_are_compared() -> None:
    secret = Secret.read("schlüssel")
    assert secret == Secret("schlüssel")
    assert hash(secret) == hash(Secret("schlüssel"))
    assert secret != Secret("other")
    assert secret != "schlüssel"


@pytest.mark.parametrize("text", ["", "x" * 256, "é" * 128, "a\tb", "a\x7f", "a\ud800", "a\u2028b"])
def test_secret_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="key") as raised:
        Secret.read(text)
    assert len(text) < 2 or text not in str(raised.value)


def test_secret_from_file(tmp_path: Path) -> None:
    file = tmp_path / "auth.key"
    file.write_text("k3y#with;signs\n")
    assert Secret.read(f"file:{file}") == Secret("k3y#with;signs")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"two\nlines", b"x" * 5000])
def test_secret_file_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "auth.key"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="key"):
        Secret.read(f"file:{file}")


@pytest.mark.parametrize(
    "text", ["file:", "file:relative", "file:/", "file:/dev/null", "file:/no/such", "file:/\ud800"]
)
def test_secret_file_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="file"):
        Secret.read(text)


def test_user() -> None:
    assert User.read("alice:k:e,y") == User("alice", Secret("k:e,y"))
    assert User.read(" alice : key ") == User("alice", Secret("key"))


@pytest.mark.parametrize("text", ["alice", ":key", "alice:", 'a"b:key', "a\\b:key", "a\nb:key", "é" * 32 + ":key"])
def test_user_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"NAME:KEY|user name|key"):
        User.read(text)


def test_pins() -> None:
    digest = "ZmJkNjc4NzE0ZjQ4ZjUzNzNhN2QyZjg0ZTQyMDY4YTI="
    assert read_pin(f"sha256//{digest}") == f"sha256//{digest}"
    assert read_pin(f"sha256//{digest[:-2]}J=") == f"sha256//{digest}", "unused bits are no difference"


@pytest.mark.parametrize("text", ["", "sha256//", "sha256//AAAA", f"sha1//{'A' * 27}=", "A" * 43 + "=", "sha256//é"])
def test_pins_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="write sha256// and 44 characters, as mqvpn-setup pin prints them"):
        read_pin(text)


@pytest.mark.parametrize("text", ["auto", "eth*", "*", "w*0; role=backup"])
def test_a_path_may_mean_several_interfaces(text: str) -> None:
    path = PathSetting.read(text)
    assert path.interface == text.partition(";")[0]
    assert is_pattern(path.interface)


@pytest.mark.parametrize("text", ["averyverylongname*", "eth *", "e/*"])
def test_a_pattern_is_made_of_what_names_are_made_of(text: str) -> None:
    with pytest.raises(ValueError, match="an interface name has 1 to 15 characters"):
        PathSetting.read(text)
