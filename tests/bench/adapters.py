"""Other VPNs to compare with: each is an executable in the folder rivals/, so that anybody can add one.

    rivals/NAME check COUNT                                     one line: its version, or why it cannot run (then
                                                                the exit status is 1); COUNT links have to be used
    rivals/NAME up SERVER CLIENT ADDRESS DIRECTORY UPLINK...    make the tunnel between two network namespaces
    rivals/NAME down SERVER CLIENT ADDRESS DIRECTORY UPLINK...  end its processes

The client reaches ADDRESS by each of its interfaces UPLINK. Keys and logs belong into DIRECTORY. Inside the tunnel
the server has to be 10.78.0.1 and the client 10.78.0.2.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.lab.net import LabError, run, wait_for
from tests.lab.site import Site

FOLDER = Path(__file__).with_name("rivals")
SERVER, CLIENT = "10.78.0.1", "10.78.0.2"


def names() -> list[str]:
    """All adapters, whether their programs are installed or not."""
    return sorted(path.name for path in FOLDER.iterdir() if os.access(path, os.X_OK) and path.is_file())


def version(name: str, links: int) -> str:
    """The version that would be measured; raises LabError with the reason why it cannot be."""
    done = subprocess.run([FOLDER / name, "check", str(links)], capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise LabError(done.stdout.strip() or done.stderr.strip())
    return done.stdout.strip()


@contextlib.contextmanager
def rival(site: Site, name: str) -> Iterator[None]:
    """Its tunnel between the site's namespaces; the block begins when it answers a ping."""
    # An address of its own link: what listens there is not in doubt about the source of its answers.
    address = "10.1.0.1"
    ends = (site.server.name, site.client.name, address, str(site.net.directory), *site.uplinks)
    run(str(FOLDER / name), "up", *ends)
    try:
        ping = ("ping", "-c1", "-W1", SERVER)
        wait_for(f"{name} answers", lambda: "1 received" in site.client.run(*ping, check=False), 20)
        yield
    finally:
        run(str(FOLDER / name), "down", *ends, check=False)
