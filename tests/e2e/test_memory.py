"""What idle daemons hold in memory, and what each further idle client costs the server."""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.tunnel import client_daemon, server_daemon

pytestmark = [pytest.mark.netns, pytest.mark.slow]

FIRST, MORE = 2, 16
MB = 1_000_000


def test_resident_memory(net: Net) -> None:
    site = build_site(net, [None])
    with server_daemon(site) as server, contextlib.ExitStack() as stack:

        def one_more_client(number: int) -> int:
            interface = {"TunName": f"mqc{number}", "ManageRoutes": "false"}
            client = client_daemon(site, {"Interface": interface}, name=f"client{number}")
            return stack.enter_context(client).memory()

        idle = server.memory()
        clients = [one_more_client(number) for number in range(FIRST)]
        time.sleep(1)
        before = server.memory()
        clients += [one_more_client(FIRST + number) for number in range(MORE)]
        time.sleep(1)
        growth = (server.memory() - before) / MORE
        print(f"server {idle / MB:.1f} MB, client {max(clients) / MB:.1f} MB, each {growth / 1000:.0f} kB more")
    assert idle <= 45 * MB
    assert max(clients) <= 45 * MB
    assert growth <= 150_000
