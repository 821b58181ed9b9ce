"""mqvpn-server: one UDP socket, one TUN device, every client.

Start: any error is fatal and says what to do; running: one client's error ends that client; stop: everything
that was changed on the machine is put back in reverse order. Exit status 78: configuration.
"""

import errno
import logging
import os
import secrets
import ssl
import stat
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from functools import partial
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface
from pathlib import Path
from typing import Any

from mqvpn.config.routes import DEFAULT
from mqvpn.config.server import ServerSettings
from mqvpn.config.values import Secret, User
from mqvpn.connectip.pool import Pool
from mqvpn.daemon import cleanup, exit, lent, loop, watchdog
from mqvpn.daemon.control import Control
from mqvpn.daemon.controlsocket import control_listener, control_port
from mqvpn.daemon.device import Device
from mqvpn.daemon.diagnose import Diagnosis
from mqvpn.daemon.eventlog import event as event_of
from mqvpn.daemon.leases import Leases
from mqvpn.daemon.linkmtu import LinkMtu
from mqvpn.daemon.log import start_logging
from mqvpn.daemon.methods import server_methods
from mqvpn.daemon.passed import ListenDiffers, Passed
from mqvpn.daemon.pump import Pump, gso_max_size, packets_of
from mqvpn.daemon.qlog import Qlog
from mqvpn.daemon.reload import Load, Reload
from mqvpn.daemon.serverstatus import ServerStatus
from mqvpn.daemon.statefile import replace
from mqvpn.daemon.stats import report
from mqvpn.daemon.stop import Stop
from mqvpn.daemon.tasks import begin
from mqvpn.daemon.tcpcontrol import TcpControl
from mqvpn.daemon.timerfd import clock
from mqvpn.daemon.undojournal import InUse, journal_of
from mqvpn.daemon.upkeep import TableUpkeep, Upkeep
from mqvpn.dataplane.engine import OVERHEAD, SPREAD_BYTES, Engine
from mqvpn.multipath.configuration import quic_configuration
from mqvpn.multipath.mtu import ETHERNET, udp_payload, unknown
from mqvpn.multipath.path import Endpoint
from mqvpn.system import nat
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Interface, Netlink, TunLink
from mqvpn.system.notify import Notifier
from mqvpn.system.sysctl import Sysctls
from mqvpn.system.undo import Undo
from mqvpn.tunnel import events
from mqvpn.tunnel.server import EVERYTHING, ServerOptions, ServerTunnel
from mqvpn.wire.address import ranges_of

log = logging.getLogger(__name__)

IDLE_TIMEOUT = 120.0  # seconds without a packet of a client's
SOCKET = 0
LOOPBACK = "lo"
RESET_KEY_SIZE = 32
FILE_HINTS = {
    errno.ENOENT: "correct the path, or have mqvpn-setup server make a certificate",
    errno.EACCES: "chgrp mqvpn and chmod 640 it, or write credential:NAME (LoadCredential= in the unit)",
}


class CertificateUnusable(exit.Unusable):
    """The certificate or its key cannot be used; `str()` says which and why."""


LIVE = (
    *("log_level", "auth_key", "users", "max_clients", "cert_file", "key_file"),
    *("scheduler", "cc", "spread", "reinjection", "init_max_path_id", "advertise"),
)


def run(settings: ServerSettings, load: Load | None = None) -> int:
    """Run the server until a signal or a failure ends it; returns the exit status. `load` reads the settings again."""
    start_logging(settings.log_level, settings.name)
    try:
        configuration = load_certificate(settings.cert_file, settings.key_file)
        return loop.run(_serve(settings, configuration, load or (lambda: settings)))
    except (CertificateUnusable, ListenDiffers, InUse) as error:
        return exit.failing(exit.CONFIG, error)
    except OperationFailed as error:
        return exit.failing(exit.status_of(error), error)


def load_certificate(cert_file: str, key_file: str) -> Any:
    """Return the TLS configuration. Raises CertificateUnusable."""
    for title, file in (("[TLS] Cert", cert_file), ("[TLS] Key", key_file)):
        try:
            Path(file).read_bytes()
        except OSError as error:
            hint = FILE_HINTS.get(error.errno or 0, "correct the path")
            raise CertificateUnusable(f"{title}: {file}: {error.strerror}; {hint}") from None
    try:
        # The only check that the two belong together; without a password, which would be asked for.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file, password="")
        configuration = quic_configuration(
            is_client=False, idle_timeout=IDLE_TIMEOUT, certificate=cert_file, private_key=key_file
        )
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise CertificateUnusable(f"[TLS] Cert, Key: {cert_file}, {key_file}: {_reason(error)}") from None
    if Path(key_file).stat().st_mode & stat.S_IROTH:
        log.warning("%s can be read by every user of this machine; run: chmod o-rwx %s", key_file, key_file)
    return configuration


def load_reset_key(directory: str | None) -> bytes:
    """The key for Stateless Reset Tokens (RFC 9000, section 10.3.2), kept in the state directory.

    With it a restarted server tells the clients of its former life at once that it does not know them.
    """
    if not directory:
        return secrets.token_bytes(RESET_KEY_SIZE)
    file = Path(directory) / "reset.key"
    try:
        if file.exists() and len(key := file.read_bytes()) == RESET_KEY_SIZE:
            return key
        key = secrets.token_bytes(RESET_KEY_SIZE)
        replace(file, key)
    except OSError as error:
        log.warning("%s: %s: clients will notice a restart late", file, error.strerror)
        key = secrets.token_bytes(RESET_KEY_SIZE)
    return key


def options_of(settings: ServerSettings, netlink: Netlink) -> ServerOptions:
    """What the tunnel is to grant."""
    prefixes = [prefix for prefix in settings.advertise if not isinstance(prefix, str)]
    return ServerOptions(
        authorize=Keys(settings.auth_key, settings.users).user,
        max_clients=settings.max_clients,
        scheduler=settings.scheduler,
        congestion=settings.cc,
        spread=settings.spread,
        reorder=settings.reorder,
        reinjection=settings.reinjection,
        max_path_id=settings.init_max_path_id or 8,
        advertise=ranges_of(prefixes) if prefixes and DEFAULT not in settings.advertise else EVERYTHING,
        reset_key=load_reset_key(os.environ.get("STATE_DIRECTORY")),
        towards=partial(towards, netlink),
    )


async def _serve(settings: ServerSettings, configuration: Any, load: Load) -> int:
    stop = Stop()
    notifier = Notifier()
    pool = Pool(settings.subnet, settings.subnet6)
    async with AsyncExitStack() as up:
        passed = up.enter_context(closing(Passed()))
        undo = up.enter_context(journal_of(settings))
        listener = up.enter_context(control_listener(settings, passed.control()))
        leases = Leases(os.environ.get("STATE_DIRECTORY"), pool)
        up.push_async_callback(leases.close)
        qlog = up.enter_context(Qlog(settings.qlog_dir))
        udp = up.enter_context(passed.server_socket(settings.listen))
        device = up.enter_context(closing(Device(passed, settings.tun_name)))
        netlink = up.enter_context(Netlink())
        lent.remember(undo, netlink, device.tun)
        host = Host(netlink, settings, pool, settings.tun_name, undo)
        up.callback(stop.unless_succeeded, host.restore)
        host.apply()
        engine = Engine(is_server=True)
        on_event = leases.following(lambda event: told(status, event))
        pump = Pump(engine, packets_of(device.tun), device.tun.fd, on_event, partial(failed, stop))
        up.callback(pump.close)
        device.keep(pump, host.apply)
        up.enter_context(Upkeep(host, settings.tun_name))
        up.enter_context(TableUpkeep("masquerading", nat.table_of(settings.tun_name), host.translate))
        status = ServerStatus(settings, engine, pump, settings.tun_name)
        tunnel = pump.tunnel = ServerTunnel(engine, options_of(settings, netlink), pool, configuration)
        tunnel.recorder = qlog.recorder
        up.enter_context(LinkMtu(tunnel, pump, host.follow_mtu))
        pump.add_socket(SOCKET, udp)
        pump.start()
        pools = " and ".join(map(str, _pools(settings)))
        log.info("serving UDP %s, clients get addresses from %s", settings.listen, pools, extra=event_of("serving"))
        reload = Reload(settings, load, partial(apply, tunnel, status, netlink), LIVE, notifier)
        methods = server_methods(status, reload, Diagnosis(status, netlink))
        up.enter_context(Control(listener, methods))
        up.enter_context(TcpControl(up.enter_context(control_port(settings)), status))
        reporter = begin(report(notifier, status.everything, status.describe), "status line")
        up.callback(reporter.cancel)
        watchdog.feed(pump, notifier)
        notifier.ready()
        await stop.wait()
        notifier.stopping()
        if not stop.succeeded:  # else the clients learn from its successor that it is another
            now = clock()
            tunnel.close(now)
            pump.wake(now)
    return stop.status


def apply(tunnel: ServerTunnel, status: ServerStatus, netlink: Netlink, settings: ServerSettings) -> None:
    """Serve new connections by these settings. Raises CertificateUnusable, and nothing is changed then."""
    certificate = load_certificate(settings.cert_file, settings.key_file)
    tunnel.apply(options_of(settings, netlink), certificate)
    status.apply(settings)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    if isinstance(error, ssl.SSLError):
        return "no certificate and unencrypted key in PEM form"
    return str(error)


class Host:
    """What the server changes on the machine."""

    def __init__(
        self, netlink: Netlink, settings: ServerSettings, pool: Pool, interface: str, undo: Undo
    ) -> None:
        self._netlink = netlink
        self._settings = settings
        self._pool = pool
        self._interface = interface
        self._undo = undo
        self._link: TunLink | None = None

    def apply(self) -> None:
        """Set the TUN up, make this machine a router and translate addresses. Raises OperationFailed."""
        pools = _pools(self._settings)
        self._configure(self._settings.mtu or largest_inner_mtu(self._netlink.interfaces()))
        Sysctls(undo=self._undo).forward([pool.version for pool in pools], self._interface)
        table = nat.table_of(self._interface)
        former = [one for one in self._undo.record.tables if one != table]
        self._undo.note(tables=(*former, table))
        self.translate()
        for one in former:  # a predecessor had another TunName
            nat.remove(one)
        self._undo.note(tables=(table,))

    def _configure(self, mtu: int) -> None:
        addresses = _gateways(self._pool)
        self._link = TunLink(name=self._interface, mtu=mtu, addresses=addresses, gso_max_size=gso_max_size(mtu))
        self._netlink.configure(self._link)

    def follow_mtu(self) -> None:
        """Give the TUN the MTU that fits the interfaces now, unless one is configured. Raises OperationFailed."""
        if self._link is None or self._settings.mtu:
            return
        mtu = largest_inner_mtu(self._netlink.interfaces())
        if mtu != self._link.mtu:
            self._configure(mtu)

    def repair(self) -> bool:
        """Put back what somebody took away of the TUN's addresses; whether something was missing."""
        found = self._netlink.interfaces().get(self._interface)
        if self._link is None or found is None or self._link.describes(found):
            return False
        self._netlink.configure(self._link)
        return True

    def translate(self) -> None:
        """Set the translation of addresses up, once more if need be. Raises OperationFailed."""
        nat.apply(self._interface, _pools(self._settings))

    def restore(self) -> None:
        """Take back what apply() did; the TUN takes its addresses along when it is closed."""
        cleanup.restore(self._undo, self._netlink)


def largest_inner_mtu(interfaces: Mapping[str, Interface]) -> int:
    """Bytes of the largest IP packet that any client's paths may take; those who take less are answered with ICMP."""
    mtu = max((link.mtu for name, link in interfaces.items() if link.up and name != LOOPBACK), default=0)
    return udp_payload(max(mtu, ETHERNET), "0.0.0.0") - OVERHEAD - SPREAD_BYTES  # noqa: S104


def towards(netlink: Netlink, remote: Endpoint, local: Endpoint | None) -> int:
    """Bytes of UDP payload that the interface takes by which packets from `local` to `remote` leave."""
    try:
        source = ip_address(local[0]) if local is not None else None
        index, mtu = netlink.egress(ip_address(remote[0]), source)
    except OperationFailed as error:
        log.warning("%s", error)
        index = 0
    return udp_payload(mtu, remote[0]) if index else unknown(remote, local)


class Keys:
    """Who may connect: holders of the shared key, and users by keys of their own."""

    def __init__(self, shared: Secret | None, users: tuple[User, ...]) -> None:
        self._names = {user.key: user.name for user in users}
        if shared is not None:
            self._names.setdefault(shared, "")

    def user(self, token: bytes) -> str | None:
        """Whose key `token` is: a name, "" for the shared key, None for nobody's."""
        try:
            key = Secret(token.decode())
        except UnicodeDecodeError:
            return None
        return self._names.get(key)  # by digest, and compared in constant time


def told(status: ServerStatus, event: Any) -> None:
    """The tunnel tells something: count it, and log it."""
    status.handle_event(event)
    handle_event(event)


def handle_event(event: Any) -> None:
    """Log what an operator wants to know; addresses of users at debug only."""
    match event:
        case events.ClientJoined(number=number, user=user, addresses=addresses):
            who = user or "shared key"
            log.info("client %d (%s) connected", number, who, extra=event_of("client-connected", user=user))
            log.debug("client %d: addresses %s", number, ", ".join(map(str, addresses)))
        case events.ClientLeft(number=number, user=user, reason=reason):
            fields = event_of("client-left", user=user, reason=reason)
            log.info("client %d (%s) left: %s", number, user or "shared key", reason, extra=fields)
        case events.ClientRefused(number=number, status=status, reason=reason):
            fields = event_of("client-refused", reason=reason)
            log.warning("client %d refused with %d: %s", number, status, reason, extra=fields)


def failed(stop: Stop, error: Exception) -> None:
    """The packets' way is broken: end with status 1."""
    log.error("%s", error or repr(error))
    log.debug("where it happened", exc_info=error)
    stop(exit.FAILED)


def _pools(settings: ServerSettings) -> tuple[IPv4Network | IPv6Network, ...]:
    return (settings.subnet,) if settings.subnet6 is None else (settings.subnet, settings.subnet6)


def _gateways(pool: Pool) -> tuple[IPv4Interface | IPv6Interface, ...]:
    """The server's inner addresses; with the pool's prefix lengths its kernel routes the pool to the TUN."""
    own = [ip_interface(f"{pool.gateway}/{pool.network.prefixlen}")]
    if pool.network6 is not None:
        own.append(ip_interface(f"{pool.gateway6}/{pool.network6.prefixlen}"))
    return tuple(own)
