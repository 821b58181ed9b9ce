"""The commands: flags to settings, exit statuses, and how little is imported to answer."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from types import ModuleType

import pytest

from mqvpn.cli import main
from mqvpn.config.client import ClientSettings
from mqvpn.config.server import ServerSettings
from mqvpn.config.values import HostPort, PathSetting, Secret, User

Settings = ServerSettings | ClientSettings
Run = Callable[..., tuple[int, Settings]]


class Daemon(ModuleType):
    """Stands where a daemon's module is imported: keeps the settings, ends with status 69."""

    settings: Settings

    def run(self, settings: Settings, load: Callable[[], Settings]) -> int:
        self.settings = settings
        assert load() == settings  # a reload reads the same again
        return os.EX_UNAVAILABLE


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command up to the daemon; returns its status and the settings it gave to which daemon."""

    def run(*argv: str, command: Callable[[tuple[str, ...]], int] = main.main) -> tuple[int, Settings]:
        client, server = Daemon("client"), Daemon("server")
        monkeypatch.setitem(sys.modules, "mqvpn.daemon.client", client)
        monkeypatch.setitem(sys.modules, "mqvpn.daemon.server", server)
        status = command(argv)
        used = client if hasattr(client, "settings") else server
        assert isinstance(used.settings, ClientSettings if used is client else ServerSettings)
        return status, used.settings

    return run


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "auth.key"
    file.write_text("a key\n")
    return file


def test_client_flags(run: Run, key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--mode client --server [2001:db8::1]:4433 --path eth0 --path wlan0 --insecure"
    more = "--tls-server-name vpn --no-manage-routes --no-reconnect --scheduler minrtt --log-level debug"
    rest = "--tun-name t0 --dns 1.1.1.1 --dns 9.9.9.9 --mtu 1400 --cc cubic --init-max-path-id 4 --auth-key"
    dns = "--dns-mode file --domain Corp.Example. --domain ~lab"
    status, settings = run(*flags.split(), *more.split(), *dns.split(), *rest.split(), f"file:{key_file}")
    assert status == os.EX_UNAVAILABLE
    assert settings == ClientSettings(
        server_addr=HostPort("2001:db8::1", 4433),
        paths=(PathSetting("eth0"), PathSetting("wlan0")),
        auth_key=Secret("a key"),
        dns=(IPv4Address("1.1.1.1"), IPv4Address("9.9.9.9")),
        dns_mode="file",
        domains=("corp.example", "~lab"),
        insecure=True,
        tls_server_name="vpn",
        manage_routes=False,
        reconnect=False,
        scheduler="minrtt",
        log_level="debug",
        tun_name="t0",
        mtu=1400,
        cc="cubic",
        init_max_path_id=4,
        warnings=settings.warnings,
    )
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split(":")[:2] for line in warnings] == [
        ["warning", " [Server] Insecure"],
    ]


def test_whom_to_trust_by_flags(run: Run) -> None:
    pins = [f"sha256//{letter * 42}A=" for letter in "BC"]
    _, settings = run("--server", "vpn.example.com", "--pin", pins[0], "--pin", pins[1], "--ca", "ca.pem")
    assert isinstance(settings, ClientSettings)
    assert (settings.pins, settings.ca_file) == (tuple(pins), "ca.pem")


def test_server_flags(run: Run, key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, settings = run(
        "--listen",
        "[::]:4433",
        "--subnet",
        "10.9.0.0/16",
        "--subnet6",
        "fd00::/64",
        "--cert",
        "c",
        "--key",
        "k",
        "--auth-key",
        "s3cr3t",
        "--user",
        f"alice:file:{key_file}",
        "--user",
        "bob:k:2",
        "--max-clients",
        "3",
        "--control-port",
        "9090",
    )
    assert isinstance(settings, ServerSettings)
    assert (str(settings.listen), str(settings.subnet), str(settings.subnet6)) == (
        "[::]:4433",
        "10.9.0.0/16",
        "fd00::/64",
    )
    assert (settings.cert_file, settings.key_file, settings.max_clients) == ("c", "k", 3)
    assert settings.auth_key == Secret("s3cr3t")
    assert settings.users == (User("alice", Secret("a key")), User("bob", Secret("k:2")))
    stderr = capsys.readouterr().err
    assert settings.control_listen == HostPort("127.0.0.1", 9090)
    assert [line.split(":")[1] for line in stderr.splitlines()] == [
        " --auth-key",
        " --user",
    ]
    assert "ps" in stderr
    assert "s3cr3t" not in stderr


def test_commands_with_a_mode(run: Run, key_file: Path) -> None:
    assert isinstance(run("--auth-key", f"file:{key_file}", command=main.server)[1], ServerSettings)
    assert isinstance(run("--server", "h", command=main.client)[1], ClientSettings)


def test_flags_override_the_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text("[Server]\nAddress = h\n[Multipath]\nPath = eth0\n")
    _, settings = run("-C", str(file), "--path", "usb0", "--no-reconnect")
    assert settings == ClientSettings(server_addr=HostPort("h", 443), paths=(PathSetting("usb0"),), reconnect=False)


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c"
    file.write_text("[Server]\nAddress = h\n[Multipath]\nScheduler = backup_fec\n")
    assert main.main(["--check", str(file)]) == os.EX_OK
    output = capsys.readouterr()
    assert output.out == f"{file}: valid, client\n"
    assert output.err.startswith(f"warning: {file}:4: [Multipath] Scheduler: backup_fec: there is no")
    file.write_text("[Server]\nAddres = h\n")
    assert main.main(["--check", str(file)]) == os.EX_CONFIG
    assert capsys.readouterr().err == f"{file}:2: [Server] Addres: unknown key; did you mean Address?\n"


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["--config", "/no/such/file"], os.EX_CONFIG),
        (["--mode", "client"], os.EX_CONFIG),
        (["--mode", "server"], os.EX_CONFIG),
        (["--server", "h", "--auth-key", "file:/no/such"], os.EX_CONFIG),
    ],
)
def test_wrong_configuration(argv: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(argv) == status
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--nonsense"],
        ["--mode", "peer"],
        ["--server", "h", "--mtu", "20"],
        ["--server", "h", "--dns", "x"],
        ["--server", "h", "--domain", "a..b"],
        ["--server", "h", "--dns-over-tls", "maybe"],
        ["--server", "h:0"],
        ["--listen", "example.com:1"],
        ["--log-level", "loud"],
        ["--serv", "h"],
        ["file"],
    ],
)
def test_wrong_usage(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(argv)
    assert ended.value.code == 2


def test_genkey(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--genkey"]) == os.EX_OK
    assert main.main(["--genkey"]) == os.EX_OK
    first, second = capsys.readouterr().out.splitlines()
    assert len(base64.b64decode(first, validate=True)) == 32
    assert first != second


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """The flags of the C mqvpn's command line."""
    with pytest.raises(SystemExit) as ended:
        main.main(["--help"])
    assert ended.value.code == os.EX_OK
    text = capsys.readouterr().out
    for flag in (
        "--config",
        "--mode",
        "--genkey",
        "--version",
        "--tun-name",
        "--listen",
        "--subnet",
        "--subnet6",
        "--log-level",
        "--kill-switch",
        "--no-manage-routes",
        "--no-reconnect",
        "--mtu",
        "--dns",
        "--dns-mode",
        "--domain",
        "--dns-over-tls",
        "--server",
        "--tls-server-name",
        "--insecure",
        "--pin",
        "--ca",
        "--cert",
        "--key",
        "--auth-key",
        "--user",
        "--max-clients",
        "--control-port",
        "--control-addr",
        "--scheduler",
        "--cc",
        "--path",
        "--init-max-path-id",
    ):
        assert f"  {flag} " in text or f", {flag} " in text
    with pytest.raises(SystemExit):
        main.client(["--help"])
    assert "--listen" not in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--version", "--help", "--genkey"])
def test_answers_without_heavy_imports(flag: str) -> None:
    code = (
        "import sys\nfrom mqvpn.cli.main import main\n"
        f"try:\n    main([{flag!r}])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'aioquic', 'pyroute2', 'configobj', 'asyncio', 'cryptography'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.splitlines()[-1] == "[]"
    assert output.stdout.splitlines()[0]
