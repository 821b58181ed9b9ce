"""Any text gives settings or a ConfigError which names the file, and nothing else."""

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqvpn.config.client import ClientSettings
from mqvpn.config.errors import ConfigError
from mqvpn.config.load import load
from mqvpn.config.server import ServerSettings
from mqvpn.config.table import ROWS


def outcome(file: Path, mode: str | None) -> str:
    """In words, so that a failure shows them."""
    try:
        loaded = load(file, mode=mode)
    except ConfigError as error:
        return "refused, naming the file" if str(error).startswith(str(file)) else str(error)
    return "settings" if isinstance(loaded, ServerSettings | ClientSettings) else repr(loaded)


WORDS = [
    "10.0.0.0/24",
    "fd00::/64",
    "1500",
    "1",
    "0",
    "true",
    "off",
    "a:b",
    "c:d",
    "[::]:443",
    "h",
    "wlb",
    "udp",
    "::1",
]
TEXT = (
    st.sampled_from(WORDS)
    | st.sampled_from(['"', "'", "#", ";", ",", " # x", '"a b"', "=", "\n", "["])
    | st.text(max_size=8)
)
LINE = st.builds(
    lambda row, values: f"[{row.section}]\n{row.key} = {', '.join(values)}\n",
    st.sampled_from(ROWS),
    st.lists(TEXT, min_size=1, max_size=2),
)
STARTS = st.sampled_from(["", "[Server]\nAddress = h\n", "[TLS]\nCert = c\n[Auth]\nUser = eve:k\n"])
INI = st.builds(lambda start, lines: start + "".join(lines), STARTS, st.lists(LINE | TEXT, max_size=4))

NAMES = st.sampled_from([*(row.name for row in ROWS), "reorder", "hybrid", "reorder_rules"]) | st.text(max_size=4)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2))
BASES = st.sampled_from([{}, {"server_addr": "h"}, {"mode": "server", "users": ["eve:k"]}])
JSON = st.builds(lambda base, more: json.dumps({**base, **more}), BASES, st.dictionaries(NAMES, VALUES, max_size=2))

ANYTHING = (INI | JSON | st.text().map("{{{}".format)).map(lambda text: text.encode(errors="replace")) | st.binary()


@given(ANYTHING, st.sampled_from([None, "client", "server"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_settings_or_an_error(tmp_path: Path, content: bytes, mode: str | None) -> None:
    file = tmp_path / "c"
    file.write_bytes(content)
    assert outcome(file, mode) in ("settings", "refused, naming the file")
