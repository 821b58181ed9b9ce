"""JSON: the same settings under the C mqvpn's names."""

import pytest

from mqvpn.config.errors import ConfigError
from mqvpn.config.jsonfile import read_json


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read_json("c", text)
    return str(raised.value)


def test_values_become_the_text_of_ini() -> None:
    entries, mode = read_json(
        "c",
        """{"mode": "server", "mtu": 1400, "insecure": false, "dns": ["1.1.1.1", "::1"], "paths": "eth0",
        "subnet6": "",
        "users": [{"name": "alice", "key": "a,b#c"}, "bob:k:2"], "server_auth_key": "k",
        "reorder": {"enabled": "on", "max_wait_ms": 50}, "hybrid": {"egress_allow": ["10.0.0.0/8"]},
        "reorder_rules": [{"proto": "udp", "port": 443}, {"port": 4433}]}""",
    )
    assert mode == "server"
    assert [(entry.row.title, entry.values) for entry in entries] == [
        ("[Interface] MTU", ("1400",)),
        ("[Server] Insecure", ("false",)),
        ("[Interface] DNS", ("1.1.1.1", "::1")),
        ("[Multipath] Path", ("eth0",)),
        ("[Interface] Subnet6", ()),
        ("[Auth] User", ("alice:a,b#c", "bob:k:2")),
        ("[Auth] Key", ("k",)),
        ("[Reorder] Enabled", ("on",)),
        ("[Reorder] MaxWaitMs", ("50",)),
        ("[Hybrid] EgressAllow", ("10.0.0.0/8",)),
        ("[ReorderRule] Proto", ("udp",)),
        ("[ReorderRule] Port", ("443",)),
        ("[ReorderRule] Port", ("4433",)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n "mtu": 1,,\n}', "c:2: not valid JSON: Expecting property name enclosed in double quotes"),
        ('{\n "mttu": 1}', "c:2: mttu: unknown name; did you mean mtu?"),
        ('{\n "rerder": {}}', "c:2: rerder: unknown name; did you mean reorder?"),
        ('{\n "reorder": {"enable": "on"}}', "c:2: reorder.enable: unknown name; did you mean enabled?"),
        ('{\n "mtu": 1, "mtu": 2}', "c:2: mtu: given twice; keep one of them"),
        ('{"auth_key": "1", "server_auth_key": "2"}', "c:1: auth_key: given twice; keep one of them"),
        ('{"mode": "peer"}', 'c:1: mode: write "client" or "server"'),
        ('{"mode": ["client"]}', 'c:1: mode: write "client" or "server"'),
        ('{"mtu": null}', "c:1: mtu: one text, number, true or false is expected"),
        ('{"mtu": [1]}', "c:1: mtu: one text, number, true or false is expected"),
        ('{"dns": {"a": 1}}', "c:1: dns: a text or an array of texts is expected"),
        ('{"reorder": []}', "c:1: reorder: an object in braces is expected"),
        ('{"reorder_rules": {}}', "c:1: reorder_rules: an array of objects is expected"),
        ('{"reorder_rules": [1]}', "c:1: reorder_rules: an object in braces is expected"),
        (
            '{"users": [{"name": "a"}]}',
            'c:1: users: each user is {"name": "NAME", "key": "KEY"} or "NAME:KEY"',
        ),
        (
            '{"users": [{"name": "a:b", "key": "k"}]}',
            'c:1: users: each user is {"name": "NAME", "key": "KEY"} or "NAME:KEY"',
        ),
    ],
)
def test_messages(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize("text", ['{"mtu":' + "[" * 100_000, '{"reorder":' * 100_000])
def test_depth(text: str) -> None:
    assert "c" in refusal(text)


def test_huge_number_is_text() -> None:
    entries, _ = read_json("c", '{"mtu": ' + "9" * 10_000 + "}")
    assert entries[0].values == ("9" * 10_000,)
