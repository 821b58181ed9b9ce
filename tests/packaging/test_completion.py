"""Completion tells every flag and verb, works in a real bash, and names the instances that there are."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.packaging.script import load

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("mqvpn", "mqvpn-server", "mqvpn-client", "mqvpn-setup", "mqvpn-dns", "mqvpnctl")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return load("completion/generate.py")


@pytest.fixture(scope="module")
def scripts(generate: ModuleType) -> dict[str, str]:
    made: dict[str, str] = generate.scripts()
    return made


def words(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every flag and verb of a parser."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for verb, inner in action.choices.items():
                yield verb
                yield from words(inner)


def test_every_program_has_both(scripts: dict[str, str]) -> None:
    import tomllib

    programs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(programs) == set(PROGRAMS)
    assert set(scripts) == {f"bash/{name}" for name in PROGRAMS} | {f"zsh/_{name}" for name in PROGRAMS}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_flag_and_verb(program: str, generate: ModuleType, scripts: dict[str, str]) -> None:
    for word in words(generate.PARSERS[program]()):
        assert re.search(rf"[ '|]{re.escape(word)}[ '|)]", scripts[f"bash/{program}"]), word
        assert re.search(rf"['*\s(]{re.escape(word)}[\[:)]", scripts[f"zsh/_{program}"]), word


def complete(script: str, *typed: str, folder: Path | None = None) -> set[str]:
    """What bash offers behind these words; the last one is not finished."""
    if folder is not None:
        script = script.replace("/etc/mqvpn", f"{folder}/etc").replace("/run/mqvpn", f"{folder}/run")
    program = typed[0]
    name = "_" + program.replace("-", "_")
    line = " ".join(f"'{word}'" for word in typed)
    run = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(typed) - 1}; {name}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "--norc", "-c", run], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_offers_verbs_then_flags(scripts: dict[str, str]) -> None:
    script = scripts["bash/mqvpnctl"]
    assert complete(script, "mqvpnctl", "s") == {"status"}
    assert {"--json", "--watch", "--socket"} <= complete(script, "mqvpnctl", "status", "--")
    assert "--watch" not in complete(script, "mqvpnctl", "reload", "--")
    assert complete(scripts["bash/mqvpn-setup"], "mqvpn-setup", "cl") == {"client"}


def test_bash_names_the_instances(scripts: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    script = scripts["bash/mqvpnctl"]
    assert complete(script, "mqvpnctl", "up", "", folder=tmp_path) == {"-h", "--help"}
    for file in ("etc/server.conf", "etc/client-home.conf", "etc/client-a.b.conf", "etc/other.conf"):
        (tmp_path / file).touch()
    for name in ("client-mqvpn0", "dns"):  # mqvpn-dns.socket is no instance
        (tmp_path / "run" / f"{name}.sock").touch()
    expected = {"server", "home", "a.b", "mqvpn0"}
    assert complete(script, "mqvpnctl", "up", "", folder=tmp_path) == expected | {"-h", "--help"}
    assert complete(script, "mqvpnctl", "diagnose", "h", folder=tmp_path) == {"home"}


def test_bash_offers_what_a_flag_wants(scripts: dict[str, str], tmp_path: Path) -> None:
    script = scripts["bash/mqvpn"]
    (tmp_path / "one.conf").touch()
    assert complete(script, "mqvpn", "--config", f"{tmp_path}/o") == {f"{tmp_path}/one.conf"}
    assert complete(script, "mqvpn", "--log-level", "d") == {"debug"}
    assert complete(script, "mqvpn", "--mode", "") == {"client", "server"}
    assert set(os.listdir("/sys/class/net")) <= complete(script, "mqvpn", "--path", "")
    assert complete(script, "mqvpn", "--server", "") == set()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize("program", PROGRAMS)
def test_zsh_reads_it(program: str, generate: ModuleType, tmp_path: Path) -> None:
    assert generate.main([str(tmp_path)]) == 0
    done = subprocess.run(["zsh", "-n", str(tmp_path / "zsh" / f"_{program}")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_wrong_usage(generate: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main([]) == 2
    assert "generate.py DIRECTORY" in capsys.readouterr().err
