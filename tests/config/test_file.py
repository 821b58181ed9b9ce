"""The INI front end: what ConfigObj alone gets wrong, and that each message names its line."""

import time
from contextlib import suppress
from pathlib import Path

import pytest

from mqvpn.config.errors import ConfigError
from mqvpn.config.file import read_file, read_ini


def read(text: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(entry.row.name, entry.values) for entry in read_ini("c", text) if entry.values]


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read_ini("c", text)
    return str(raised.value)


def test_repeated_keys_and_comma_lists() -> None:
    text = "[Multipath]\nPath = eth0\nPath = wlan0, wwan0\npath=usb0,\n"
    text += "[Interface]\nDNS = 1.1.1.1,9.9.9.9\nDNS = ::1"
    assert read(text) == [
        ("paths", ("eth0",)),
        ("paths", ("wlan0", "wwan0")),
        ("paths", ("usb0",)),
        ("dns", ("1.1.1.1", "9.9.9.9")),
        ("dns", ("::1",)),
    ]


def test_case_blanks_line_ends_and_repeated_sections() -> None:
    text = "# top\r\n[ interface ]\r\n  MTU=1400\r\n; old\r\n[Auth]\r\n"
    text += "[INTERFACE] # again\r\n\ttunname =  tun7 \r\n"
    assert read(text) == [("mtu", ("1400",)), ("tun_name", ("tun7",))]


def test_reorder_rules_stand_for_themselves() -> None:
    text = "[ReorderRule]\nPort = 443\n[ReorderRule]\nPort = 4433\n"
    assert read(text) == [("port", ("443",)), ("port", ("4433",))]
    assert "c:3: [ReorderRule] Port: given twice" in refusal("[ReorderRule]\nPort = 443\nPort = 4433\n")


def test_nothing_is_interpolated_or_continued() -> None:
    assert read("[TLS]\nCert = /%(home)s/${x}\nKey = a\\\n") == [
        ("cert_file", ("/%(home)s/${x}",)),
        ("key_file", ("a\\",)),
    ]
    assert "c:2: [TLS] Cert: a value ends with its line" in refusal('[TLS]\nCert = """a\nb"""\n')


def test_comments_behind_values() -> None:
    text = '[TLS]\nCert = /a b/c # comment\nKey = "/k#ey"  # comment "x"\n[Interface]\nSubnet6 = # none\nMTU ='
    assert read(text) == [("cert_file", ("/a b/c",)), ("key_file", ("/k#ey",))]
    assert refusal("[TLS]\n\nCert = /a#b\n").startswith("c:3: [TLS] Cert: a # stands in the value; quote it")


@pytest.mark.parametrize("written", ["abc#def", "abc;def", "abc   # note", "abc ; note", "#abc", "# note", "a,b#c"])
@pytest.mark.parametrize("key", ["Key = ", "User = alice:"])
def test_secret_is_refused_not_cut(key: str, written: str) -> None:
    message = refusal(f"[Auth]\n{key}{written}\n")
    assert message.startswith(f"c:2: [Auth] {key.split()[0]}: an unquoted # or ;")
    assert "quotes" in message
    assert "comment on a line of its own" in message
    assert "abc" not in message


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ('"abc#def;"', "abc#def;"),
        ("'abc # \"x'", 'abc # "x'),
        ("a,b", "a,b"),
        ("a, b,", "a, b,"),
        ("a=b==", "a=b=="),
        ('"abc"   # note', "abc"),
        ("%(x)s", "%(x)s"),
        ('ab"c', 'ab"c'),
        ("<YOUR PSK>", "<YOUR PSK>"),
    ],
)
def test_secret_is_whole(written: str, key: str) -> None:
    assert read(f"[Auth]\nKey = {written}\n") == [("auth_key", (key,))]


def test_users() -> None:
    text = '[Auth]\nUser = alice:k1\nUser = bob:k2, carol:k3\nUser = "dan:k,4", "eve:k#5"\n'
    assert [value for _, values in read(text) for value in values] == [
        "alice:k1",
        "bob:k2",
        "carol:k3",
        "dan:k,4",
        "eve:k#5",
    ]


@pytest.mark.parametrize("value", ['"abc', "'a' 'b'", '"a"b', '"a" x', '"'])
def test_quotes_must_match(value: str) -> None:
    message = refusal(f"[TLS]\nKey = k\nCert = {value}\n")
    assert message.startswith("c:3: [TLS] Cert: the quotes do not match")
    secret = refusal(f"[Auth]\nKey = {value}\n")
    assert secret.startswith("c:2: [Auth] Key: the quotes do not match")
    assert "abc" not in secret


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Interfaces]\n", "c:1: [Interfaces]: unknown section; did you mean Interface?"),
        ("[Interface]\nMTTU = 1\n", "c:2: [Interface] MTTU: unknown key; did you mean MTU?"),
        ("[Interface]\nPath = eth0\n", "c:2: [Interface] Path: unknown key; it belongs to [Multipath] Path"),
        ("[Interface]\nQQQQ = 1\n", "c:2: [Interface] QQQQ: unknown key"),
        ("MTU = 1\n", "c:1: MTU: stands before any section; write [Interface] above it"),
        ("[Interface]\nMTU 1400\n", "c:2: neither [Section] nor Key = value; begin a comment with #"),
        ("[Interface\n", "c:1: not a section; write it like [Interface]"),
        ("[[Interface]]\n", "c:1: not a section; write it like [Interface]"),
        (
            "[Interface]\nMTU = 1400\n\nmtu = 1500",
            "c:4: [Interface] MTU: given twice, first on line 2; keep one of them",
        ),
        (
            "[Interface]\n[TLS]\nCert = " + "a" * 1100,
            "c:3: longer than 1024 characters; give each value its own line",
        ),
        ("[TLS]\nCert = a" + " " * 70 + "b", "c:2: [TLS] Cert: 64 blanks or more in a row; remove them"),
    ],
)
def test_messages(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[TLS]\n\xff\n", ":2: not UTF-8 text; save the file as UTF-8"),
        (b"[TLS]\n\nCert = \0\n", ":3: holds a NUL byte; remove it"),
        (b"#" * (1 << 20) + b"#", ": larger than 1 MiB; this is not a configuration of mqvpn"),
        (b"\n" * 30_000, ":20000: more than 20000 lines; shorten the file"),
    ],
)
def test_not_text(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "c"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        read_file(file)
    assert str(raised.value) == f"{file}{message}"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no-such: cannot be read: No such file or directory$"):
        read_file(tmp_path / "no-such")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        read_file(tmp_path)


def test_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_bytes(b"\xef\xbb\xbf[TLS]\nCert = a\n")
    assert [entry.values for entry in read_file(file).entries] == [("a",)]


@pytest.mark.parametrize(
    "text",
    [
        "[TLS]\n" * 19_000,
        "[Multipath]\n" + ("Path = a" + " " * 1000 + "x\n") * 1000,
        "[Multipath]\n" + ("Path = " + "a,  " * 250 + '"\n') * 1000,
        "[Multipath]\n" + ("Path = " + '" ' * 500 + "\n") * 1000,
        "[Multipath]\n" + ("Path = " + (" " * 60 + "x") * 16 + "\n") * 1000,
    ],
)
def test_bombs_end_soon(text: str) -> None:
    start = time.process_time()
    with suppress(ConfigError):
        read_ini("c", text)
    assert time.process_time() - start < 4
