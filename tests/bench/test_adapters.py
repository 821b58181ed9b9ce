"""A script in the folder of rivals is all that another VPN needs to be measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import adapters
from tests.bench.measure import Figures, alternate, open_ways, ping_times
from tests.bench.record import Record
from tests.bench.ways import UNSHAPED, Way, rival_plans

# A "tunnel" without any: the inner addresses are of the loopback interfaces, and the link leads there.
SCRIPT = """\
#!/bin/sh
set -eu
verb=$1
shift
echo "$verb $*" >>"$(dirname "$0")/calls"
case $verb in
    check) if [ "$1" = 1 ]; then echo "plain 1.0"; else echo "uses one link only"; exit 1; fi ;;
    up)
        ip -n "$1" address add 10.78.0.1/32 dev lo
        ip -n "$2" address add 10.78.0.2/32 dev lo
        ip -n "$2" route add 10.78.0.1 via "$3" src 10.78.0.2
        ip -n "$1" route add 10.78.0.2 via 10.1.0.2 src 10.78.0.1 ;;
    down) ip -n "$2" route delete 10.78.0.1 ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of rivals with nothing but that script, and a file that is no program."""
    (tmp_path / "plain").write_text(SCRIPT)
    (tmp_path / "plain").chmod(0o755)
    (tmp_path / "README").write_text("no adapter")
    monkeypatch.setattr(adapters, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.netns
def test_an_adapter_is_found_and_measured(folder: Path) -> None:
    record = Record("latency", rounds=1, seconds=1)

    def answered(way: Way) -> Figures:
        return {"answers": float(len(ping_times(way, 0.1)))}

    with open_ways(record, rival_plans(), UNSHAPED) as ways:
        alternate(record, ways, {"idle": answered})
    found = {(f["case"], f["way"], f["quantity"]): f["values"] for f in record.as_json()["figures"]}
    assert found["idle", "plain", "answers"] == [5.0]
    assert record.notes == {"plain": ["plain 1.0"]}
    calls = [line.split() for line in (folder / "calls").read_text().splitlines()]
    assert [call[0] for call in calls] == ["check", "up", "check", "down"]
    assert calls[1][1:] == calls[3][1:]
    assert calls[1][3:] == ["10.1.0.1", calls[1][4], "up0"]


def test_an_adapter_that_cannot_says_why_on_the_page(folder: Path) -> None:
    record = Record("dual", rounds=1, seconds=1)
    with open_ways(record, rival_plans(), UNSHAPED * 2) as ways:
        assert ways == []
    assert record.notes == {"plain": ["not measured: uses one link only"]}
    assert (folder / "calls").read_text() == "check 2\n"
