"""FILE.d/*.conf: their order, that lists replace, that an empty value takes back, and whose file a message names."""

from pathlib import Path

import pytest

from mqvpn.cli import main
from mqvpn.config.client import ClientSettings
from mqvpn.config.errors import ConfigError
from mqvpn.config.load import load
from mqvpn.config.values import PathSetting

BASE = "[Server]\nAddress = vpn.example\n[Interface]\nMTU = 1300\nDNS = 9.9.9.9\n[Multipath]\nPath = eth0, eth1\n"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "client-home.conf", BASE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "client-home.conf.d"


def client(file: Path) -> ClientSettings:
    settings = load(file)
    assert isinstance(settings, ClientSettings)
    return settings


def test_later_names_win_and_the_rest_stays(file: Path, folder: Path) -> None:
    write(folder / "50-b.conf", "[Interface]\nMTU = 1350\nLogLevel = debug\n")
    write(folder / "10-a.conf", "[Interface]\nMTU = 1340\nLogLevel = warn\nReconnectInterval = 7\n")
    settings = client(file)
    assert (settings.mtu, settings.log_level, settings.reconnect_interval) == (1350, "debug", 7)
    assert settings.server_addr.host == "vpn.example"


def test_lists_replace(file: Path, folder: Path) -> None:
    write(folder / "paths.conf", "[Multipath]\nPath = wlan0\nPath = wwan0\n")
    assert client(file).paths == (PathSetting("wlan0"), PathSetting("wwan0"))


def test_an_empty_value_takes_back(file: Path, folder: Path) -> None:
    write(folder / "none.conf", "[Multipath]\nPath =\n[Interface]\nDNS =\nMTU =\n")
    settings = client(file)
    assert (settings.paths, settings.dns, settings.mtu) == ((), (), 0)


def test_json_and_ini_may_be_mixed(file: Path, folder: Path) -> None:
    write(folder / "json.conf", '{"paths": ["wwan0"], "dns": []}')
    settings = client(file)
    assert (settings.paths, settings.dns, settings.mtu) == ((PathSetting("wwan0"),), (), 1300)


def test_other_files_there_are_not_read(file: Path, folder: Path) -> None:
    for name in ("a.conf.bak", "README", ".hidden.conf", "b.conf~"):
        write(folder / name, "nonsense\n")
    assert client(file).mtu == 1300


def test_rules_are_replaced_together(tmp_path: Path) -> None:
    rules = "[Reorder]\nEnabled = on\n[ReorderRule]\nPort = 443\n[ReorderRule]\nPort = 80\n"
    rules += "[TLS]\nCert = c\n[Auth]\nKey = k\n"
    file = write(tmp_path / "server.conf", rules)
    write(tmp_path / "server.conf.d" / "rule.conf", "[ReorderRule]\nPort = 53\n")
    assert [rule.port for rule in load(file).reorder] == [53]


def test_messages_name_the_drop_in(file: Path, folder: Path) -> None:
    wrong = write(folder / "x.conf", "\n[Interface]\nMTU = 20\n")
    with pytest.raises(ConfigError, match=rf"^{wrong}:3: \[Interface\] MTU: 20 is out of range"):
        load(file)
    wrong.write_text("[Interface]\nMTTU = 20\n")
    with pytest.raises(ConfigError, match=rf"^{wrong}:2: \[Interface\] MTTU: unknown key"):
        load(file)
    wrong.unlink()
    wrong.mkdir()
    with pytest.raises(ConfigError, match=rf"^{wrong}: cannot be read: Is a directory"):
        load(file)


def test_a_drop_in_that_shows_its_key(file: Path, folder: Path) -> None:
    shown = write(folder / "key.conf", "[Auth]\nKey = s3cr3t\n", 0o644)
    with pytest.raises(ConfigError, match=f"{shown}: holds a key .* run: chmod o-rwx {shown}"):
        load(file)


def test_check_covers_drop_ins(file: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--check", str(file)]) == 0
    wrong = write(folder / "x.conf", "[Interface]\nMTU = 20\n")
    assert main.main(["--check", str(file)]) == 78
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{wrong}:2: ")
