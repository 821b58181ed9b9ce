"""[Reorder] and [ReorderRule]: which flows are put in order, by whose word, in INI and in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mqvpn.config.errors import ConfigError
from mqvpn.config.load import load

CLIENT = "[Server]\nAddress = h\n"
SERVER = "[TLS]\nCert = a\n[Auth]\nKey = k\n"


def reorder(folder: Path, text: str, end: str = CLIENT) -> tuple[tuple[int, float, int], ...]:
    """What `text` behind the least that `end` needs comes to; nothing of it is warned of."""
    file = folder / "c"
    file.write_text(end + text)
    file.chmod(0o600)
    loaded = load(file)
    assert loaded.warnings == ()
    return loaded.reorder


@pytest.mark.parametrize("end", [CLIENT, SERVER])
@pytest.mark.parametrize("word", ["on", "auto", "yes", "true", "1"])
def test_without_rules_all_udp_flows_are_put_in_order(tmp_path: Path, end: str, word: str) -> None:
    assert reorder(tmp_path, f"[Reorder]\nEnabled = {word}\n", end) == ((0, 0.030, 1024),)


@pytest.mark.parametrize(
    "text", ["", "[Reorder]\nMaxWaitMs = 50\n", "[Reorder]\nEnabled = off\n[ReorderRule]\nPort = 443\n"]
)
def test_it_is_off_unless_it_is_switched_on(tmp_path: Path, text: str) -> None:
    assert reorder(tmp_path, text) == ()


@pytest.mark.parametrize(
    ("general", "rule", "expected"),
    [
        ("", "Port = 443", (443, 0.030, 1024)),
        ("", "Profile = cellular_bond", (0, 0.050, 1024)),
        ("", "Profile = quic_bulk\nPort = 443\nProto = udp", (443, 0.050, 1024)),
        ("", "Profile = Fiber_LTE\nProto = 17", (0, 0.050, 2048)),
        ("MaxWaitMs = 70\n", "Profile = fiber_lte", (0, 0.070, 2048)),
        ("CapPackets = 512\n", "Profile = fiber_lte", (0, 0.050, 512)),
        ("MaxWaitMs = 70\nCapPackets = 512\n", "Port = 5\nProfile = fiber_lte\nMaxWaitMs = 5", (5, 0.005, 512)),
        ("CapPackets = 512\n", "CapPackets = 256", (0, 0.030, 256)),
        ("", "Port = 53\nProfile = low_latency\nMaxWaitMs = 50", (53, 0.0, 0)),
        ("CapPackets = 512\n", "Port = 53\nProfile = default_udp", (53, 0.0, 0)),
    ],
)
def test_a_rule_wins_over_reorder_over_its_profile_over_what_is_built_in(
    tmp_path: Path, general: str, rule: str, expected: tuple[int, float, int]
) -> None:
    assert reorder(tmp_path, f"[Reorder]\nEnabled = on\n{general}[ReorderRule]\n{rule}\n") == (expected,)


def test_rules_keep_their_order(tmp_path: Path) -> None:
    text = "[ReorderRule]\nPort = 53\nProfile = low_latency\n[ReorderRule]\nProto = 6\n[ReorderRule]\nProto = udp\n"
    assert reorder(tmp_path, f"{text}[Reorder]\nEnabled = on\n") == ((53, 0.0, 0), (0, 0.030, 1024))
    assert reorder(tmp_path, "[Reorder]\nEnabled = on\n[ReorderRule]\nProto = 6\n") == ()  # no UDP flow fits


def test_the_same_in_json(tmp_path: Path) -> None:
    rules = [{"proto": "udp", "port": 443, "profile": "fiber_lte"}, {"port": 53, "profile": "low_latency"}]
    written = {"reorder": {"enabled": "on", "max_wait_ms": 40}, "reorder_rules": rules}
    assert reorder(tmp_path, json.dumps({"server_addr": "h"} | written), "") == ((443, 0.040, 2048), (53, 0.0, 0))
    on = {"server_addr": "h", "reorder": {"enabled": True}}
    assert reorder(tmp_path, json.dumps(on), "") == ((0, 0.030, 1024),)


def test_sixteen_rules_and_no_more(tmp_path: Path) -> None:
    rules = [f"[ReorderRule]\nPort = {port}\nProfile = quic_bulk\n" for port in range(1, 18)]
    on = "[Reorder]\nEnabled = on\n"
    assert len(reorder(tmp_path, on + "".join(rules[:16]))) == 16
    with pytest.raises(ConfigError, match=r"c:54: \[ReorderRule\] Port: more than 16 rules are given; remove some"):
        reorder(tmp_path, on + "".join(rules))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[ReorderRule]\nPort = 70000", "[ReorderRule] Port: 70000 is out of range; write a number from 0 to 65535"),
        ("[ReorderRule]\nMaxWaitMs = 0", "[ReorderRule] MaxWaitMs: 0 is out of range; write a number from 1 to "),
        ("[ReorderRule]\nCapPackets = 0", "[ReorderRule] CapPackets: write a power of two, such as 1024"),
        ("[ReorderRule]\nProfile = fast", "[ReorderRule] Profile: write one of cellular_bond, quic_bulk, fiber_lte, "),
        ("[ReorderRule]\nProto = sctp", "[ReorderRule] Proto: write a number from 0 to 255"),
        ("[Reorder]\nEnabled = maybe", "[Reorder] Enabled: write true or false"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        reorder(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'c'}:4: {message}")


def test_keys_that_have_nothing_to_tune_here_are_read(tmp_path: Path) -> None:
    keys = "MaxBytesPerFlow ClassifyWindow AckDemoteMaxLarge SmallPacketThreshold ResetMarkPackets ResetIdleGraceMs"
    keys += " MaxFlows GlobalMaxBytes IngressIdleSec EgressIdleSec"
    text = "[Reorder]\nEnabled = on\n" + "".join(f"{key} = 64\n" for key in keys.split())
    assert reorder(tmp_path, text) == ((0, 0.030, 1024),)
