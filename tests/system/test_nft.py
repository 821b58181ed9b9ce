"""What the program nft may do to us: also a failure without a word is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqvpn.system import nft
from mqvpn.system.errors import OperationFailed


@pytest.mark.parametrize(("says", "reason"), [("", "nft ended with status 3"), ("Error: busy\n^^^\n", "Error: busy")])
def test_a_failure_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, reason: str) -> None:
    program = tmp_path / "nft"
    program.write_text(f"""#!/bin/sh
[ "$1" = list ] && echo table inet t && exit
printf '%s' '{says}' >&2
exit 3
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(OperationFailed, match=reason):
        nft.remove("t", "remove t")
    with pytest.raises(OperationFailed, match=reason):
        nft.transact("", "change t")
