"""What the program nft may do to us: also a failure without a word is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mqvpn.system import block, nft
from mqvpn.system.errors import OperationFailed


@pytest.fixture
def nft_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in nft's place."""

    def replaced_by(script: str) -> None:
        program = tmp_path / "nft"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return replaced_by


@pytest.mark.parametrize(("says", "reason"), [("", "nft ended with status 3"), ("Error: busy\n^^^\n", "Error: busy")])
def test_a_failure_has_a_reason(nft_that: Callable[[str], None], says: str, reason: str) -> None:
    nft_that(f"[ $1 = list ] && echo table inet t && exit\nprintf '%s' '{says}' >&2\nexit 3")
    with pytest.raises(OperationFailed, match=reason):
        nft.remove("t", "remove t")
    with pytest.raises(OperationFailed, match=reason):
        nft.transact("", "change t")


def test_whoever_may_not_look_is_not_told_that_there_is_nothing(nft_that: Callable[[str], None]) -> None:
    nft_that("echo 'Operation not permitted (you must be root)' >&2\nexit 1")
    for look in (nft.tables, block.all_tables, lambda: block.stands("home"), lambda: block.lift("home")):
        with pytest.raises(OperationFailed, match="you must be root"):
            look()


@pytest.mark.parametrize("says", ["Unable to initialize socket: Protocol not supported", "Operation not supported"])
def test_a_kernel_without_nf_tables_has_no_tables(nft_that: Callable[[str], None], says: str) -> None:
    nft_that(f"echo 'netlink: Error: {says}' >&2\nexit 1")
    assert nft.tables() == []
    block.lift("home")
