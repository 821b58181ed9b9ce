"""The table of settings: names, flags and readers."""

from collections import Counter

import pytest

from mqvpn.config.setting import read_boolean, read_choice, read_integer, read_network
from mqvpn.config.table import JSON_OBJECTS, ROWS, SERVER, find_key, find_section


def test_no_two_rows_share_a_key_a_name_or_a_flag() -> None:
    assert max(Counter((row.section, row.key.lower()) for row in ROWS).values()) == 1
    top = [row.name for row in ROWS if row.section not in JSON_OBJECTS.values()]
    assert max(Counter(top).values()) == 1
    assert max(Counter(row.flag for row in ROWS if row.flag).values()) == 1


def test_keys_are_found_in_any_case() -> None:
    assert find_key(find_section("multipath", "c:1"), "PATH", "c:1").name == "paths"
    assert find_key("Interface", "tunname", "c:1") is SERVER["tun_name"]


def test_what_a_flag_shows_is_explained() -> None:
    assert [row.name for row in ROWS if row.flag and not row.help] == []


def test_readers() -> None:
    assert [read_boolean(word) for word in ("true", "Yes", "1", "on")] == [True] * 4
    assert [read_boolean(word) for word in ("FALSE", "no", "0", "off")] == [False] * 4
    assert read_integer(1280, 9000, also=0)("0") == 0
    assert read_choice("minrtt")("MinRTT") == "minrtt"
    assert str(read_network(4, 16, 30)("10.0.0.1/24")) == "10.0.0.0/24"


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1e3", "0x10", "٣", "10000", "9" * 5000])
def test_integer_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="write a number from 1 to 9"):
        read_integer(1, 9)(text)


@pytest.mark.parametrize(
    "text", ["10.0.0.0", "10.0.0/24", "x/24", "10.0.0.0/33", "10.0.0.0/24/24", "fe80::%a/64", "::/24"]
)
def test_network_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not an IP network"):
        read_network(4, 0, 32)(text)
