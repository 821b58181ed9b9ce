"""The client's tunnel, attempt after attempt: look the server up, connect, wait, and again until it is time to stop.

What an attempt brings is applied to the machine by host.Host, which keeps it until the daemon ends.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort
from mqvpn.daemon import exit
from mqvpn.daemon.backoff import Backoff
from mqvpn.daemon.ca import load_ca
from mqvpn.daemon.candidates import Candidates
from mqvpn.daemon.caps import Caps
from mqvpn.daemon.clientoptions import configuration, role_of, setting_of, tunnel_options
from mqvpn.daemon.clientstatus import ClientStatus
from mqvpn.daemon.dns import Dns
from mqvpn.daemon.eventlog import event as event_of
from mqvpn.daemon.host import Host
from mqvpn.daemon.identity import Identity
from mqvpn.daemon.later import AGAIN, Later
from mqvpn.daemon.names import Names
from mqvpn.daemon.passed import Passed
from mqvpn.daemon.pump import Pump, packets_of
from mqvpn.daemon.resolve import Resolver, Unresolved
from mqvpn.daemon.servers import Servers
from mqvpn.daemon.stop import Stop
from mqvpn.daemon.tasks import begin
from mqvpn.daemon.timerfd import clock, pause
from mqvpn.daemon.tunnellog import tell
from mqvpn.daemon.uplinks import Uplinks
from mqvpn.dataplane.engine import Engine
from mqvpn.system import tun
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink
from mqvpn.system.monitor import Monitor
from mqvpn.system.notify import Notifier
from mqvpn.tunnel import events
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.qlog import Recorder
from mqvpn.tunnel.reach import Reach
from mqvpn.tunnel.state import State
from mqvpn.wire.address import Network

log = logging.getLogger(__name__)

STATUSES = {
    events.Cause.LOST: exit.UNAVAILABLE,
    events.Cause.UNTRUSTED: exit.REFUSED,
    events.Cause.REFUSED: exit.REFUSED,
    events.Cause.FORGOTTEN: exit.UNAVAILABLE,
    events.Cause.REPLACED: exit.UNAVAILABLE,
}

LEAST_PAUSE = 0.3  # seconds between two attempts, however often interfaces change


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
        self._look_again: asyncio.TimerHandle | None = None
        self._mtu = 0
        self._was_up = False
        self.servers = Servers(settings.servers)
        self._resolve = Resolver()
        self._names = Names(self._find, self._found_later)
        self._candidates = Candidates(self.servers, self._names)
        self._told = False  # that redundant is not what we get
        self._tokens: dict[tuple[str, int], bytes] = {}
        self._reach = Reach()
        self._later = Later(self._refused)
        self.pump = Pump(self._engine, packets_of(device), device.fd, self._handle_event, self._failed)
        interfaces = tuple(path.interface for path in settings.paths)
        self.uplinks = Uplinks(netlink, self.pump, interfaces, passed, settings.fwmark)
        self.pump.on_gap = self._slept
        self.caps = Caps(lambda: self._settings, self.uplinks, self._caps_changed)
        self.dns = Dns(settings, device.name, stop, host.undo, lambda: stop.succeeded)
        self.status = ClientStatus(settings, self._engine, self.pump, device.name, self.dns, self.servers)
        self.status.interfaces, self.status.usage = self.uplinks.names, self.caps.usage
        self.status.routes = host.routes

    def watch(self, monitor: Monitor) -> None:
        """Follow what happens to our interfaces."""
        asyncio.get_running_loop().add_reader(monitor.fileno(), self._interfaces_changed, monitor)

    def device_renewed(self) -> None:
        """The TUN device is another one, without addresses and routes. Raises OperationFailed."""
        if self._host.repair():
            self.dns.tunnel_up(lambda: None)

    def apply(self, settings: ClientSettings) -> None:
        """Reloaded settings: the paths change at once, what concerns the server with the next connection.

        Raises CAUnusable or OperationFailed, and nothing is changed then.
        """
        ca = load_ca(settings.ca_file)
        self._host.reload(settings)
        self._ca = ca
        self._settings = settings
        self._backoff = Backoff(settings.reconnect_interval)
        self.servers.replace(settings.servers)
        self.status.apply(settings)
        leaving = self.uplinks.replace(tuple(path.interface for path in settings.paths))
        now = clock()
        if self._tunnel is not None:
            self._renew_uplinks(now)
            for interface in leaving:
                self._tunnel.handle_link(interface, (), now)
        self.pump.wake(now)
        self.uplinks.remove()

    async def keep_up(self) -> None:
        """Connect, and connect again, until it is time to stop."""
        self.pump.start()
        while not self._stop.wished:
            self.status.attempt()
            self._was_up = False
            closed = await self._attempt()
            if closed is None or self._stop.wished:
                break
            self.status.ended(closed)
            another = not self._was_up and self._next_server(closed)
            if another or self._goes_on_after(closed):
                await self._wait(closed, another=another)
            else:
                self._stop(exit.failing(STATUSES[closed.cause], closed.reason))
        self._say_goodbye()

    def _goes_on_after(self, closed: events.Closed) -> bool:
        if self._settings.reconnect == "always":
            return True
        return bool(self._settings.reconnect) and closed.cause is not events.Cause.REFUSED

    def _next_server(self, closed: events.Closed) -> bool:
        """After an attempt that came to nothing: whether there is a server that may do better."""
        if not self.uplinks.offers and self.uplinks.servers:
            return False  # it is our links that are to blame
        return self._candidates.failed(closed.reason, self._tunnel, clock())

    async def _attempt(self) -> events.Closed | None:
        """One tunnel, from the names of its servers to its end; None if it is to stop."""
        self._tunnel = None
        self._links_changed.clear()  # what ended the wait for this attempt must not end the next one
        candidates = self._candidates.choose(clock())
        try:
            await self._stop.interrupts(self._names.look_up(candidates))
        except Unresolved as error:
            return events.Closed(str(error))
        if self._stop.wished:
            return None
        now = clock()
        self._links_changed.clear()
        first, *others = [
            (tunnel_options(self._settings, server, self._identity), configuration(self._settings, server, self._ca))
            for server in candidates
        ]
        hurried = self.servers.has_another(now)
        tunnel = ClientTunnel(self._engine, *first, self._tokens, others, self._reach, hurried=hurried)
        self._tunnel = self.pump.tunnel = tunnel
        self._lead()
        self._tunnel.recorder = self._recorder
        self._closed = asyncio.get_running_loop().create_future()
        self._offer_uplinks(self._tunnel, now)
        self._tunnel.handle_timeout(now)
        self.pump.wake(now)
        return await self._stop.interrupts(self._closed)

    def _offer_uplinks(self, tunnel: ClientTunnel | None, now: float) -> None:
        current = self.uplinks.current()
        for interface, ways in current.items():
            if tunnel is not None:
                role = role_of(setting_of(self._settings, interface), spent=self.caps.is_spent(interface))
                tunnel.set_role(interface, role, now)
                tunnel.handle_link(interface, ways, now)
        if self.uplinks.lacks_sockets:
            self._look_soon()
        self._later("reverse path filtering", lambda: self._host.let_replies_in(self.uplinks.carriers()))

    def _renew_uplinks(self, now: float) -> bool:
        """Offer them to a tunnel that has some already: what the machine refuses now is tried again. Whether nothing
        was."""
        try:
            self._offer_uplinks(self._tunnel, now)
        except OperationFailed as error:
            log.warning("%s", error)
            self._look_soon()
            return False
        return True

    def _look_soon(self) -> None:
        """Something was refused, for want of a descriptor perhaps: try it again."""
        if self._look_again is None:
            self._look_again = asyncio.get_running_loop().call_later(AGAIN, self._look)

    def _look(self) -> None:
        self._look_again = None
        if not self._stop.wished:
            self._links_may_have_changed()

    def _lead(self) -> None:
        """Have uplinks to the servers that the tunnel may lead to: all that are asked, until one of them is chosen."""
        chosen = self._tunnel.chosen if self._tunnel is not None else None
        asked = enumerate(self._candidates.asked)
        self.uplinks.lead_to({place: self._names.addresses(one) for place, one in asked if chosen in (None, place)})

    async def _find(self, server: HostPort) -> list[tuple[str, int]]:
        others = self.dns.others()
        hidden = self._settings.kill_switch or others or self._host.undo.record.slot is not None
        return await self._resolve(server.host, server.port, self._settings.fwmark if hidden else None, others)

    def _asked_enough(self, asking: "asyncio.Task[None]") -> None:
        """A server has an address that was not known before, unless the asking was given up."""
        if not asking.cancelled() and asking.exception() is None:
            self._links_changed.set()

    def _found_later(self) -> None:
        """The addresses of one more server are known, or new ones of one that was asked by those known before."""
        if self._tunnel is not None and self._tunnel.chosen is not None:
            return
        now = clock()
        self._lead()
        self._renew_uplinks(now)
        self.pump.wake(now)

    async def _wait(self, closed: events.Closed, *, another: bool) -> None:
        """Until the next attempt; a change of our interfaces ends the wait, and so does a server that can be reached
        again, or has another address, unless another client replaced us.

        `another`: there is a server to be asked that did not fail yet.
        """
        delay = LEAST_PAUSE if another else self._backoff.next(closed.cause)
        self.status.wait(delay)
        down = event_of("tunnel-down", reason=closed.reason)
        log.warning("%s; next attempt in %.0f s", closed.reason, delay, extra=down)
        wake = self._links_changed
        if closed.cause is events.Cause.REPLACED:
            log.warning("the state directory of another machine may be a copy of ours: we become another instance")
            self._identity.renew()
            wake = asyncio.Event()
        elif self._tunnel is not None:
            self._tunnel.ask(clock())
            self.pump.wake(clock())
        asking = begin(self._names.keep_asking(self._candidates.asked), "asking for the servers' names")
        asking.add_done_callback(self._asked_enough)
        try:
            await self._stop.interrupts(pause(delay, wake, least=LEAST_PAUSE))
        finally:
            asking.cancel()
        if self._tunnel is not None:
            self._tunnel.discard()

    def _say_goodbye(self) -> None:
        self._names.stop()
        self._later.close()
        if self._tunnel is not None and self._tunnel.state is not State.CLOSED:
            now = clock()
            self._tunnel.close(now)
            self.pump.wake(now)

    def _interfaces_changed(self, monitor: Monitor) -> None:
        try:
            changes = monitor.read()
        except OperationFailed as error:
            log.warning("%s", error)
            return
        if changes and self.uplinks.concerned(changes):
            self._links_may_have_changed()

    def _links_may_have_changed(self) -> None:
        now = clock()
        if self._renew_uplinks(now) and (self.uplinks.gained or not self.uplinks.servers):
            self._try_at_once()
        self.pump.wake(now)

    def _try_at_once(self) -> None:
        """A wait for the next attempt is over, as something has changed for the better."""
        self._backoff.reset()
        self.servers.forgive()
        self._links_changed.set()

    def _caps_changed(self) -> None:
        """An interface is another kind of path from now on, as its cap is used up or a new period has begun."""
        now = clock()
        self._renew_uplinks(now)
        self.pump.wake(now)

    def _slept(self, seconds: float) -> None:
        """The machine, or this process, did nothing for so long."""
        log.info("slept for %.0f s: every path is asked whether it is still there", seconds)
        self._try_at_once()
        if self._tunnel is not None:
            self._tunnel.slept(clock())

    def _failed(self, error: Exception) -> None:
        log.error("%s", error or repr(error))
        log.debug("where it happened", exc_info=error)
        self._stop(exit.FAILED)

    def _handle_event(self, event: Any) -> None:
        self.status.handle_event(event)
        match event:
            case events.TunnelUp(addresses=addresses, mtu=mtu):
                self._up(addresses, mtu)
            case events.AddressesChanged(addresses=addresses):
                self._identity.remember(addresses)
                self._change("the address", self._address)
            case events.RoutesAdvertised(ranges=ranges):
                servers = [host for host, _ in self.uplinks.servers]
                self._change("routing", lambda: self._host.advertised(ranges, servers))
            case events.MtuChanged(mtu=mtu):
                self._mtu = mtu
                self._change("the address", self._address)
            case events.ServerBack():
                self._links_changed.set()
            case events.Closed() if self._closed is not None and not self._closed.done():
                self._closed.set_result(event)
        tell(event)

    def _up(self, addresses: tuple[Network, ...], mtu: int) -> None:
        self._mtu = mtu
        self._identity.server = str(self._candidates.settle(self._tunnel, clock()))
        self._names.stop()
        self._lead()
        log.debug("addresses: %s", ", ".join(map(str, addresses)))
        self._identity.remember(addresses)
        self._change("the address", self._address)
        self._backoff.reset()
        self._was_up = True
        spread = self._tunnel is not None and self._tunnel.spread
        if self._settings.scheduler == "redundant" and not spread and not self._told:
            self._told = True
            log.warning("redundant needs Spread on both ends: the scheduler is minrtt")
        self._change("the DNS", lambda: self.dns.tunnel_up(self._notifier.ready))

    def _address(self) -> None:
        """Give the TUN what the tunnel has by now."""
        if addresses := self._tunnel.addresses if self._tunnel else ():
            self._host.apply(addresses, self._mtu)

    def _change(self, what: str, change: Callable[[], None]) -> None:
        """Change the machine, later if there is no descriptor for it now."""
        try:
            self._later(what, change)
        except OperationFailed as error:
            self._refused(error)

    def _refused(self, error: Exception) -> None:
        """What the machine refuses ends the daemon, unless our device was just deleted: the next one is set up."""
        if not isinstance(error, OperationFailed):
            self._failed(error)
        elif tun.exists(self._settings.tun_name):
            log.error("%s", error)
            self._stop(exit.status_of(error))
        else:
            log.debug("%s", error)
