"""Every offload has a fallback: without it the tunnel carries the same traffic, and the log says what is in use."""

from __future__ import annotations

import pytest

from mqvpn.system.offloads import NAMES, VARIABLE
from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import Transfer
from tests.lab.tunnel import INNER, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]


@pytest.mark.parametrize("without", ["", *NAMES, ",".join(NAMES)])
def test_traffic_passes_without_it(net: Net, monkeypatch: pytest.MonkeyPatch, without: str) -> None:
    monkeypatch.setenv(VARIABLE, without)
    site = build_site(net, (None,))
    log = {"Interface": {"LogLevel": "debug"}}
    with tunnel(site, server=log, client=log) as opened:
        for sender, receiver, address in (
            (site.client, site.server, INNER),
            (site.server, site.client, opened.client_address),
        ):
            assert Transfer(sender, receiver, address, seconds=1, streams=2).start().result().mbit > 20
            datagrams = Transfer(sender, receiver, address, seconds=1, udp_mbit=5, size=1200).start().result()
            assert datagrams.lost_percent < 5
            assert datagrams.mbit > 2  # over a time that lasts until iperf3's own last message is there
        logs = [daemon.log.read_text() for daemon in (opened.server, opened.client)]
    for text in logs:
        assert "packet protection by OpenSSL 3" in text
        assert "packets are protected with AES_" in text
        assert ("no virtio headers" in text) == ("vnet_hdr" in without)
        assert ("without UDP_SEGMENT" in text) == ("gso" in without)
        assert ("without UDP_GRO" in text) == ("gro" in without)
        if "vnet_hdr" not in without:
            assert ("TSO4" in text) == ("tso" not in without)
            assert ("USO4" in text) == ("uso" not in without and "tso" not in without)
