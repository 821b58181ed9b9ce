"""Exit statuses that scripts and units rely on: 69 server unreachable, 77 refused, 78 configuration."""

from __future__ import annotations

import pytest

from tests.lab.net import Net
from tests.lab.site import SERVER_ADDRESSES, build_site
from tests.lab.tunnel import Daemon, Sections, client_config, server_daemon

pytestmark = pytest.mark.netns

ONCE = {"Reconnect": "false"}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Interface": ONCE, "Auth": {"Key": "not-the-right-key"}}, 77),
        ({"Interface": ONCE, "Server": {"Address": f"{SERVER_ADDRESSES[0]}:9"}}, 69),
        ({"Server": {"Insecure": "false"}, "Interface": ONCE}, 77),
        ({"Server": {"Insecure": "false", "Pin": f"sha256//{'A' * 43}="}, "Interface": ONCE}, 77),
        ({"Server": {"Insecure": "false", "CA": "/nonexistent"}}, 78),
    ],
    ids=["wrong key", "nobody there", "certificate not trusted", "wrong pin", "no CA file"],
)
def test_client_ends_with(net: Net, changes: Sections, status: int) -> None:
    site = build_site(net, [None])
    with server_daemon(site):
        client = Daemon(net, site.client, "client", "client", client_config(site, changes))
        assert client.process.wait(40) == status, client.tail()
