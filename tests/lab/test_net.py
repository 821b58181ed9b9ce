"""A test bed is gone when its process ends, whatever ended it where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.net import ROOT

pytestmark = pytest.mark.netns

# As pytest leaves it that is interrupted again while it takes a test down: nobody calls __exit__().
INTERRUPTED = """
import os
from tests.lab.child import in_child
from tests.lab.net import Net

def body():
    net = Net().__enter__()
    net.callback(lambda: print("ended", flush=True))
    print(os.getpid(), flush=True)
    net.namespace("one").popen("sleep", "60")
    net.namespace("two")
    raise KeyboardInterrupt

"""


@pytest.mark.parametrize("call", ["body()", "Net().__enter__(); in_child(lambda: None, body)"], ids=["here", "forked"])
def test_nothing_stays_of_a_run_that_was_interrupted(call: str) -> None:
    argv = (sys.executable, "-c", INTERRUPTED + call)
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr
    pid, *rest = done.stdout.split()
    assert rest == ["ended"]
    assert list(Path("/run/netns").glob(f"mq{pid}-*")) == []
    assert "sleep" not in subprocess.run(["ps", "-o", "args=", "--ppid", pid], capture_output=True, text=True).stdout
