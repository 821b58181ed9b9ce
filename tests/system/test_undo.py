"""The undo journal: what is noted is found again, whoever dies when; and who may have it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from mqvpn.system import change, namespace
from mqvpn.system.routing import Slot
from mqvpn.system.undo import FILE, NOTHING, Change, JournalUnwritable, Lent, Record, Undo
from tests.lab.mounts import mount, private_mounts
from tests.lab.net import ROOT, Net
from tests.system.inside import inside
from tests.system.killed import killed_at

FULL = Record(
    slot=Slot(3, 28020),
    tables=("mqvpn_mqs0",),
    block="home",
    former=("192.0.2.1",),
    dns="home",
    sysctls={"net/ipv4/ip_forward": Change("0", "1")},
    lent=Lent(name="tun0", mtu=1500, addresses=("192.0.2.1/24", "fd00::1/64"), up=True, queue=500, gso_max_size=65536),
)
FIELDS = ("slot", "tables", "block", "dns", "former", "sysctls", "lent")


def note_all(undo: Undo) -> None:
    undo.note(**{name: getattr(FULL, name) for name in FIELDS})


def test_a_successor_finds_what_was_noted(tmp_path: Path) -> None:
    note_all(Undo(tmp_path / "client-home"))
    successor = Undo(tmp_path / "client-home")
    assert successor.record == FULL
    successor.done(*FIELDS)
    assert Undo(tmp_path / "client-home").record == NOTHING
    assert os.listdir(tmp_path / "client-home") == []


def test_other_instances_are_seen(tmp_path: Path) -> None:
    note_all(Undo(tmp_path / "client-home"))
    assert Undo(tmp_path / "client-work").others() == [FULL]
    assert Undo(tmp_path / "client-home").others() == []


def test_killed_at_each_line_the_old_or_the_new_record_is_there(tmp_path: Path) -> None:
    first = Record(block="home")
    for step in range(1, 100):
        Undo(tmp_path).note(block="home")
        died = killed_at(step, lambda: note_all(Undo(tmp_path)), "undo.py", "durable.py")
        found = Undo(tmp_path)
        assert found.record in (first, FULL)
        found.done(*FIELDS)
        if not died:
            break
    assert 10 < step < 100


@pytest.mark.parametrize("text", ["", "[]", '{"slot": 1}', "\0", '{"namespace": "%s", "slot": 5}'])
def test_a_broken_journal_is_said_and_not_used(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_text(text.replace("%s", namespace.identity()))
    assert Undo(tmp_path).record == NOTHING
    assert "what was changed before is not known" in caplog.text


@pytest.mark.netns
def test_a_journal_of_another_network_is_not_ours(net: Net, tmp_path: Path) -> None:
    note_all(Undo(tmp_path))
    assert inside(net.namespace("other"), lambda: Undo(tmp_path).record) == NOTHING


@pytest.mark.netns
def test_on_a_full_disk_the_old_record_stands(tmp_path: Path) -> None:
    def body() -> None:
        mount("-t", "tmpfs", "-o", "size=8k", "tmpfs", str(tmp_path))
        undo = Undo(tmp_path)
        undo.note(block="home")
        with pytest.raises(JournalUnwritable, match="No space left on device; make room there"):
            undo.note(tables=tuple(f"mqvpn_{number:05}" for number in range(1000)))
        assert undo.record == Undo(tmp_path).record == Record(block="home")
        assert os.listdir(tmp_path) == [FILE]

    private_mounts(body)


def test_one_process_has_it(tmp_path: Path) -> None:
    with Undo(tmp_path) as first, Undo(tmp_path) as second:
        assert first.lock()
        assert first.lock()
        assert not second.lock()
        first.close()
        assert second.lock()


def test_a_directory_of_our_own_goes_with_the_last_entry(tmp_path: Path) -> None:
    home = tmp_path / "client-home"
    for kept, passing in ((True, False), (False, True)):
        with Undo(home, passing=passing) as undo:
            assert undo.lock()
            undo.note(block="home")
        assert home.exists()
        with Undo(home, passing=passing) as undo:
            assert undo.lock()
            undo.done("block")
        assert home.exists() == kept


def test_the_file_is_json_with_the_names_of_the_record(tmp_path: Path) -> None:
    note_all(Undo(tmp_path))
    assert set(json.loads((tmp_path / FILE).read_text())) == {"namespace", *FIELDS}


def test_every_point_is_somewhere_and_no_other() -> None:
    """A change that has no point is one at which nobody tests a death."""
    text = "".join(path.read_text() for path in (ROOT / "mqvpn").rglob("*.py"))
    used = set(re.findall(r'"([a-z-]+)"', "".join(re.findall(r"\bchange\((.*)\)", text))))
    assert used == set(change.POINTS)


def test_without_the_variable_a_point_is_nothing() -> None:
    assert change.change("route") is change.change("nat")


@pytest.mark.netns
def test_on_a_full_disk_all_can_be_undone_and_nothing_begun(tmp_path: Path) -> None:
    def inside_its_mounts() -> None:
        mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path))
        undo = Undo(tmp_path / "client-home")
        note_all(undo)
        undo.prove()
        try:
            with (tmp_path / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
        except OSError:
            pass
        with pytest.raises(JournalUnwritable, match="No space left"):
            undo.prove()
        with pytest.raises(JournalUnwritable):
            undo.note(block="work")
        for name in FIELDS:
            undo.done(name)
        assert os.listdir(tmp_path / "client-home") == []

    private_mounts(inside_its_mounts)
