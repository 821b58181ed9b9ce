"""How routes are written, and what of it is refused."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.errors import ConfigError
from mqvpn.config.load import load
from mqvpn.config.server import ServerSettings

ROUTED = "[Server]\nAddress = h\n[Interface]\n"
SERVING = "[Auth]\nKey = k\n[Interface]\nListen = 0.0.0.0:443\n"


def test_routes(tmp_path: Path) -> None:
    text = "Routes = 10.0.0.0/8, 2001:DB8::/32\nRoutes = Server\nExclude = 10.1.2.3/16\nIPv6 = block\nFwMark = 0x7f\n"
    loaded = load(written(tmp_path, ROUTED + text + "Table = 77\nMetric = 50\n"))
    assert isinstance(loaded, ClientSettings)
    assert loaded.routes == (IPv4Network("10.0.0.0/8"), IPv6Network("2001:db8::/32"), "server")
    assert loaded.exclude == (IPv4Network("10.1.0.0/16"),)
    assert (loaded.ipv6, loaded.fwmark, loaded.table, loaded.metric) == ("block", 127, 77, 50)
    assert loaded.warnings == ()


def test_what_a_server_advertises(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, SERVING + "Advertise = Default, 10.1.2.3/8\nAdvertise = 2001:DB8::/32\n"))
    assert isinstance(loaded, ServerSettings)
    assert loaded.advertise == ("default", IPv4Network("10.0.0.0/8"), IPv6Network("2001:db8::/32"))
    assert loaded.warnings == ()


def test_a_kill_switch_with_a_list_of_routes_blocks_all_else_which_a_warning_says(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, ROUTED + "KillSwitch = yes\nRoutes = 10.0.0.0/8\n"))
    assert [warning.split(";")[0] for warning in loaded.warnings] == [
        "[Interface] KillSwitch: what Routes does not lead into the tunnel is refused"
    ]
    assert load(written(tmp_path, ROUTED + "KillSwitch = yes\nRoutes = default\n")).warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ROUTED + "Routes = 10.0.0.1",
            "c:4: [Interface] Routes: write default, none, server or prefixes such as 10.0.0.0/8, 2001:db8::/32",
        ),
        (
            ROUTED + "Routes = 10.0.0.0/33",
            "c:4: [Interface] Routes: this is not an IP network; write it like 10.0.0.0/24",
        ),
        (
            ROUTED + "Routes = none, 10.0.0.0/8",
            "c: [Interface] Routes: none stands alone; remove it, or the others",
        ),
        (
            ROUTED + "Routes = 10.0.0.0/8\nExclude = 10.0.0.0/8",
            "c: [Interface] Exclude: 10.0.0.0/8 is in Routes too; keep one of them",
        ),
        (
            ROUTED + "Exclude = 0.0.0.0/0",
            "c:4: [Interface] Exclude: the prefix length is /0; write /1 to /128",
        ),
        (
            ROUTED + "ManageRoutes = no\nTable = 77",
            "c: [Interface] Table: of no use with ManageRoutes = false; remove one of the two",
        ),
        (
            ROUTED + "KillSwitch = yes\nIPv6 = allow",
            "c: [Interface] IPv6: KillSwitch blocks IPv6 too; remove IPv6 = allow, or KillSwitch",
        ),
        (
            SERVING + "Advertise = none",
            "c:5: [Interface] Advertise: write default or prefixes such as 10.0.0.0/8, 2001:db8::/32",
        ),
        (ROUTED + "Table = 254", "c:4: [Interface] Table: 254 is the kernel's own; write another number"),
        (ROUTED + "FwMark = 0x", "c:4: [Interface] FwMark: write a number from 1 to 4294967295"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert str(caught.value).replace(str(tmp_path / "c"), "c") == message


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "c"
    file.touch(mode=0o600)
    file.write_text(text)
    return file
