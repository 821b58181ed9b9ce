"""--clean-up where there is nothing to clean up; e2e/test_clean_up.py has the rest."""

from pathlib import Path

import pytest

from mqvpn.daemon import cleanup


@pytest.mark.parametrize("folder", ["/sys/mqvpn-no-such-folder", "/proc/no/such/folder"])
def test_the_folder_was_removed_by_another_clean_up(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "start_logging", lambda *_: None)
    monkeypatch.setattr(cleanup, "place", lambda _: Path(folder))  # nobody, root neither, can make one there
    assert cleanup.run("client-none") == 0
