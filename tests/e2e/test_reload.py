"""A reload while the machine refuses a change: what can be done is done, and the rest as soon as it can be."""

from __future__ import annotations

import signal

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, tunnel

pytestmark = pytest.mark.netns


def test_a_refused_sysctl_holds_up_neither_the_reload_nor_the_path_for_ever() -> None:
    with Net(strict_rp_filter=True) as net:
        site = build_site(net, [None, None])
        first, second = site.uplinks
        sysctl = f"/proc/sys/net/ipv4/conf/{second}/rp_filter"
        config = net.directory / "client.conf"
        with tunnel(site, client={"Multipath": {"Path": (first,)}}) as t:

            def mount(*argv: str) -> None:
                site.client.run("nsenter", "-m", "-t", str(t.client.process.pid), *argv)

            mount("mount", "--bind", sysctl, sysctl)
            mount("mount", "-o", "remount,bind,ro", sysctl)
            config.write_text(config.read_text().replace(f"Path = {first}", f"Path = {first}\nPath = {second}"))
            t.client.process.send_signal(signal.SIGHUP)
            t.client.wait_for("the reload", lambda: "configuration reloaded" in t.client.log.read_text())
            assert f"conf/{second}/rp_filter" in t.client.log.read_text()
            assert ping(site.client, INNER).received

            mount("umount", sysctl)
            t.client.wait_for("the new path", lambda: t.client.active_uplinks() == {first, second})
        assert "nothing is changed" not in t.client.log.read_text()
