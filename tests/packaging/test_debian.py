"""debian/ keeps up with the project: its version, libraries, commands and units are all packaged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = ROOT / "debian"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = [DEBIAN / "tests/configuration", DEBIAN / "tests/tunnel", *sorted(DEBIAN.glob("*.p[or][se]*[tm]"))]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What packaging/install puts below its DESTDIR."""
    to = tmp_path_factory.mktemp("destdir")
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run([ROOT / "packaging/install", to], env=environment, check=True)
    return {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}


def patterns() -> list[str]:
    """The files that some package takes, as dh_install reads them."""
    return [line for file in DEBIAN.glob("*.install") for line in file.read_text().split()]


def test_the_version_is_the_projects() -> None:
    head = (DEBIAN / "changelog").read_text().splitlines()[0]
    assert re.fullmatch(rf"mqvpn \({re.escape(PROJECT['version'])}-\d+\) \w+; urgency=medium", head)


def test_every_library_is_a_dependency() -> None:
    control = (DEBIAN / "control").read_text()
    common = control.partition("Package: mqvpn-common\n")[2].partition("Description:")[0]
    build = control.partition("Build-Depends:")[2].partition("\n\n")[0]
    for requirement in PROJECT["dependencies"]:
        name = re.split("[<>=]", requirement)[0]
        assert f" python3-{name},\n" in common
        assert f" python3-{name},\n" in build


def test_every_command_is_in_a_package() -> None:
    for command in PROJECT["scripts"]:
        assert f"usr/bin/{command}" in patterns()


def test_all_that_is_installed_is_in_a_package(installed: set[str]) -> None:
    def taken(path: str) -> bool:
        return any(fnmatch(path, pattern) or path.startswith(f"{pattern}/") for pattern in patterns())

    assert sorted(path for path in installed if not taken(path)) == []


def test_everything_in_systemd_is_installed(installed: set[str]) -> None:
    sources = [path for path in (ROOT / "systemd").iterdir() if path.is_file()]
    assert len([path for path in installed if not path.startswith("usr/share/man/")]) >= len(sources)
    for path in sources:
        if path.suffix in (".service", ".socket", ".target", ".slice"):
            assert f"usr/lib/systemd/system/{path.name}" in installed


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_in_order(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True)
    text = script.read_text()
    assert "set -e" in text
    if script.parent == DEBIAN:
        assert "\n#DEBHELPER#\n" in text
