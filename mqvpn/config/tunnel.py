"""TunnelSettings: what a server and a client are told in the same words."""

# ruff: noqa: RUF009 -- setting() makes a dataclass field

from dataclasses import dataclass

from mqvpn.config.reorder import ReorderRule
from mqvpn.config.setting import read_boolean, read_choice, read_integer, read_path, setting
from mqvpn.config.values import Secret, interface_name

SCHEDULERS = ("minrtt", "wlb", "wlb_udp_pin", "redundant", "backup_fec")
BACKUP_FEC = "there is no error correction here; packets go by the first path, the others are its backups"


def read_reinjection(text: str) -> bool:
    """off, or deadline as the C mqvpn writes it."""
    return text.lower() == "deadline" or read_boolean(text)


def read_congestion(text: str) -> str:
    """bbr, cubic or none; the C mqvpn's bbr2 is bbr here."""
    return read_choice("bbr", "bbr2", "cubic", "none")(text).replace("bbr2", "bbr")


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSettings:
    """Settings of both ends. `reorder` is what [Reorder] and its rules mean, empty: off; `warnings` holds what the
    operator should be told, one line each; `instance` is the NAME of the file client-NAME.conf they were read from, or
    empty."""

    tun_name: str = setting(
        "[Interface] TunName", interface_name, default="mqvpn0",
        flag="--tun-name", metavar="NAME", help="name of the TUN interface (else mq-NAME for client-NAME.conf)",
    )
    mtu: int = setting(
        "[Interface] MTU", read_integer(1280, 9000, also=0), default=0,
        flag="--mtu", metavar="BYTES", help="MTU inside the tunnel, 1280 to 9000; 0: what the paths allow",
    )
    log_level: str = setting(
        "[Interface] LogLevel", read_choice("debug", "info", "warn", "error"), default="info",
        flag="--log-level", metavar="debug|info|warn|error", help="how much is logged",
    )
    qlog_dir: str = setting(
        "[Interface] QlogDir", read_path, default="",
        flag="--qlog", metavar="DIR", help="write a qlog file for each connection into this directory, 256 MiB at most",
    )
    auth_key: Secret | None = setting(
        "[Auth] Key", Secret.read, default=None, secret=True,
        flag="--auth-key", metavar="file:/PATH",
        help="a file holding the shared key (the key itself is taken too, but other users could see it)",
        note="the key, or file: and the absolute path of a file that holds nothing else, or credential: and the name "
        "of one of systemd's credentials; clients of a server that are none of its users share it",
    )
    scheduler: str = setting(
        "[Multipath] Scheduler", read_choice(*SCHEDULERS), default="wlb", remarks={"backup_fec": BACKUP_FEC},
        flag="--scheduler", metavar="NAME",
        help="minrtt: the fastest path, the others when it is full; wlb: flows spread by capacity; wlb_udp_pin: a UDP "
        "flow changes its path in pauses only; redundant: each packet on every path that has room; backup_fec: the "
        "first path, others as backups",
    )
    spread: bool = setting(
        "[Multipath] Spread", read_boolean, default=True,
        help="let one flow use several paths, if the other end, too, puts such flows back in order; the C mqvpn does "
        "so by [Reorder]",
    )
    reinjection: bool = setting(
        "[Multipath] Reinjection", read_reinjection, default=True,
        help="send again on another path what was under way on one that fails; with Spread only",
    )
    cc: str = setting(
        "[Multipath] CC", read_congestion, default="bbr",
        flag="--cc", metavar="bbr|cubic|none",
        help="congestion control: bbr keeps queues short, and its rate on links that lose packets; cubic is a little"
        " faster on a LAN; none: no limit, for links of our own",
    )
    init_max_path_id: int = setting(
        "[Multipath] InitMaxPathId", read_integer(0, 2**32 - 1), default=0,
        flag="--init-max-path-id", metavar="N",
        help="initial_max_path_id offered to the peer; 0 leaves the choice to mqvpn",
    )
    control_socket: str = setting(
        "[Control] Socket", read_path, default="",
        flag="--control-socket", metavar="PATH",
        help="where mqvpnctl finds this daemon, none for nowhere (default /run/mqvpn/server.sock, client-NAME.sock)",
    )
    reorder: tuple[ReorderRule, ...] = ()
    warnings: tuple[str, ...] = ()
    instance: str = ""
