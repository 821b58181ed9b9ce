"""Both daemons write what happens to their connection when they are told to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, KEY, tunnel

pytestmark = pytest.mark.netns


def test_a_file_for_each_connection(net: Net, tmp_path: Path) -> None:
    changes = {"Interface": {"QlogDir": str(tmp_path)}}
    with tunnel(build_site(net, [None, None]), server=changes, client=changes) as t:
        assert ping(t.site.client, INNER).received == 3
    complete = 0
    for file in tmp_path.glob("mqvpn-*.sqlog"):
        text = file.read_bytes()
        assert KEY.encode() not in text
        header, *events = [json.loads(one) for one in text.split(b"\x1e")[1:]]
        assert header["qlog_format"] == "JSON-SEQ"
        times = [event["time"] for event in events]
        assert times == sorted(times)
        names = {(event["name"], event["group_id"]) for event in events}
        complete += names >= {("connectivity:connection_closed", "path 0"), ("recovery:metrics_updated", "path 1")}
    assert complete == 2
