"""`credential:NAME` in the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqvpn.config.credential import VARIABLE, read_path_or_credential
from mqvpn.config.load import load
from mqvpn.config.server import ServerSettings
from mqvpn.config.values import Secret, User

SERVER = "[TLS]\nCert = credential:server.crt\nKey = /k\n[Auth]\nKey = credential:psk\nUser = a:credential:psk-2\n"


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "credentials"
    directory.mkdir()
    for name, text in {"psk": "s3cr3t\n", "psk-2": "other", "server.crt": ""}.items():
        (directory / name).write_text(text)
    monkeypatch.setenv(VARIABLE, str(directory))
    return directory


def test_keys_and_files_come_from_credentials(credentials: Path, tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    file.write_text(SERVER)
    file.chmod(0o644)  # no secret stands in it
    settings = load(file)
    assert isinstance(settings, ServerSettings)
    assert settings.auth_key == Secret("s3cr3t")
    assert settings.users == (User("a", Secret("other")),)
    assert settings.cert_file == str(credentials / "server.crt")
    assert settings.key_file == "/k"
    assert settings.warnings == ()


def test_a_credential_that_is_not_passed(credentials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "systemd passes no credential nope; write LoadCredential=nope:/FILE into the unit"
    with pytest.raises(ValueError, match=missing):
        Secret.read("credential:nope")
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ValueError, match="passes no credential psk"):
        read_path_or_credential("credential:psk")


@pytest.mark.parametrize("name", ["", ".", "..", "../psk", "a/b", "a:b", "\u00e4"])
def test_names_that_no_credential_has(credentials: Path, name: str) -> None:
    with pytest.raises(ValueError, match="the name of a credential is expected"):
        read_path_or_credential(f"credential:{name}")
