"""mqvpn-client: keeps one tunnel up, and the machine's TUN, addresses, routes and DNS with it.

The TUN device lives as long as the daemon, so programs notice a reconnect as a pause. Everything is undone
in reverse order when it stops. Exit statuses: 69 unreachable with Reconnect = false, 77 refused.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack, closing, suppress
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from mqvpn.config.client import ClientSettings
from mqvpn.daemon import exit, watchdog
from mqvpn.daemon.backoff import Backoff
from mqvpn.daemon.ca import CAUnusable, load_ca
from mqvpn.daemon.cleanup import sysctl_record
from mqvpn.daemon.clientstatus import ClientStatus
from mqvpn.daemon.control import Control
from mqvpn.daemon.controlsocket import control_listener
from mqvpn.daemon.diagnose import Diagnosis
from mqvpn.daemon.dns import Dns
from mqvpn.daemon.eventlog import event as event_of
from mqvpn.daemon.identity import Identity
from mqvpn.daemon.killswitch import KillSwitch
from mqvpn.daemon.log import start_logging
from mqvpn.daemon.methods import client_methods
from mqvpn.daemon.passed import Passed
from mqvpn.daemon.pump import Pump, gso_max_size, packets_of
from mqvpn.daemon.qlog import Qlog
from mqvpn.daemon.reload import Load, Reload
from mqvpn.daemon.resolve import Unresolved, resolve
from mqvpn.daemon.stats import report
from mqvpn.daemon.stop import Stop
from mqvpn.daemon.timerfd import clock
from mqvpn.daemon.undojournal import journal_of
from mqvpn.daemon.uplinks import Uplinks
from mqvpn.dataplane.engine import Engine
from mqvpn.multipath.configuration import quic_configuration
from mqvpn.system import namespace, routing, tun
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink, TunLink
from mqvpn.system.monitor import Monitor
from mqvpn.system.notify import Notifier
from mqvpn.system.routing import MARK
from mqvpn.system.sysctl import Sysctls
from mqvpn.system.undo import Undo
from mqvpn.tunnel import events
from mqvpn.tunnel.client import ClientOptions, ClientTunnel, State
from mqvpn.tunnel.paths import Role
from mqvpn.tunnel.qlog import Recorder
from mqvpn.wire.address import Network

log = logging.getLogger(__name__)

IDLE_TIMEOUT = 60.0  # seconds without a packet of the server's
KEEP_ALIVE = 15.0  # seconds
STATUSES = {
    events.Cause.LOST: exit.UNAVAILABLE,
    events.Cause.UNTRUSTED: exit.REFUSED,
    events.Cause.REFUSED: exit.REFUSED,
    events.Cause.FORGOTTEN: exit.UNAVAILABLE,
    events.Cause.REPLACED: exit.UNAVAILABLE,
}

LIVE = (
    *("log_level", "paths", "reconnect", "reconnect_interval"),
    *("server_addr", "tls_server_name", "pins", "ca_file", "insecure", "auth_key"),
    *("scheduler", "cc", "spread", "reinjection", "init_max_path_id"),
)


def run(settings: ClientSettings, load: Load | None = None) -> int:
    """Run the client until a signal or a failure ends it; returns the exit status. `load` reads the settings again."""
    start_logging(settings.log_level, settings.name)
    try:
        return asyncio.run(_serve(settings, load or (lambda: settings)))
    except CAUnusable as error:
        return exit.failing(exit.CONFIG, error)
    except OperationFailed as error:
        return exit.failing(exit.FAILED, error)


async def _serve(settings: ClientSettings, load: Load) -> int:
    stop = Stop()
    notifier = Notifier()
    async with AsyncExitStack() as up:
        passed = up.enter_context(closing(Passed()))
        listener = up.enter_context(control_listener(settings, passed.control()))
        qlog = up.enter_context(Qlog(settings.qlog_dir))
        netlink = up.enter_context(Netlink())
        switch = KillSwitch(settings.name, settings.tun_name, wanted=settings.kill_switch, lan=settings.allow_lan)
        up.callback(lambda: switch.close(lift=stop.wished and stop.status == 0 and not stop.succeeded))
        switch.engage()
        device = passed.tun(settings.tun_name)
        up.callback(os.close, device.fd)
        host = Host(netlink, device.name, settings, switch, journal_of(settings))
        up.callback(stop.unless_succeeded, host.restore)
        identity = Identity(os.environ.get("STATE_DIRECTORY"), str(settings.server_addr))
        up.push_async_callback(identity.close)
        client = Client(settings, netlink, device, host, notifier, stop, qlog.recorder, identity, passed)
        up.callback(client.pump.close)
        up.enter_context(client.uplinks)
        monitor = Monitor()
        up.callback(monitor.close)
        client.watch(monitor)
        reload = Reload(settings, load, client.apply, LIVE, notifier)
        methods = client_methods(client.status, reload, Diagnosis(client.status, netlink))
        up.enter_context(Control(listener, methods))
        reporter = asyncio.create_task(report(notifier, client.status, client.status.describe))
        up.callback(reporter.cancel)
        watchdog.feed(client.pump, notifier)
        await up.enter_async_context(client.dns)
        if settings.start_wait == "started":
            notifier.ready()
        await client.keep_up()
        notifier.stopping()
    return stop.status


class Host:
    """What the client changes on the machine."""

    def __init__(
        self, netlink: Netlink, interface: str, settings: ClientSettings, switch: KillSwitch, undo: Undo
    ) -> None:
        self._netlink = netlink
        self._undo = undo
        self._switch = switch
        self._interface = interface
        self._settings = settings
        self._sysctls = Sysctls(record=sysctl_record())
        self._addresses: tuple[Network, ...] = ()

    def let_replies_in(self, interfaces: list[str]) -> None:
        """Let the server's packets in by these interfaces, though our routes lead its address into the TUN."""
        if self._settings.manage_routes:
            for interface in interfaces:
                self._sysctls.loosen_rp_filter(interface)

    def apply(self, addresses: tuple[Network, ...], mtu: int) -> None:
        """Give the TUN these addresses and this MTU; default routes of their IP versions lead into it."""
        inner = tuple(_on_link(prefix) for prefix in addresses)
        self._switch.set_addresses(tuple(address.ip for address in inner))
        mtu = min(self._settings.mtu or mtu, mtu)
        link = TunLink(name=self._interface, mtu=mtu, addresses=inner, gso_max_size=gso_max_size(mtu))
        self._netlink.configure(link)
        if self._settings.manage_routes and addresses != self._addresses:
            versions = {prefix.version for prefix in addresses}
            lan = self._settings.allow_lan or not self._settings.kill_switch
            wanted = tuple(route for route in routing.DEFAULT_ROUTES if route.version in versions)
            self._route(routing.TunnelRoutes(self._interface, wanted, lan=lan))
        self._addresses = addresses

    def _route(self, want: routing.TunnelRoutes) -> None:
        with namespace.alone():  # of two that start at once, each finds a slot of its own
            slot = self._undo.record.slot or routing.choose(self._netlink, self._interface)
            self._undo.note(slot=slot)
            routing.apply(self._netlink, want, slot)

    def restore(self) -> None:
        """Take back what apply() and prepare() did; the TUN takes its addresses along when it is closed."""
        try:
            if self._undo.record.slot is not None:
                routing.apply(self._netlink, routing.EMPTY, self._undo.record.slot)
                self._undo.note(slot=None)
        except OperationFailed as error:
            log.warning("%s", error)
        self._sysctls.restore()


class Client:
    """The tunnel, attempt after attempt."""

    def __init__(
        self,
        settings: ClientSettings,
        netlink: Netlink,
        device: tun.Tun,
        host: Host,
        notifier: Notifier,
        stop: Stop,
        recorder: Recorder | None,
        identity: Identity,
        passed: Passed,
    ) -> None:
        self._settings = settings
        self._ca = load_ca(settings.ca_file)
        self._identity = identity
        self._host = host
        self._notifier = notifier
        self._stop = stop
        self._recorder = recorder
        self._engine = Engine(is_server=False)
        self._backoff = Backoff(settings.reconnect_interval)
        self._tunnel: ClientTunnel | None = None
        self._closed: asyncio.Future[events.Closed] | None = None
        self._links_changed = asyncio.Event()
        self._mtu = 0
        self._tokens: dict[tuple[str, int], bytes] = {}
        self.pump = Pump(self._engine, packets_of(device), device.fd, self._handle_event, self._failed)
        self.uplinks = Uplinks(netlink, self.pump, tuple(path.interface for path in settings.paths), passed)
        self.dns = Dns(settings, device.name, stop)
        self.status = ClientStatus(settings, self._engine, self.pump, device.name, self.dns)

    def watch(self, monitor: Monitor) -> None:
        """Follow what happens to our interfaces."""
        asyncio.get_running_loop().add_reader(monitor.fileno(), self._interfaces_changed, monitor)

    def apply(self, settings: ClientSettings) -> None:
        """Reloaded settings: the paths change at once, what concerns the server with the next connection.

        Raises CAUnusable, and nothing is changed then.
        """
        self._ca = load_ca(settings.ca_file)
        self._settings = settings
        self._backoff = Backoff(settings.reconnect_interval)
        self.status.apply(settings)
        leaving = self.uplinks.replace(tuple(path.interface for path in settings.paths))
        now = clock()
        if self._tunnel is not None:
            self._offer_uplinks(self._tunnel, now)
            for interface in leaving:
                self._tunnel.handle_link(interface, (), now)
            for interface, role in _roles(settings).items():
                self._tunnel.set_role(interface, role, now)
        self.pump.wake(now)
        self.uplinks.remove()

    async def keep_up(self) -> None:
        """Connect, and connect again, until it is time to stop."""
        self.pump.start()
        while not self._stop.wished:
            self.status.attempt()
            closed = await self._attempt()
            if closed is None or self._stop.wished:
                break
            self.status.ended(closed)
            if self._settings.reconnect and closed.cause is not events.Cause.REFUSED:
                await self._wait(closed)
            else:
                self._stop(exit.failing(STATUSES[closed.cause], closed.reason))
        self._say_goodbye()

    async def _attempt(self) -> events.Closed | None:
        """One tunnel, from the name to its end; None if it is to stop."""
        try:
            await self._stop.interrupts(self._resolve())
        except Unresolved as error:
            return events.Closed(str(error))
        if self._stop.wished:
            return None
        now = clock()
        self._links_changed.clear()
        self._tunnel = self.pump.tunnel = ClientTunnel(
            self._engine, self._options(), self._configuration(), self._tokens
        )
        self._tunnel.recorder = self._recorder
        self._closed = asyncio.get_running_loop().create_future()
        self._offer_uplinks(self._tunnel, now)
        self._tunnel.handle_timeout(now)
        self.pump.wake(now)
        return await self._stop.interrupts(self._closed)

    def _offer_uplinks(self, tunnel: ClientTunnel, now: float) -> None:
        self._host.let_replies_in(self.uplinks.carriers())
        for interface, ways in self.uplinks.current().items():
            tunnel.handle_link(interface, ways, now)

    async def _resolve(self) -> None:
        """Look the server up; while that fails, what was known before is still good."""
        address = self._settings.server_addr
        try:
            others = self.dns.others()
            mark = MARK if self._settings.kill_switch or others else None
            self.uplinks.servers = await resolve(address.host, address.port, mark, others)
        except Unresolved as error:
            if not self.uplinks.servers:
                raise
            log.warning("%s: using the addresses known before", error)

    def _options(self) -> ClientOptions:
        key = self._settings.auth_key
        return ClientOptions(
            host=self._settings.server_addr.host,
            port=self._settings.server_addr.port,
            key=key.reveal().encode() if key is not None else b"",
            scheduler=self._settings.scheduler,
            congestion=self._settings.cc,
            spread=self._settings.spread,
            reinjection=self._settings.reinjection,
            roles=_roles(self._settings),
            keep_alive=KEEP_ALIVE,
            max_path_id=self._settings.init_max_path_id or 8,
            instance=self._identity.instance,
            last_addresses=self._identity.last_addresses,
        )

    def _configuration(self) -> Any:
        return quic_configuration(
            is_client=True,
            idle_timeout=IDLE_TIMEOUT,
            server_name=self._settings.server_name,
            verify=not self._settings.insecure,
            ca=self._ca,
            pins=self._settings.pins,
        )

    async def _wait(self, closed: events.Closed) -> None:
        """Until the next attempt; a change of our interfaces ends the wait, unless another client replaced us."""
        delay = self._backoff.next(closed.cause)
        self.status.wait(delay)
        down = event_of("tunnel-down", reason=closed.reason)
        log.warning("%s; next attempt in %.0f s", closed.reason, delay, extra=down)
        wake = self._links_changed
        if closed.cause is events.Cause.REPLACED:
            log.warning("the state directory of another machine may be a copy of ours: we become another instance")
            self._identity.renew()
            wake = asyncio.Event()
        with suppress(TimeoutError):
            await self._stop.interrupts(asyncio.wait_for(wake.wait(), delay))
        if self._tunnel is not None:
            self._tunnel.discard()

    def _say_goodbye(self) -> None:
        if self._tunnel is not None and self._tunnel.state is not State.CLOSED:
            now = clock()
            self._tunnel.close(now)
            self.pump.wake(now)

    def _interfaces_changed(self, monitor: Monitor) -> None:
        try:
            changes = monitor.read()
            if not changes or not self.uplinks.concerned(changes):
                return
            self._links_changed.set()
            now = clock()
            if self._tunnel is not None:
                self._offer_uplinks(self._tunnel, now)
            self.pump.wake(now)
        except OperationFailed as error:
            log.warning("%s", error)

    def _failed(self, error: Exception) -> None:
        log.error("%s", error or repr(error))
        log.debug("where it happened", exc_info=error)
        self._stop(exit.FAILED)

    def _handle_event(self, event: Any) -> None:
        name = getattr(event, "interface", "") or "default interface"
        self.status.handle_event(event)
        match event:
            case events.TunnelUp(addresses=addresses, mtu=mtu):
                self._up(addresses, mtu)
                log.info("tunnel up over %s, MTU %d", name, mtu, extra=event_of("tunnel-up", path=name))
            case events.AddressesChanged(addresses=addresses):
                self._identity.remember(addresses)
                self._change(lambda: self._host.apply(addresses, self._mtu))
                log.info("the server changed our addresses")
            case events.MtuChanged(mtu=mtu):
                self._mtu = mtu
                self._change(lambda: self._host.apply(self._tunnel.addresses if self._tunnel else (), mtu))
            case events.PathUp(path_id=path_id):
                log.info("path %d up over %s", path_id, name, extra=event_of("path-up", path=name))
            case events.PathDown(path_id=path_id, reason=reason):
                fields = event_of("path-down", path=name, reason=reason)
                log.info("path %d over %s is closed: %s", path_id, name, reason, extra=fields)
            case events.PathSilent(path_id=path_id):
                log.warning("path %d over %s does not answer", path_id, name, extra=event_of("path-silent", path=name))
            case events.PathAnswers(path_id=path_id):
                log.info("path %d over %s answers again", path_id, name, extra=event_of("path-answers", path=name))
            case events.Closed() if self._closed is not None and not self._closed.done():
                self._closed.set_result(event)

    def _up(self, addresses: tuple[Network, ...], mtu: int) -> None:
        self._mtu = mtu
        log.debug("addresses: %s", ", ".join(map(str, addresses)))
        self._identity.remember(addresses)
        self._change(lambda: self._host.apply(addresses, mtu))
        self._backoff.reset()
        self.dns.tunnel_up(self._notifier.ready)

    def _change(self, change: Callable[[], None]) -> None:
        """Change the machine; what it refuses ends the daemon, for the operator must know."""
        try:
            change()
        except OperationFailed as error:
            log.error("%s", error)
            self._stop(exit.FAILED)


def _on_link(prefix: Network) -> IPv4Interface | IPv6Interface:
    return ip_interface(f"{prefix.network_address}/{prefix.prefixlen}")


def _roles(settings: ClientSettings) -> dict[str, Role]:
    """The part of each interface by its name."""
    return {path.interface: Role(path.role == "backup", path.weight) for path in settings.paths}
