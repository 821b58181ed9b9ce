"""/etc/resolv.conf: ours while we want it, then as it was, whoever is killed when and whoever else writes there."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mqvpn.system.dns import LinkDns
from mqvpn.system.errors import OperationFailed
from mqvpn.system.resolvfile import MARKER, ResolvFile, marked
from tests.lab.mounts import mount, private_mounts
from tests.system.killed import killed_at

HOME = LinkDns((ip_address("9.9.9.9"),), ("corp.example",))
WORK = LinkDns((ip_address("10.0.0.53"), ip_address("2620:fe::fe")))
HOME_TEXT = f"{MARKER}\nnameserver 9.9.9.9\nsearch corp.example\n"
WORK_TEXT = f"{MARKER}\nnameserver 10.0.0.53\nnameserver 2620:fe::fe\n"
BEFORE = "# the administrator's\nnameserver 192.0.2.1\noptions edns0 \xe9\n"
FOREIGN = "nameserver 198.51.100.1\n"


class Site:
    """A directory that stands for /etc, and a state directory."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.etc, self.state = directory / "etc", directory / "state"
        self.etc.mkdir(parents=True)
        self.state.mkdir()
        self.path = self.etc / "resolv.conf"
        if kind == "link":
            (self.etc / "elsewhere").write_text(BEFORE)
            self.path.symlink_to("elsewhere")
        elif kind == "dangling":
            self.path.symlink_to("../run/nothing")
        elif kind != "absent":
            self.path.write_bytes((BEFORE * (20 if kind == "long" else 1)).encode("latin-1"))
            self.path.chmod(0o640)
            os.utime(self.path, ns=(10**18, 10**18))
        if kind in ("mounted", "long"):
            mount("--bind", str(self.path), str(self.path))

    def files(self) -> ResolvFile:
        return ResolvFile(self.state, self.path)

    def snapshot(self) -> dict[str, Any]:
        """All that is in both directories."""
        return {str(path): _look(path) for top in (self.etc, self.state) for path in sorted(top.iterdir())}


def _look(path: Path) -> Any:
    if not os.path.lexists(path):
        return None
    if path.is_symlink():
        return os.readlink(path)
    status = path.stat()
    return (path.read_bytes(), oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)


KINDS = ["file", "link", "dangling", "absent"]
MOUNTED = ["mounted", "long"]


def each(*kinds: str) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("kind", [pytest.param(kind, marks=marks(kind)) for kind in kinds])


def marks(kind: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.netns] if kind in MOUNTED else []


def anywhere(kind: str, function: Callable[..., Any], *arguments: Any) -> None:
    """Run it, with mounts of its own if the kind needs them."""
    if kind in MOUNTED:
        private_mounts(function, *arguments)
    else:
        function(*arguments)


@each(*KINDS, *MOUNTED)
def test_applied_and_restored(room: Path, kind: str) -> None:
    def body() -> None:
        site = Site(room, kind)
        before = site.snapshot()
        site.files().apply("home", HOME)
        assert site.path.read_text() == HOME_TEXT
        assert marked(site.path)
        assert kind in MOUNTED or oct(site.path.lstat().st_mode) == "0o100644"
        site.files().apply("home", WORK)
        assert site.path.read_text() == WORK_TEXT
        assert site.files().restore("home")
        assert site.snapshot() == before
        assert not marked(site.path)

    anywhere(kind, body)


def test_what_a_link_leads_to_is_not_touched(room: Path) -> None:
    site = Site(room, "link")
    site.files().apply("home", HOME)
    assert (site.etc / "elsewhere").read_text() == BEFORE


@pytest.mark.parametrize("order", list(itertools.permutations(["a", "b", "c"])))
def test_instances_may_end_in_any_order(room: Path, order: tuple[str, ...]) -> None:
    site = Site(room, "file")
    before = site.snapshot()
    wishes = {"a": HOME, "b": WORK, "c": LinkDns((ip_address("10.3.3.3"),))}
    for name, dns in wishes.items():
        site.files().apply(name, dns)
    for name in order:
        newest = list(wishes.values())[-1]
        assert site.path.read_text() == f"{MARKER}\n{newest.resolv_conf()}"
        del wishes[name]
        assert site.files().restore(name)
    assert site.snapshot() == before


def test_all_at_once(room: Path) -> None:
    site = Site(room, "file")
    before = site.snapshot()
    site.files().apply("home", HOME)
    site.files().apply("work", WORK)
    assert site.files().restore(None)
    assert site.snapshot() == before
    assert site.files().restore(None)


@each(*KINDS, *MOUNTED)
@pytest.mark.parametrize("how", ["written", "replaced", "appended", "linked", "removed"])
def test_what_another_program_wrote_stays(room: Path, kind: str, how: str) -> None:
    if kind in MOUNTED and how in ("replaced", "linked", "removed"):
        pytest.skip("a mounted file can only be written")

    def body() -> None:
        site = Site(room, kind)
        original = _look(site.path)
        site.files().apply("home", HOME)
        write_foreign(site.path, how)
        theirs = _look(site.path)
        assert site.files().restore("home") is (theirs == original)
        assert _look(site.path) == theirs
        assert list(site.state.iterdir()) == []
        # It is what the next one finds and puts back.
        site.files().apply("home", WORK)
        assert site.files().restore("home")
        assert _look(site.path) == theirs

    anywhere(kind, body)


def write_foreign(path: Path, how: str) -> None:
    if how == "written":
        path.write_text(FOREIGN)
    elif how == "appended":
        with path.open("a") as file:
            file.write(FOREIGN)
    else:
        path.unlink()
        if how == "replaced":
            path.write_text(FOREIGN)
        elif how == "linked":
            path.symlink_to("elsewhere")


def test_a_foreign_text_is_put_back_for_those_that_came_after_it(room: Path) -> None:
    site = Site(room, "file")
    site.files().apply("home", HOME)
    site.path.write_text(FOREIGN)
    site.files().apply("work", WORK)
    assert site.files().restore("work")
    assert site.path.read_text() == FOREIGN
    assert site.files().restore("home")
    assert site.path.read_text() == FOREIGN


MODULES = ("resolvfile.py", "durable.py")
Step = Callable[[Site], Any]


def apply_home(site: Site) -> None:
    site.files().apply("home", HOME)


def apply_work(site: Site) -> None:
    site.files().apply("work", WORK)


def restore(site: Site) -> None:
    site.files().restore("home")
    site.files().restore("work")


STORIES: dict[str, tuple[list[Step], Step]] = {
    "apply": ([], apply_home),
    "apply over another": ([apply_work], apply_home),
    "restore": ([apply_home], restore),
    "restore one of two": ([apply_work, apply_home], restore),
}


@each("file", "link", "absent", "long")
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("then", ["restore", "apply, restore", "foreign, restore"])
def test_killed_before_any_line(room: Path, kind: str, story: str, then: str) -> None:
    """Whatever was killed where: a later restore, or a later start and its restore, leave the machine as it was."""

    def body() -> int:
        first, killed = STORIES[story]
        for step in itertools.count(1):
            site = Site(room / str(step), kind)
            before = site.snapshot()
            for action in first:
                action(site)
            ended = not killed_at(step, lambda site=site: killed(site), *MODULES)
            check_after_death(site, before, then, kind)
            if ended:
                return step
        return 0

    anywhere(kind, body)


def check_after_death(site: Site, before: dict[str, Any], then: str, kind: str) -> None:
    path = str(site.path)
    now = _look(site.path)
    texts = [text.encode() for text in (HOME_TEXT, WORK_TEXT)]
    assert now == before.get(path) or now[0] in texts or kind in MOUNTED, "a reader met half a file"
    if then == "foreign, restore":
        if kind not in MOUNTED:
            site.path.unlink(missing_ok=True)
        site.path.write_text(FOREIGN)
        restore(site)
        assert site.path.read_text() == FOREIGN
        assert list(site.state.iterdir()) == []
        assert not [name for name in os.listdir(site.etc) if name.startswith(".")]
        return
    if then == "apply, restore":
        site.files().apply("home", WORK)
        assert site.path.read_text() == WORK_TEXT
    restore(site)
    assert site.snapshot() == before


@pytest.mark.netns
def test_a_read_only_etc_is_refused_and_nothing_is_left(room: Path) -> None:
    def body() -> None:
        site = Site(room, "file")
        mount("--bind", "-o", "ro", str(site.etc), str(site.etc))
        before = site.snapshot()
        with pytest.raises(OperationFailed, match=r"^write .*resolv.conf: Read-only file system; .*mqvpn-dns.socket"):
            site.files().apply("home", HOME)
        assert site.files().restore("home")
        assert site.snapshot() == before

    private_mounts(body)




def test_what_is_no_file_is_refused(room: Path) -> None:
    site = Site(room, "absent")
    site.path.mkdir()
    with pytest.raises(OperationFailed, match="no file of that kind"):
        site.files().apply("home", HOME)
    site.path.rmdir()
    subprocess.run(["mkfifo", site.path], check=True)
    with pytest.raises(OperationFailed, match="no file of that kind"):
        site.files().apply("home", HOME)


def test_a_state_that_cannot_be_read_changes_nothing(room: Path) -> None:
    site = Site(room, "file")
    for text in ("", "[]", "{}", '{"original": {"kind": 1, "x": 2}, "ours": [], "wishes": {}}'):
        (site.state / "resolv.conf.json").write_text(text)
        for verb in (apply_home, restore):
            with pytest.raises(OperationFailed, match=r"repair .*resolv\.conf by hand"):
                verb(site)
    assert site.path.read_bytes() == BEFORE.encode("latin-1")


def test_the_saved_file_is_for_root_alone(room: Path) -> None:
    site = Site(room, "file")
    apply_home(site)
    assert oct((site.state / "resolv.conf.json").stat().st_mode) == "0o100600"
