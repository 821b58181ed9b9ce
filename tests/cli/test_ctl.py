"""mqvpnctl against real sockets: what it prints, its exit statuses, whom it asks, and that it is quick."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mqvpn.cli import ctl, instances
from mqvpn.daemon.control import CallFailed, Method
from tests.fakes.daemons import CLIENT, LISTED, SERVER, answering, methods, pages, refuse, write_systemctl


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where sockets are looked for; no systemd."""
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr(instances, "RUN", str(run))
    monkeypatch.setattr(instances, "BOOTED", tmp_path / "no-systemd")
    return run


@pytest.fixture
def daemons(folder: Path) -> Iterator[Path]:
    """A server with three clients, and a client that is up."""
    reload = Method(lambda _: {"notes": ["[Interface] MTU needs a restart"]}, privileged=True)
    server = methods(SERVER, Clients=Method(pages, privileged=True), Reload=Method(refuse))
    with answering({folder / "server.sock": server, folder / "client-home.sock": methods(CLIENT, Reload=reload)}):
        yield folder


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a systemctl that is found first."""
    monkeypatch.setattr(instances, "BOOTED", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = ctl.main(argv)
    out, err = capsys.readouterr()
    return status, out, err


def test_status_of_all_that_run(daemons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "status")
    assert (status, err) == (0, "")
    for line in (
        "client home: connected for 1h",
        "  server     vpn.example:443, at 198.51.100.1:443",
        "  address    10.77.0.2, fd77::2 on mq0, MTU 1368",
        "  traffic    1.0 MB out, 33 MB in",
        "  dropped    2 no_route",
        "server: serving [::]:443 for 1h",
        "  clients    1 of 64, 0 on their way, 3 so far",
        "  refused    2 with status 403",
        "  traffic    2.0 kB out, 1.0 kB in on mqs0",
        "  dropped    7 tun_queue, 2 no_route",
    ):
        assert line in out.splitlines()
    assert re.search(r"^ +0  eth0 +active +12\.3 ms +0\.5% +1\.2 MB +34 MB +100\.0 Mbit/s", out, re.M)
    assert re.search(r"^ +wwan0 +none .*does not answer$", out, re.M)


def test_what_a_client_chose_and_why(daemons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "status", "home")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "reordered 2.5% of 20000 packets waited, 31 ms at most; gaps: 40 filled, 2 lost; besides: 3 late",
        "SERVER STATE",
        "near.example:443 failed: no answer from 192.0.2.9:443",
        "vpn.example:443 in use",
        "far.example:443 not needed",
        "wwan0 1.2 GB 5.0 GB month 24.0%",
        "ROUTE GOES WHY",
        "0.0.0.0/0 into the tunnel Routes = default",
        "::/0 nowhere the tunnel carries no IPv6",
        "192.0.2.0/24 past the tunnel Exclude",
        "10.0.0.0/24 as before advertised, but n",
        "and 7 more, which --json tells",
    ):
        assert line in lines, out
    assert "eth0 - " not in out


def test_who_unblocks_another_than_he_means_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nft = tmp_path / "nft"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for tables, told in (
        ("table inet mqvpn_block_home\ntable inet filter", "hom blocks nothing, but mqvpn_block_home stands: "),
        ("table inet filter", "nothing is blocked\n"),
    ):
        nft.write_text(f"#!/bin/sh\nprintf '{tables}'\n")
        nft.chmod(0o755)
        assert ctl.main(["unblock", "hom"]) == 0
        assert capsys.readouterr().out.startswith(told)


def test_a_client_of_one_server_without_caps_has_no_such_tables(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = {key: value for key, value in CLIENT.items() if key not in ("servers", "routes", "reordering")}
    with answering({folder / "client-home.sock": methods(plain | {"interfaces": []})}):  # one of an older version
        _, out, err = run(capsys, "status")
    assert err == ""
    for word in ("SERVER", "METERED", "ROUTE", "reordered"):
        assert word not in out


def test_one_instance(daemons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("home", "client-home"):
        status, out, _ = run(capsys, "status", name)
        assert (status, out.count("home:")) == (0, 1)
        assert "server:" not in out
    status, out, _ = run(capsys, "status", "--socket", str(daemons / "server.sock"))
    assert (status, out.startswith("server:")) == (0, True)


def test_json_is_one_object(daemons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "status", "--json")
    assert json.loads(out) == {"schema": 1, "instances": [CLIENT, SERVER]}
    _, out, _ = run(capsys, "paths", "--json", "home")
    [one] = json.loads(out)["instances"]
    assert one == {key: CLIENT[key] for key in ("role", "instance", "paths", "interfaces")}
    _, out, _ = run(capsys, "clients", "--json")
    [one] = json.loads(out)["instances"]
    assert [client["number"] for client in one["clients"]] == [5, 6, 7]


def test_paths_of_clients_and_of_the_server(daemons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "paths")
    client, server = out.split("server:")
    assert client.startswith("client home:\n")
    assert re.search(r"^ +0  eth0 +active", client, re.M)
    assert len(re.findall(r"^ +[567]  alice +0  active +12\.3 ms", server, re.M)) == 3


def test_clients(daemons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "clients")
    assert status == 0
    row = r"^ +5  alice  10\.77\.0\.2 +1min +1/1 +12 ms +1\.0 MB +33 MB +2\.5%  198\.51\.100\.1:443$"
    assert re.search(row, out, re.M)
    status, out, err = run(capsys, "clients", "home")
    assert (status, out, err) == (1, "", "mqvpnctl: client home: it cannot do that\n")


def test_reload_says_what_came_of_it(daemons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "reload", "home")
    assert (status, out, err) == (0, "client home: reloaded\n  [Interface] MTU needs a restart\n", "")
    status, out, err = run(capsys, "reload")
    assert (status, out.count("reloaded")) == (1, 1)
    assert err == "mqvpnctl: server: client-home.conf:3: [Interface] MTU: write a number\n"


def test_version(daemons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "version")
    own, *others = out.splitlines()
    assert (status, own[:9], others) == (0, "mqvpnctl ", ["client home 1.2.3", "server 1.2.3"])


def test_nothing_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "status") == (69, "", "mqvpnctl: no daemon of mqvpn is running\n")
    assert run(capsys, "paths", "x") == (69, "", "mqvpnctl: x: it is not running (mqvpnctl up x)\n")
    status, out, err = run(capsys, "version")
    assert (status, out[:9], err) == (0, "mqvpnctl ", "")
    assert run(capsys, "status", "--socket", str(folder / "x.sock"))[0] == 69


def test_a_dead_daemons_socket(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering({folder / "server.sock": methods(SERVER)}):
        os.link(folder / "server.sock", folder / "client-dead.sock")
    assert run(capsys, "status") == (69, "", "mqvpnctl: no daemon of mqvpn is running\n")
    assert run(capsys, "status", "dead") == (69, "", "mqvpnctl: client dead: it is not running\n")


def test_not_allowed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def denied(_: object) -> dict[str, object]:
        raise CallFailed("PermissionDenied", group="mqvpn-admin")

    with answering({folder / "server.sock": methods(SERVER, Clients=Method(denied))}):
        status, _, err = run(capsys, "clients")
    assert status == 77
    assert err == "mqvpnctl: server: only root and members of the group mqvpn-admin may ask for this\n"


@pytest.mark.parametrize("argv", ["", "nonsense", "status --nonsense", "status a b", "up", "up -x"])
def test_wrong_usage(argv: str) -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(argv.split())
    assert ended.value.code == 2


def test_up_and_down_ask_systemd(systemd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_systemctl(systemd, {})
    assert run(capsys, "up", "home")[0] == 0
    assert run(capsys, "down", "server")[0] == 0
    assert log.read_text().splitlines() == ["start -- mqvpn-client@home.service", "stop -- mqvpn-server.service"]
    assert run(capsys, "up", "a/b") == (2, "", "mqvpnctl: a/b: not the name of an instance\n")
    for theirs, ours in ((4, 77), (1, 1), (5, 1)):
        write_systemctl(systemd, {}, theirs)
        assert run(capsys, "up", "home")[0] == ours


def test_without_systemd_nothing_goes_up(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "up", "home")
    assert (status, err) == (69, "mqvpnctl: systemd does not run here, or does not answer\n")


def test_a_status_starts_nothing(daemons: Path, systemd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the socket of the client is active: connecting would start its service."""
    states = {
        "mqvpn-server.service": "active",
        "mqvpn-server.socket": "active",
        "mqvpn-client@home.service": "inactive",
        "mqvpn-client@home.socket": "active",
    }
    write_systemctl(systemd, states)
    status, out, _ = run(capsys, "status")
    assert (status, "home" in out, "server:" in out) == (0, False, True)
    status, _, err = run(capsys, "status", "home")
    assert (status, err) == (69, "mqvpnctl: home: it is not running (mqvpnctl up home)\n")
    for of_service, of_socket in (("activating", "active"), ("reloading", "active"), ("inactive", "inactive")):
        states |= {"mqvpn-client@home.service": of_service, "mqvpn-client@home.socket": of_socket}
        write_systemctl(systemd, states)
        assert run(capsys, "status", "home")[0] == 0


def test_what_a_peer_says_cannot_control_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed = {"reason": "\x1b[2J\nclient work: connected", "cause": "lost", "ago": 5}
    told = CLIENT | {"state": "closed", "next_attempt": 7, "last_close": closed, "paths": []}
    with answering({folder / "client-home.sock": methods(told)}):
        _, out, _ = run(capsys, "status")
    assert "client home: not connected, next attempt in 7 s" in out
    assert "  last end   5s ago: ?[2J?client work: connected" in out.splitlines()


def test_a_narrow_terminal(daemons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for width in (50, 70, 200):
        lines = ctl.VERBS["paths"].run(ctl.build_parser().parse_args(["paths", "home"]), width).lines
        assert max(map(len, lines)) <= width
        assert "eth0" in lines[1]
        assert "12.3 ms" in lines[1]


def test_watch_goes_on_until_interrupted(
    daemons: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(range(3))

    def interrupt(_: float) -> None:
        if next(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("mqvpn.cli.ctl.time.sleep", interrupt)
    status, out, _ = run(capsys, "status", "--watch", "--json", "home")
    assert (status, len(out.splitlines())) == (130, 3)


def processor_time(*argv: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Seconds that a program took of the processors."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def test_it_is_quick_and_light(daemons: Path) -> None:
    """Beside a Python that imports what any such tool needs: what else the machine does makes both slower."""
    program = (
        "import sys; from mqvpn.cli import ctl; status = ctl.main(sys.argv[1:]);"
        "heavy = {'aioquic', 'pyroute2', 'configobj', 'asyncio', 'mqvpn.daemon', 'mqvpn.config'};"
        "print(*sorted(heavy & set(sys.modules))); sys.exit(status)"
    )
    argv = (sys.executable, "-c", program, "status", "--socket", str(daemons / "client-home.sock"))
    ratios = []
    for _ in range(5):
        bare, _done = processor_time(sys.executable, "-c", "import argparse, dataclasses, json, socket")
        taken, done = processor_time(*argv)
        ratios.append(taken / bare)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == ""
    print("mqvpnctl status / bare Python:", *(f"{ratio:.2f}" for ratio in ratios))
    assert min(ratios) < 2.2


def test_a_reader_that_goes_away(daemons: Path) -> None:
    argv = (sys.executable, "-m", "mqvpn.cli.ctl", "status", "--socket", str(daemons / "client-home.sock"))
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(argv, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


def test_every_verb_is_explained() -> None:
    text = ctl.build_parser().format_help()
    for name in ctl.VERBS:
        assert f"    {name} " in text
    assert LISTED["user"] == "alice"


@pytest.mark.parametrize(("levels", "status"), [(["ok", "warning"], 0), (["problem", "ok"], 1)])
def test_diagnose(folder: Path, capsys: pytest.CaptureFixture[str], levels: list[str], status: int) -> None:
    findings = [{"level": level, "about": "path eth0", "text": "it is so"} for level in levels]
    told = methods(CLIENT, Diagnose=Method(lambda _: {"schema": 1, "findings": findings}))
    with answering({folder / "client-home.sock": told}):
        code, out, _ = run(capsys, "diagnose", "home")
        assert code == status
        marks = [level.upper() if level == "problem" else level for level in levels]
        assert out.splitlines() == ["client home:", *(f"  {mark:<8} path eth0  it is so" for mark in marks)]
        assert json.loads(run(capsys, "diagnose", "--json")[1])["instances"] == [
            {"instance": "home", "findings": findings}
        ]


def test_diagnose_where_nothing_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqvpn.cli.diagnose.ETC", tmp_path)
    nothing = "mqvpnctl: no daemon of mqvpn is running, and none is configured\n"
    assert run(capsys, "diagnose") == (69, "", nothing)
    status, _, err = run(capsys, "diagnose", "home")
    missing = f"mqvpnctl: client home: it is not running, and there is no {tmp_path}/client-home.conf\n"
    assert (status, err) == (69, missing)
    (tmp_path / "server.conf").write_text("[Interface]\nListen = nonsense\n")
    status, out, _ = run(capsys, "diagnose")
    assert (status, out.splitlines()[0]) == (1, "server:")
    assert "PROBLEM  configuration" in out


def test_a_block_that_stays_over_a_restart_is_nothing_to_speak_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In ExecStop= of mqvpn-block@, whose words go to the journal."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SERVICE_RESULT", "signal")
    monkeypatch.setenv("EXIT_STATUS", "KILL")
    assert run(capsys, "unblock", "home") == (0, "", "")
