"""DNS by the resolvconf program: our record comes, changes and goes, whoever is killed when."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from ipaddress import ip_address
from pathlib import Path

import pytest

from mqvpn.system import resolvconf
from mqvpn.system.dns import LinkDns
from mqvpn.system.errors import OperationFailed
from mqvpn.system.resolvconf import Resolvconf, find
from tests.system.killed import killed_at

FAKE = Path(__file__).parents[1] / "fakes" / "resolvconf"
DNS = LinkDns((ip_address("9.9.9.9"),), ("corp.example",))
OTHER = LinkDns((ip_address("10.0.0.53"),))


class Site:
    """The program in PATH with its records, an /etc, and a state directory of ours."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.programs, self.etc, self.state = (directory / name for name in ("programs", "etc", "state"))
        for path in (self.programs, self.etc, self.state):
            path.mkdir(parents=True)
        shutil.copy(FAKE, self.programs / "resolvconf")
        monkeypatch.setenv("FAKE_RESOLVCONF", str(self.programs))
        monkeypatch.setenv("PATH", str(self.programs), prepend=":")
        self.file = self.programs / "resolvconf"

    @property
    def resolvconf(self) -> Resolvconf:
        return Resolvconf(self.state, self.etc)

    def records(self) -> dict[str, str]:
        with contextlib.suppress(FileNotFoundError):
            answer: dict[str, str] = json.loads((self.programs / "records").read_text())
            return answer
        return {}

    def log(self) -> list[str]:
        return (self.programs / "log").read_text().splitlines()


@pytest.fixture
def site(room: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(room, monkeypatch)


def test_a_record_comes_and_goes(site: Site) -> None:
    site.resolvconf.apply("home", "mq-home", DNS)
    assert site.records() == {"mq-home.mqvpn": "nameserver 9.9.9.9\nsearch corp.example\n"}
    assert site.log() == ["-a mq-home.mqvpn -m 0 -x"]
    site.resolvconf.apply("home", "mq-home", OTHER)
    assert site.records() == {"mq-home.mqvpn": "nameserver 10.0.0.53\n"}
    site.resolvconf.restore("home")
    assert site.records() == {}
    assert list(site.state.iterdir()) == []
    calls = len(site.log())
    site.resolvconf.restore("home")
    assert len(site.log()) == calls


def test_the_record_of_an_interface_that_has_another_name_now(site: Site) -> None:
    site.resolvconf.apply("home", "mq-home", DNS)
    site.resolvconf.apply("home", "tun7", DNS)
    assert list(site.records()) == ["tun7.mqvpn"]


def test_debians_resolvconf_goes_by_the_name(site: Site) -> None:
    (site.etc / "resolvconf").mkdir()
    (site.etc / "resolvconf" / "interface-order").write_text("lo.inet*\ntun*\neth*\n")
    site.resolvconf.apply("home", "mq-home", DNS)
    site.resolvconf.restore("home")
    assert site.log() == ["-a tun.mq-home.mqvpn", "-d tun.mq-home.mqvpn"]


def test_several_instances(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.resolvconf.apply(name, f"tun-{name}", DNS)
    site.resolvconf.restore("b")
    assert list(site.records()) == ["tun-a.mqvpn", "tun-c.mqvpn"]
    site.resolvconf.restore(None)
    assert site.records() == {}


def test_what_it_says_when_it_fails(site: Site) -> None:
    (site.programs / "fail").touch()
    said = r"resolvconf -a mq0.mqvpn -m 0 -x: exit status 1 \(resolvconf: cannot lock\); see what resolvconf says"
    with pytest.raises(OperationFailed, match=said):
        site.resolvconf.apply("home", "mq0", DNS)
    assert site.log() == ["-a mq0.mqvpn -m 0 -x", "-f -d mq0.mqvpn"]
    (site.programs / "fail").unlink()
    site.resolvconf.restore("home")
    assert list(site.state.iterdir()) == []


def test_it_must_end_in_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvconf, "LIMIT", 0.3)
    (site.programs / "hang").touch()
    with pytest.raises(OperationFailed, match="did not end within 0 s"):
        site.resolvconf.apply("home", "mq0", DNS)


def test_resolvectl_by_that_name_does_not_count(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvconf, "PATH", "")
    assert find() == str(site.file)
    site.file.rename(site.programs / "resolvectl")
    site.file.symlink_to("resolvectl")
    monkeypatch.setenv("PATH", str(site.programs))
    assert find() is None
    with pytest.raises(OperationFailed, match="it is not installed"):
        site.resolvconf.apply("home", "mq0", DNS)


def test_a_program_that_was_removed_meanwhile(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.resolvconf.apply("home", "mq0", DNS)
    site.file.unlink()
    monkeypatch.setattr(resolvconf, "PATH", "")
    monkeypatch.setenv("PATH", str(site.programs))
    site.resolvconf.restore("home")
    assert list(site.state.iterdir()) == []


def test_killed_before_any_line(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in itertools.count(1):
        site = Site(room / str(step), monkeypatch)
        ended = not killed_at(
            step,
            lambda site=site: (site.resolvconf.apply("home", "mq0", DNS), site.resolvconf.restore("home")),
            "resolvconf.py",
            "durable.py",
        )
        site.resolvconf.restore(None)
        assert site.records() == {}
        assert not (site.state / "resolvconf.json").exists()
        if ended:
            assert step > 10
            break
