"""Files composed from the table: they read back, explain every setting, and stay true to the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqvpn.config.compose import compose
from mqvpn.config.file import read_ini
from mqvpn.config.load import load
from mqvpn.config.setting import Effect, Row
from mqvpn.config.table import CLIENT, SERVER

CERTAIN = {"users": ["alice:k;#y", "bob:it's"], "listen": ["[::]:443"], "cert_file": ["/a file,b"], "key_file": ["/k"]}


def test_what_is_written_is_read() -> None:
    for explain in (True, False):
        text = compose(SERVER.values(), CERTAIN, explain=explain)
        read: dict[str, list[str]] = {}
        for entry in read_ini("c", text):
            read.setdefault(entry.row.name, []).extend(entry.values)
        assert read == CERTAIN


@pytest.mark.parametrize("table", [SERVER, CLIENT])
def test_every_setting_is_explained(table: dict[str, Row]) -> None:
    text = compose(table.values(), {})
    for row in table.values():
        assert (f"\n# {row.key} = " in text) == (row.effect is Effect.WORKS), row.title
    assert all(len(line) <= 120 for line in text.splitlines())


def test_the_defaults_it_names_are_the_defaults(tmp_path: Path) -> None:
    """Uncommented, they change nothing; kinds of values (FILE) are no defaults."""
    needed = "[Auth]\nKey = k\n[Interface]\nListen = 0.0.0.0:443\n"
    lines = compose((row for row in SERVER.values() if row.default not in (None, "", ())), {}).splitlines()
    text = "\n".join(line.removeprefix("# ") if " = " in line else line for line in lines)
    files = [tmp_path / name for name in ("named", "left out")]
    for file, content in zip(files, (text + "\n[Auth]\nKey = k\n", needed), strict=True):
        file.write_text(content)
        file.chmod(0o600)
    assert load(files[0]) == load(files[1])


def test_a_value_with_both_quotes_is_refused() -> None:
    with pytest.raises(ValueError, match="both kinds of quotes"):
        compose(SERVER.values(), {"cert_file": ["a'b\"c"]})
