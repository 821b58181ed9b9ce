"""The manual pages tell every flag, verb and key, name no page that does not exist, and mandoc has no complaint."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

import pytest

from mqvpn.config import credential
from mqvpn.config.setting import Row
from mqvpn.config.table import ROWS
from mqvpn.daemon import exit, stats
from mqvpn.system import offloads
from tests.packaging.script import load

ROOT = Path(__file__).resolve().parents[2]
OTHERS = {"resolvconf"}
PAGES = {
    "mqvpn.1": ["mqvpn"],
    "mqvpn-server.8": ["mqvpn-server"],
    "mqvpn-client@.8": ["mqvpn-client"],
    "mqvpn-setup.8": ["mqvpn-setup server", "mqvpn-setup client", "mqvpn-setup pin"],
    "mqvpn-dns.8": ["mqvpn-dns", "mqvpn-dns restore"],
    "mqvpnctl.1": ["mqvpnctl", "mqvpnctl status"],
}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return load("man/generate.py")


@pytest.fixture(scope="module")
def pages(generate: ModuleType) -> dict[str, str]:
    made: dict[str, str] = generate.pages()
    return {name: text.replace(r"\-", "-") for name, text in made.items()}


def test_every_command_has_its_page(pages: dict[str, str]) -> None:
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(pages) == {*PAGES, "mqvpn.conf.5"}
    assert {command.split()[0] for commands in PAGES.values() for command in commands} == set(scripts)


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_and_verb(page: str, generate: ModuleType, pages: dict[str, str]) -> None:
    flags = set(re.findall(r"Fl (\S+)", pages[page]))
    for command in PAGES[page]:
        for action in generate.parser(command)._actions:
            assert {name[1:] for name in action.option_strings} <= flags, command
            if isinstance(action, argparse._SubParsersAction):
                for verb in action.choices:
                    assert f"Cm {verb}\n" in pages[page] or f"Cm {verb} " in pages[page]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}-{row.key}")
def test_every_key(row: Row, pages: dict[str, str]) -> None:
    page = pages["mqvpn.conf.5"]
    described, inert = page.split(".Sh KEYS WITHOUT EFFECT")
    if row.effect.name == "WORKS":
        assert f".It Li {row.key} = " in described
        assert f".Ss [{row.section}]" in described
    else:
        assert re.search(rf"\.It \[{row.section}\]\n[^.]*\b{row.key}\b", inert)


@pytest.mark.parametrize(
    ("page", "statuses"),
    [
        ("mqvpn.1", exit.ERRNOS.keys()),
        ("mqvpn-client@.8", exit.ERRNOS.keys()),
        ("mqvpn-server.8", {exit.FAILED, exit.UNDO, exit.CONFIG}),
    ],
)
def test_every_exit_status(page: str, statuses: Collection[int], pages: dict[str, str]) -> None:
    told = pages[page].split(".Sh EXIT STATUS")[1].split(".Sh")[0]
    found = {int(number) for number in re.findall(r"^(?:\.It )?(\d+)", told, re.M)}
    assert found == {0, 2, *statuses}


def test_every_variable_for_operators(pages: dict[str, str]) -> None:
    names = {"STATE_DIRECTORY", "RUNTIME_DIRECTORY", credential.VARIABLE, stats.VARIABLE, offloads.VARIABLE}
    assert set(re.findall(r"\.It Ev (\S+)", pages["mqvpn.1"])) == names
    assert all(f"{name}" in pages["mqvpn.1"] for name in offloads.NAMES)


def test_every_page_that_is_named_exists(pages: dict[str, str]) -> None:
    named = {f"{name}.{section}" for text in pages.values() for name, section in re.findall(r"\.Xr (\S+) (\d)", text)}
    assert {name for name in named if name.rpartition(".")[0] not in OTHERS} <= set(pages)


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_mandoc_has_no_complaint(generate: ModuleType, tmp_path: Path) -> None:
    assert generate.main([str(tmp_path)]) == 0
    done = subprocess.run(["mandoc", "-Tlint", *sorted(tmp_path.iterdir())], capture_output=True, text=True)
    # It looks for pages that are named among those installed; test_every_page_that_is_named_exists does better.
    complaints = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
    assert complaints == []
