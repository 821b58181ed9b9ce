"""The rules of this repository that a program can check: who imports whom, sizes, style, types.

The import picture is that of mqvpn/__init__.py; imports point down only. Compiled modules count too.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mqvpn"

ALLOWED = {
    "wire": set[str](),
    "config": set[str](),
    "connectip": {"wire"},
    "dataplane": {"wire"},
    "multipath": {"wire", "dataplane"},
    "tunnel": {"wire", "connectip", "multipath", "dataplane"},
    "system": {"wire"},
    "daemon": {"wire", "connectip", "multipath", "dataplane", "tunnel", "system", "config"},
    "cli": {"config", "daemon", "system", "wire"},
}
PURE = ("wire", "connectip", "multipath", "tunnel")
IMPURE_MODULES = {"asyncio", "socket", "time", "os", "select", "threading", "subprocess"}
# Each third-party library has one importing module, so that its next version meets one file; aioquic has
# two, for QUIC and for HTTP/3.
IMPORTERS = {
    "aioquic": {"multipath/seam.py", "tunnel/http3.py"},
    "pyroute2": {"system/link.py"},
    "configobj": {"config/file.py"},
    "sdnotify": {"system/notify.py"},
    "dbus_next": {"system/resolved.py"},
    "cryptography": {"wire/certificate.py"},
}
MAX_FILE, MAX_FUNCTION, MAX_LINE = 400, 50, 120
NOT_OURS = {".git", ".venv", "build", "dist", "__pycache__"}


def sources(*patterns: str, top: Path = PACKAGE) -> list[Path]:
    found = [path for pattern in patterns for path in top.rglob(pattern)]
    return sorted(path for path in found if not NOT_OURS & set(path.relative_to(ROOT).parts))


def layer(path: Path) -> str:
    """The folder of mqvpn/ that a file is in; empty for those directly in mqvpn/."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every module that a file imports, wherever the statement stands."""
    if path.suffix in (".pyx", ".pxd"):
        statement = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))")
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := statement.match(line):
                yield number, match[1] or match[2]
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the absolute name"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_imports_point_down_only() -> None:
    wrong = []
    for path in sources("*.py", "*.pyi", "*.pyx", "*.pxd"):
        if not (here := layer(path)):
            continue
        for line, name in imports(path):
            top, _, rest = name.partition(".")
            there = rest.partition(".")[0]
            if top == "mqvpn" and there in ALLOWED and there not in ALLOWED[here] | {here}:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {here} must not import {name}")
    assert wrong == []


def test_the_core_has_no_clock_and_no_io() -> None:
    wrong = []
    for path in sources("*.py"):
        if layer(path) in PURE:
            bad = [f"{line}: {name}" for line, name in imports(path) if name.split(".")[0] in IMPURE_MODULES]
            wrong += [f"{path.relative_to(ROOT)}:{one}" for one in bad]
    assert wrong == []


def test_asyncio_lives_in_daemon_and_system() -> None:
    for path in sources("*.py", "*.pyx"):
        if layer(path) not in ("daemon", "system"):
            assert "asyncio" not in {name.split(".")[0] for _, name in imports(path)}, path


@pytest.mark.parametrize("library", IMPORTERS)
def test_one_importing_module_for_each_library(library: str) -> None:
    importing = {
        str(path.relative_to(PACKAGE))
        for path in sources("*.py", "*.pyx")
        if any(name.split(".")[0] == library for _, name in imports(path))
    }
    assert importing <= IMPORTERS[library]


def test_the_command_line_starts_without_the_daemons() -> None:
    """`mqvpn --help` must not wait for aioquic: cli imports daemon inside functions only."""
    program = (
        "import sys, mqvpn.cli.main; "
        "print(*(m for m in ('aioquic', 'pyroute2', 'asyncio', 'mqvpn.daemon', 'mqvpn.dataplane.engine')"
        " if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_files_are_small() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources("*.py", "*.pyx", "*.pyi")}
    lengths |= {path: len(path.read_text().splitlines()) for path in sources("*.py", top=ROOT / "tests")}
    for path, length in sorted(lengths.items(), key=lambda item: -item[1]):
        if length > 300:
            print(f"{path.relative_to(ROOT)}: {length} lines")
    assert [f"{path}: {n} lines" for path, n in lengths.items() if n > MAX_FILE] == []


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length of every function, from its def line to its last."""
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, (node.end_lineno or 0) - node.lineno + 1
        return
    head = re.compile(r"(\s*)(?:cdef|cpdef|def)\b[^=]*?(\w+)\(.*")
    lines = path.read_text().splitlines()
    for start, line in enumerate(lines):
        if not (match := head.fullmatch(line)):
            continue
        end = last = start
        for end in range(start + 1, len(lines)):
            text = lines[end]
            if text.strip() and len(text) - len(text.lstrip()) <= len(match[1]) and not text.strip().startswith(")"):
                break
            last = end if text.strip() else last
        yield match[2], last - start + 1


def test_functions_are_short() -> None:
    files = [*sources("*.py", "*.pyx"), *sources("*.py", top=ROOT / "tests")]
    long = [f"{path}: {name} {n} lines" for path in files for name, n in functions(path) if n > MAX_FUNCTION]
    assert long == []


def test_lines_that_no_linter_reads_are_short_too() -> None:
    files = [*sources("*.varlink"), *sources("*.c", "*.sh", top=ROOT / "tests"), ROOT / "README.md"]
    files += [path for name in ("systemd", "etc", "debian", "packaging") for path in sources("*", top=ROOT / name)]
    lines = [(path, line) for path in files if path.is_file() for line in path.read_text().splitlines()]
    assert [f"{path}: {line}" for path, line in lines if len(line) > MAX_LINE] == []


def test_no_mocks() -> None:
    mocking = [path for path in sources("*.py", top=ROOT / "tests") for _, name in imports(path) if "mock" in name]
    assert mocking == []


def test_every_module_says_what_it_is() -> None:
    for path in sources("*.py"):
        text = path.read_text()
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path}: no docstring"


FORBIDDEN = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b|/(?:work|root|home/\w+|tmp/notes)/|\.\./shared")


def test_nothing_is_left_unfinished_or_bound_to_one_machine() -> None:
    found = []
    for folder in ("mqvpn", "tests", "packaging", "systemd", "etc", "debian", ".ci"):
        for path in sources("*", top=ROOT / folder):
            if path.is_file() and path.suffix not in (".so", ".png") and path != Path(__file__).resolve():
                for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                    if FORBIDDEN.search(line):
                        found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


def run_tool(name: str, *argv: str) -> None:
    """Run a tool of the virtual environment that runs the tests."""
    tools = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run([tools / name, *argv], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff() -> None:
    run_tool("ruff", "check", "mqvpn", "tests", "packaging")


def test_mypy() -> None:
    run_tool("mypy", "--strict")


def test_mypy_of_the_test_bed() -> None:
    parts = [f"tests/{name}" for name in ("lab", "bench", "e2e", "machine", "sim", "conftest.py")]
    run_tool("mypy", "--strict", *parts, "packaging/demo.py")


def test_cython_lint() -> None:
    if files := sources("*.pyx", "*.pxd"):
        run_tool("cython-lint", *map(str, files))
