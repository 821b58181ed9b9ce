"""load(): files as people wrote them for the C mqvpn, the command line over them, refusals and warnings."""

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.errors import ConfigError
from mqvpn.config.load import load
from mqvpn.config.reorder import ReorderRule
from mqvpn.config.server import ServerSettings
from mqvpn.config.table import ROWS
from mqvpn.config.values import HostPort, PathSetting, Secret, User

EXAMPLES = Path(__file__).parents[2] / "etc" / "mqvpn"
CLIENT = {"server_addr": "vpn.example.com"}

SERVER_INI = """\
# mqvpn server configuration
[Interface]
Listen = 0.0.0.0:4433
Subnet = 10.8.0.0/16
Subnet6 = 2001:db8:1::/112
TunName = mqvpn1
LogLevel = debug
MTU = 1400
[TLS]
Cert = /etc/mqvpn/server.crt
Key = /etc/mqvpn/server.key
[Auth]
Key = s3cr3t/with+base64==
User = alice:key-of-alice
User = bob:key-of-bob
MaxClients = 10
[Control]
Listen = 127.0.0.1:9090
[Multipath]
Scheduler = backup_fec
CC = bbr2
InitMaxPathId = 16
[Reorder]
Enabled = auto
MaxWaitMs = 50
CapPackets = 2048
[ReorderRule]
Proto = udp
Port = 443
Profile = cellular_bond
[ReorderRule]
Port = 4433
Profile = fiber_lte
CapPackets = 2048
[Hybrid]
Enabled = true
Tcp = auto
EgressAllow = 192.168.7.0/24
EgressAllow = fd00::/8
[Advanced]
RecvRateLimit = 0
"""
PIN = "sha256//" + "5" * 42 + "4="
CLIENT_INI = """\
[Server]
Address = [2001:db8::5]:443
ServerName = vpn.example.com
Insecure = yes
[Auth]
Key = s3cr3t
[Interface]
TunName = mqvpn0
DNS = 1.1.1.1, 2620:fe::fe
LogLevel = warn
KillSwitch = false
ManageRoutes = no
Reconnect = true
ReconnectInterval = 7
[Multipath]
Scheduler = minrtt
Path = eth0
Path = wlan0
[Reorder]
Enabled = off
MaxWaitMs = 30
"""


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "auth.key"
    file.write_text("a key\n")
    return file


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "c"
    file.write_text(text)
    file.chmod(mode)
    return file


def refusal(text: str, folder: Path, mode: str | None = None) -> str:
    file = written(folder, text)
    with pytest.raises(ConfigError) as raised:
        load(file, mode=mode)
    return str(raised.value).replace(str(file), "c")


def test_server_file_of_the_c_mqvpn(tmp_path: Path) -> None:
    file = written(tmp_path, SERVER_INI)
    loaded = load(file)
    assert loaded == ServerSettings(
        listen=HostPort("0.0.0.0", 4433),
        subnet=IPv4Network("10.8.0.0/16"),
        subnet6=IPv6Network("2001:db8:1::/112"),
        tun_name="mqvpn1",
        log_level="debug",
        mtu=1400,
        cert_file="/etc/mqvpn/server.crt",
        key_file="/etc/mqvpn/server.key",
        auth_key=Secret("s3cr3t/with+base64=="),
        users=(User("alice", Secret("key-of-alice")), User("bob", Secret("key-of-bob"))),
        max_clients=10,
        control_listen=HostPort("127.0.0.1", 9090),
        scheduler="minrtt",
        cc="bbr",
        init_max_path_id=16,
        reorder=(ReorderRule(443, 0.05, 2048), ReorderRule(4433, 0.05, 2048)),
        warnings=loaded.warnings,
    )
    assert [warning.removeprefix(str(file)) for warning in loaded.warnings] == [
        ":20: [Multipath] Scheduler: backup_fec: there is no error correction here; packets go by the first path, the "
        "others are its backups",
        ":36: [Hybrid] Enabled: has no effect in this version",
    ]
    assert "key-of" not in repr(loaded)
    assert "s3cr3t" not in repr(loaded)


def test_client_file_of_the_c_mqvpn(tmp_path: Path) -> None:
    file = written(tmp_path, CLIENT_INI)
    loaded = load(file)
    assert loaded == ClientSettings(
        server_addr=HostPort("2001:db8::5", 443),
        tls_server_name="vpn.example.com",
        insecure=True,
        auth_key=Secret("s3cr3t"),
        dns=(IPv4Address("1.1.1.1"), IPv6Address("2620:fe::fe")),
        log_level="warn",
        manage_routes=False,
        reconnect_interval=7,
        scheduler="minrtt",
        paths=(PathSetting("eth0"), PathSetting("wlan0")),
        warnings=loaded.warnings,
    )
    assert [warning.removeprefix(str(file)) for warning in loaded.warnings] == [
        "[Server] Insecure: the server's certificate is not verified, so anybody on the way can read and "
        "change all traffic; for tests only: write Pin = in its place",
    ]


def test_whom_a_client_trusts(tmp_path: Path) -> None:
    other = PIN.replace("55", "66")
    loaded = load(written(tmp_path, f"[Server]\nAddress = h\nPin = {PIN}, {other}\nCA = /etc/ssl/our.pem\n"))
    assert isinstance(loaded, ClientSettings)
    assert (loaded.pins, loaded.ca_file, loaded.warnings) == ((PIN, other), "/etc/ssl/our.pem", ())
    text = json.dumps({"server_addr": "h", "pins": [PIN, other], "ca_file": "c"})
    assert load(written(tmp_path, text)) == load(None, {"server_addr": "h", "pins": [PIN, other], "ca_file": "c"})


def test_no_client_has_the_name_of_the_lockdown(tmp_path: Path) -> None:
    """Their blocks would be the same table, which another client's start replaces."""
    file = tmp_path / "client-lockdown.conf"
    file.write_text(f"[Server]\nAddress = h\nPin = {PIN}\n")
    with pytest.raises(ConfigError, match=r"client-lockdown\.conf: .* rename the file"):
        load(file)
    assert load(file.rename(tmp_path / "client-lock.conf"))


MULTIPATH = "[Server]\nAddress = h\n[Multipath]\n"


def test_paths_with_roles(tmp_path: Path) -> None:
    text = "Path = eth0\nPath = wwan0; role=backup; weight=0.5  # by the gigabyte\nReinjection = off\n"
    loaded = load(written(tmp_path, MULTIPATH + text))
    assert isinstance(loaded, ClientSettings)
    assert loaded.paths == (PathSetting("eth0"), PathSetting("wwan0", "backup", 0.5))
    assert not loaded.reinjection
    assert loaded.warnings == ()
    with pytest.raises(ConfigError, match="given twice"):
        load(written(tmp_path, MULTIPATH + "Path = eth0, eth0;role=backup\n"))


def test_backup_fec_makes_backups_of_all_but_the_first(tmp_path: Path) -> None:
    paths = "Path = eth0\nPath = wlan0\nPath = wwan0; role=primary\n"
    loaded = load(written(tmp_path, f"{MULTIPATH}Scheduler = backup_fec\n{paths}"))
    assert isinstance(loaded, ClientSettings)
    assert loaded.scheduler == "minrtt"
    assert [path.role for path in loaded.paths] == ["", "backup", "primary"]
    assert len(loaded.warnings) == 1


def test_json_files_of_the_c_mqvpn(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "mode": "server",
            "listen": "[::]:443",
            "subnet": "10.0.0.0/24",
            "cert_file": "/c",
            "key_file": "/k",
            "auth_key": "s3cr3t",
            "users": [{"name": "alice", "key": "k1"}, "bob:k2"],
            "max_clients": 64,
            "scheduler": "wlb",
        }
    )
    server = load(written(tmp_path, text))
    assert isinstance(server, ServerSettings)
    assert (server.listen, server.cert_file, server.max_clients) == (HostPort("::", 443), "/c", 64)
    assert server.users == (User("alice", Secret("k1")), User("bob", Secret("k2")))
    assert server.warnings == ()
    text = '{"mode": "client", "server_addr": "h:1", "kill_switch": false, "reconnect": false,'
    text += ' "paths": ["a", "b"]}'
    client = load(written(tmp_path, text))
    assert isinstance(client, ClientSettings)
    assert client.paths == (PathSetting("a"), PathSetting("b"))
    assert not client.reconnect


def test_defaults(key_file: Path) -> None:
    assert load(None, CLIENT) == ClientSettings(server_addr=HostPort("vpn.example.com", 443))
    server = load(None, {"users": f"a:file:{key_file}"}, mode="server")
    assert isinstance(server, ServerSettings)
    assert (str(server.listen), str(server.subnet), server.subnet6) == ("0.0.0.0:443", "10.0.0.0/24", None)
    assert (server.max_clients, server.mtu, server.scheduler, server.tun_name) == (64, 0, "wlb", "mqvpn0")
    assert server.warnings == ()


@pytest.mark.parametrize(("name", "kind"), [("server.conf", ServerSettings), ("client-example.conf", ClientSettings)])
def test_shipped_examples(name: str, kind: type, tmp_path: Path, key_file: Path) -> None:
    """As shipped, and with every commented key switched on."""
    text = (EXAMPLES / name).read_text()
    text = text.replace("file:/etc/mqvpn/auth.key", f"file:{key_file}")
    text = text.replace("file:/etc/mqvpn/bob.key", f"file:{key_file}")
    loaded = load(written(tmp_path, text))
    assert isinstance(loaded, kind)
    assert loaded.warnings == ()
    switched = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
    full = load(written(tmp_path, "\n".join(switched)))
    here = {line.split(" = ")[0] for line in switched if " = " in line}
    expected = {row.key for row in ROWS if row.name in kind.__dataclass_fields__}  # type: ignore[attr-defined]
    assert here >= expected
    assert full.warnings == ()


def test_command_line_overrides_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, CLIENT_INI)
    loaded = load(file, {"paths": ["usb0"], "mtu": "1300", "reconnect": "false", "insecure": "false", "dns": []})
    assert isinstance(loaded, ClientSettings)
    assert (loaded.paths, loaded.mtu, loaded.reconnect) == ((PathSetting("usb0"),), 1300, False)
    assert loaded.warnings == ()
    with pytest.raises(ConfigError, match=r"^--mtu: 20 is out of range; write a number from 1280 to 9000, or 0$"):
        load(file, {"mtu": "20"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "c: write [Server] Address (or --server) for a client, [Interface] Listen (or --listen) for a server",
        ),
        (
            "[Server]\nAddress = h\n[Interface]\nListen = 0.0.0.0:1",
            "c: both [Server] Address and [Interface] Listen; keep one or say --mode",
        ),
        ("[Server]\nAddress = h:0", "c:2: [Server] Address: the port after ':' is a number from 1 to 65535"),
        ("[Server]\nAddress = h\nInsecure = maybe", "c:3: [Server] Insecure: write true or false"),
        (
            "[Server]\nAddress = h\nInsecure = yes\nCA = /etc/ssl/our.pem",
            "c: [Server] CA: of no use with Insecure = true; remove that line",
        ),
        (
            f"[Server]\nAddress = h\nInsecure = yes\nPin = {PIN}",
            "c: [Server] Pin: of no use with Insecure = true; remove that line",
        ),
        (
            "[Server]\nAddress = h\nPin = 5a:1b",
            "c:3: [Server] Pin: write sha256// and 44 characters, as mqvpn-setup pin prints them on the server",
        ),
        (
            "[Server]\nAddress = h\n[Multipath]\nPath = a\nPath = b, a",
            "c:5: [Multipath] Path: the same one is given twice; keep one of them",
        ),
        (
            "[Server]\nAddress = h\n[Interface]\nDNS = 1.1.1.1, 1.1.1.2, 1.1.1.3\nDNS = 1.1.1.4, 1.1.1.5",
            "c:5: [Interface] DNS: more than 4 are given; remove some",
        ),
        (
            "[Server]\nAddress = h\n[Interface]\nDNS = dns.example",
            "c:4: [Interface] DNS: the address of a name server is expected, such as 9.9.9.9 or 2620:fe::fe",
        ),
        (
            "[Server]\nAddress = h\n[Interface]\nDNS = 9.9.9.9\nDomains = a.example b.example",
            "c:5: [Interface] Domains: a domain is expected, such as example.com or ~example.com; "
            "separate several by commas",
        ),
        (
            "[Server]\nAddress = h\n[Interface]\nDNSMode = dnsmasq",
            "c:4: [Interface] DNSMode: write one of auto, resolved, resolvconf, file, none",
        ),
        (
            "[Server]\nAddress = h\n[Interface]\nDomains = a.example",
            "c: [Interface] Domains: needs name servers; write DNS = ADDRESS too, or remove it",
        ),
        (
            "[Server]\nAddress = h\n[Interface]\nDNS = 9.9.9.9\nDNSMode = file\nDNSOverTLS = yes",
            "c: [Interface] DNSOverTLS: only systemd-resolved can ask over TLS; remove it, or DNSMode",
        ),
        (
            "[Interface]\nListen = example.com:443",
            "c:2: [Interface] Listen: an address of this machine is expected, such as 0.0.0.0:443 or [::]:443",
        ),
        (
            "[TLS]\nCert = a\n[Interface]\nSubnet = 10.0.0.0/8",
            "c:4: [Interface] Subnet: the prefix length is /8; write /16 to /30",
        ),
        (
            "[TLS]\nCert = a\n[Interface]\nSubnet = fd00::/64",
            "c:4: [Interface] Subnet: an IPv4 network is expected, such as 10.0.0.0/24",
        ),
        (
            "[TLS]\nCert = a\n[Interface]\nSubnet6 = fd00::1",
            "c:4: [Interface] Subnet6: ADDRESS/PREFIX is expected, such as 2001:db8:1::/112",
        ),
        (
            "[TLS]\nCert = a\n[Auth]\nUser = a:1\nUser = a:2",
            "c:5: [Auth] User: the same one is given twice; keep one of them",
        ),
        (
            "[TLS]\nCert = a\n[Auth]\nUser = a:1,2",
            "c:4: [Auth] User: NAME:KEY is expected; a key which holds a comma must be in quotes",
        ),
        (
            "[TLS]\nCert = a",
            "c: [Auth] Key: missing, and a server without any key would let everybody in; "
            "write Key = or User = NAME:KEY with what mqvpn --genkey prints",
        ),
        (
            "[Server]\nAddress = h\n[Reorder]\nCapPackets = 1000",
            "c:4: [Reorder] CapPackets: write a power of two, such as 1024",
        ),
        (
            "[Server]\nAddress = h\n[Multipath]\nScheduler = fast",
            "c:4: [Multipath] Scheduler: write one of minrtt, wlb, wlb_udp_pin, redundant, backup_fec",
        ),
    ],
)
def test_refusals(text: str, message: str, tmp_path: Path) -> None:
    assert refusal(text, tmp_path) == message


def test_mode_must_fit_the_file(tmp_path: Path) -> None:
    text = "[Server]\nAddress = h\n[Auth]\nKey = k"
    assert refusal(text, tmp_path, "server") == "c:2: [Server] Address: makes this a client; remove it, or run a client"
    assert refusal("[TLS]\nCert = a", tmp_path, "client").startswith("c: [Server] Address: missing")


def test_keys_of_the_other_side_warn(tmp_path: Path) -> None:
    file = written(tmp_path, "[Server]\nAddress = h\n[Interface]\nSubnet = 10.0.0.0/24\n[TLS]\nCert = c")
    assert load(file).warnings == (
        f"{file}:4: [Interface] Subnet: has an effect on a server only",
        f"{file}:6: [TLS] Cert: has an effect on a server only",
    )


def test_secrets_which_others_can_read(tmp_path: Path, key_file: Path) -> None:
    text = "[Server]\nAddress = h\n[Auth]\nKey = s3cr3t"
    file = written(tmp_path, text, 0o644)
    with pytest.raises(ConfigError) as refused:
        load(file)
    assert str(refused.value) == f"{file}: holds a key and can be read by every user; run: chmod o-rwx {file}"
    assert load(written(tmp_path, text, 0o640)).warnings == ()
    assert load(written(tmp_path, text.replace("s3cr3t", f"file:{key_file}"), 0o644)).warnings == ()
    argv = load(None, CLIENT | {"auth_key": "s3cr3t"})
    assert argv.auth_key == Secret("s3cr3t")
    assert argv.warnings == (
        "--auth-key: every user of this machine can see the key in ps; write it to a file and give file:/PATH instead",
    )
    assert load(None, {"listen": "[::]:443", "users": [f"a:file:{key_file}"]}).warnings == ()
