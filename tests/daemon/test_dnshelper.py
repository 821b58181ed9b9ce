"""mqvpn-dns: one request on standard input, one answer; what it changed comes back by hand too."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from mqvpn.daemon.dnshelper import STATE
from mqvpn.system.dns import LinkDns
from mqvpn.system.dnsrequest import Answer, Request, decode_answer
from tests.lab.mounts import own, private_mounts
from tests.lab.net import ROOT

pytestmark = pytest.mark.netns

APPLY = Request("apply", "home", "mq-home", "auto", LinkDns((ip_address("9.9.9.9"),)))
RESTORE = Request("restore", "home")
RESOLV_CONF = Path("/etc/resolv.conf")
FAKE = ROOT / "tests" / "fakes" / "resolvconf"


def mqvpn_dns(*argv: str, line: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mqvpn.cli.dns", *argv],
        input=line, capture_output=True, cwd=ROOT, timeout=60, env=os.environ | environment,
    )  # fmt: skip


def serve(request: Request, **environment: str) -> Answer:
    done = mqvpn_dns("serve", line=request.encode(), **environment)
    assert done.returncode == 0, done.stderr
    return decode_answer(done.stdout)


def machine(directory: Path) -> None:
    """An /etc whose resolv.conf is ours to write, and a state directory."""
    own(directory, "/etc", "/var/lib")
    RESOLV_CONF.unlink(missing_ok=True)
    RESOLV_CONF.write_text("nameserver 192.0.2.1\n")


def test_requests_are_answered(tmp_path: Path) -> None:
    def body() -> None:
        machine(tmp_path)
        assert serve(APPLY) == Answer(by="file")
        assert "nameserver 9.9.9.9\n" in RESOLV_CONF.read_text()
        assert STATE.stat().st_mode & 0o777 == 0o700
        assert serve(RESTORE) == Answer()
        assert RESOLV_CONF.read_text() == "nameserver 192.0.2.1\n"
        serve(APPLY)
        RESOLV_CONF.write_text("nameserver 198.51.100.1\n")
        assert "another program wrote" in serve(RESTORE).note

    private_mounts(body)


def test_by_hand(tmp_path: Path) -> None:
    def body() -> None:
        machine(tmp_path)
        for argv in (("restore", "home"), ("restore",)):
            serve(APPLY)
            done = mqvpn_dns(*argv)
            assert (done.returncode, done.stderr) == (0, b"")
            assert RESOLV_CONF.read_text() == "nameserver 192.0.2.1\n"

    private_mounts(body)


def test_the_clean_up_after_a_client_that_was_killed(tmp_path: Path) -> None:
    def body() -> None:
        machine(tmp_path)
        config = tmp_path / "client-home.conf"
        config.write_text("[Server]\nAddress = h\n[Interface]\nManageRoutes = no\n")
        config.chmod(0o600)
        serve(APPLY)
        argv = (sys.executable, "-m", "mqvpn.cli.main", "--config", str(config), "--clean-up")
        subprocess.run(argv, cwd=ROOT, check=True)
        assert RESOLV_CONF.read_text() == "nameserver 192.0.2.1\n"

    private_mounts(body)


def test_resolvconf_goes_first(tmp_path: Path) -> None:
    def body() -> None:
        machine(tmp_path)
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "resolvconf").symlink_to(FAKE)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "FAKE_RESOLVCONF": str(programs)}
        assert serve(APPLY, **environment) == Answer(by="resolvconf")
        assert "mq-home.mqvpn" in (programs / "records").read_text()
        assert RESOLV_CONF.read_text() == "nameserver 192.0.2.1\n"
        # The other mode next time: what the first one left goes.
        file = Request("apply", "home", "mq-home", "file", APPLY.dns)
        assert serve(file, **environment) == Answer(by="file")
        assert (programs / "records").read_text() == "{}"
        assert serve(RESTORE, **environment) == Answer()
        assert RESOLV_CONF.read_text() == "nameserver 192.0.2.1\n"

    private_mounts(body)


def test_a_request_that_is_none_is_refused_and_answered(tmp_path: Path) -> None:
    def body() -> None:
        machine(tmp_path)
        for line in (b"", b"x\n", b'{"verb": "apply"}\n', b"a" * 100_000):
            done = mqvpn_dns("serve", line=line)
            assert decode_answer(done.stdout).error.startswith("refused: ")
        missing = Request("apply", "home", "mq-home", "resolvconf", APPLY.dns)
        assert serve(missing, PATH="/nowhere").error.startswith("set the DNS by resolvconf: it is not installed; ")

    private_mounts(body)


def test_a_user_is_told_to_ask_the_root_part() -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-S", "-c", "import os; os.listdir('.')"],
        cwd=ROOT, capture_output=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("another user cannot read this checkout")
    user = ("setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "mqvpn.cli.dns", "restore", "home")
    done = subprocess.run(user, cwd=ROOT, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(b"ask /run/mqvpn/dns.sock: ")
