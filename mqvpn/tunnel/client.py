"""ClientTunnel: one attempt at a CONNECT-IP tunnel over Multipath QUIC, from the first handshake to its end.

CONNECTING  handshakes race over the uplinks, each a connection of its own; the first to finish wins
REQUESTING  extended CONNECT once the server's SETTINGS allow it (RFC 9220), then addresses (RFC 9484, 4.7)
UP          IP packets flow through the engine; every other usable interface gets a path
CLOSED      for good: whoever wants another attempt makes another ClientTunnel, and ask() tells when it is worth while
"""

import logging
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from mqvpn.connectip import events as connectip
from mqvpn.connectip.error import Refused, StreamError
from mqvpn.connectip.extension import INSTANCE, LAST_ADDRESS, REORDER, SPREAD
from mqvpn.connectip.request import check_response, compose, default_template
from mqvpn.connectip.session import Session
from mqvpn.dataplane.engine import SPREAD_BYTES, STAMP_BYTES, Engine, ReorderRule
from mqvpn.multipath import events as multipath
from mqvpn.multipath import seam
from mqvpn.multipath.configuration import with_token
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.tunnel import ending, events, http3
from mqvpn.tunnel.core import Endpoint, Tunnel
from mqvpn.tunnel.invariants import LongHeader
from mqvpn.tunnel.options import ClientOptions
from mqvpn.tunnel.paths import ClientPaths, PathEvent, Role, Uplink
from mqvpn.tunnel.race import Race
from mqvpn.tunnel.reach import Reach
from mqvpn.tunnel.state import TRANSITIONS, Input, State
from mqvpn.wire.address import Network
from mqvpn.wire.http3 import H3ErrorCode

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 10.0  # seconds from the handshake to the answer, and from there to the first address
HURRIED_TIMEOUT = 3.0  # seconds from the handshake to the answer while another server may do better; or, on slow links,
HURRIED_HANDSHAKES = 6  # so many times what the handshake took, a round trip or more; SETTINGS and answer take two
ASK_AFTER = 1.0  # seconds without an address before ADDRESS_REQUEST; connect-ip-go takes it for an error
ANY_ADDRESS: tuple[Network, ...] = (IPv4Network("0.0.0.0/32"), IPv6Network("::/128"))


class ClientTunnel(Tunnel):
    """The client's side. handle_link() names the uplinks; poll() yields tunnel.events."""

    def __init__(
        self,
        engine: Engine,
        options: ClientOptions,
        configuration: Any,
        tokens: dict[Endpoint, bytes] | None = None,
        others: Sequence[tuple[ClientOptions, Any]] = (),
        reach: Reach | None = None,
        *,
        hurried: bool = False,
    ) -> None:
        """tokens: of servers by address, from earlier tunnels; new ones are left there for later tunnels. others: what
        holds for servers that are asked beside the first if that does not answer soon. reach: what earlier tunnels
        found out. hurried: another server may do better than one that answers and then says nothing."""
        super().__init__(engine)
        self.state = State.CONNECTING
        self.connection: MultipathConnection | None = None
        self._server: Endpoint = ("", 0)  # where it leads
        self._options = options
        self._servers = ((options, configuration), *others)
        self.chosen: int | None = None  # the place of the server whose handshake was the first to be complete
        self._tokens = {} if tokens is None else tokens
        self._paths = ClientPaths(options.roles)
        self._race = Race()
        self._reach = Reach() if reach is None else reach
        self._asks = False  # whether a server can be reached
        self._hurried = hurried
        self._http3: http3.Http3 | None = None
        self._session = Session(lenient=True)
        self._stream_id: int | None = None
        self._answered = self._spread = False
        self._reorder: tuple[ReorderRule, ...] = ()
        self._ask_at: float | None = None
        self._give_up_at: float | None = None

    def handle_link(self, interface: str, uplinks: tuple[Uplink, ...], now: float) -> None:
        """What `interface` can be used for from now on; no uplinks: no carrier, no address, or gone."""
        self._paths.handle_link(interface, uplinks, now)
        if self.state is State.CONNECTING:
            for attempt in self._race.links_changed(self._paths.uplinks(), now):
                self.remove(attempt)
        elif self.connection is not None:
            self._paths.open_missing(now)
            self.touch(self.connection)
        if self.state is State.CONNECTING or self._asks:
            self.ask(now)

    def ask(self, now: float) -> None:
        """Ask from now on whether a server can be reached; ServerBack follows when one is that was not."""
        self._asks = True
        self._reach.watch(self._paths.uplinks(), self._paths.backups(), now)

    def discard(self) -> None:
        self._asks = False
        self._reach.pause()
        super().discard()

    def slept(self, now: float) -> None:
        """The machine, or this process, has slept: find out at once which paths are still there."""
        self._paths.slept(now)
        if self.connection is not None:
            self.touch(self.connection)

    def set_role(self, interface: str, role: Role, now: float) -> None:
        """Make an interface a backup or a primary one, or change its weight, also while its path is in use."""
        self._paths.set_role(interface, role, now)
        if self.connection is not None:
            self.touch(self.connection)

    @property
    def addresses(self) -> tuple[Network, ...]:
        """The inner addresses assigned to us."""
        return tuple(entry.prefix for entry in self._session.assigned)

    @property
    def spread(self) -> bool:
        """Whether both ends let a flow use several paths, once the server has answered."""
        return self._spread

    @property
    def server(self) -> Endpoint | None:
        """The server's address, once one of them has answered."""
        return self._server if self._server[0] else None

    @property
    def failures(self) -> dict[int, events.Closed]:
        """Of handshakes, by the place of their server."""
        return self._race.failures

    def interfaces(self) -> dict[int, str]:
        """The interface of each path by path ID."""
        links = self._paths.links.items()
        return {link.path_id: name for name, link in links if link.path_id is not None}

    def close(self, now: float) -> None:
        """End the tunnel in good order; datagrams() and Engine.transmit() still have to carry it out."""
        self._send(b"", end=True)
        self._end("closed by us")
        self._settle(now)

    def _long_header(self, socket: int, remote: Endpoint, local: Endpoint | None, data: bytes, now: float) -> None:
        header = LongHeader.read(data)
        if self._reach.is_back((socket, remote), data):
            self._back(socket, remote, now)
        for connection in list(self._connections):
            if header is not None and header.destination == connection.host_cid:
                self._race.heard(connection)
                # Without the local address, or it would be pinned: the kernel goes on choosing the source.
                self.receive_long(connection, data, socket, remote, None, now)

    def _unknown(self, socket: int, remote: Endpoint, local: Endpoint | None, data: bytes, now: float) -> None:
        """A late packet of an earlier connection: nobody waits for it."""

    def _back(self, socket: int, remote: Endpoint, now: float) -> None:
        """The server answers where it did not."""
        if self.state is State.CONNECTING:
            for attempt in self._race.again(socket, remote, now):
                self.remove(attempt)
        elif self.state is State.CLOSED:
            self._events.append(events.ServerBack(self._paths.by_socket(socket), remote))

    def _quic_event(self, connection: MultipathConnection, event: Any, now: float) -> None:
        if connection is self.connection:
            self._winner_event(event, now)
        elif isinstance(event, multipath.PathEstablished) and self.state is State.CONNECTING:
            self._handshake_won(connection, now)
            self._events.append(self._paths.handle_event(event, now))
        elif isinstance(event, seam.ConnectionTerminated):
            failure = ending.terminated(event, unanswered=False, presented=connection.presented)
            self._race.lost(connection, failure)

    def _send_capsule(self, connection: MultipathConnection, stream_id: int, capsule: bytes) -> None:
        self._send(capsule)

    def _connection_lost(self, connection: MultipathConnection, reason: str) -> None:
        if connection is self.connection:
            self._move(Input.END, events.Closed(reason))
        else:
            self._race.lost(connection, events.Closed(reason))

    def _handshake_won(self, connection: MultipathConnection, now: float) -> None:
        self._move(Input.HANDSHAKE)
        took = self._race.took(connection, now)
        uplink = self._race.won(connection)
        self._reach.pause()
        self._tokens.pop(uplink.remote, None)  # each serves once (RFC 9000, section 8.1.3)
        for loser in self._race.attempts():
            loser.close(H3ErrorCode.H3_NO_ERROR)
            self.touch(loser)
        self.connection, self._server, self.chosen = connection, uplink.remote, uplink.server
        self._options = self._servers[uplink.server][0]
        self._http3 = http3.Http3(connection)
        patience = max(HURRIED_TIMEOUT, HURRIED_HANDSHAKES * took) if self._hurried else REQUEST_TIMEOUT
        self._give_up_at = now + min(patience, REQUEST_TIMEOUT)
        self._paths.start(connection, uplink, now)
        log.debug("handshake with %s over %s", uplink.remote, uplink.interface or "any interface")

    def _winner_event(self, event: Any, now: float) -> None:
        if isinstance(event, seam.ConnectionTerminated):
            unanswered = self._stream_id is not None and not self._answered
            self._move(Input.END, ending.terminated(event, unanswered=unanswered))
        elif isinstance(event, PathEvent):
            self._events.append(self._paths.handle_event(event, now))
        elif isinstance(event, multipath.MtuChanged):
            self._mtu_changed(event.mtu)
        elif isinstance(event, multipath.NewToken):
            self._tokens[self._server] = event.token
        elif self._http3 is not None:
            for found in self._http3.handle_event(event):
                self._http3_event(found, now)
            self._request(self._http3)

    def _request(self, http: http3.Http3) -> None:
        """Send the request once it may be sent (RFC 8441, section 3: not before the server's SETTINGS)."""
        if self._stream_id is not None or self.state is not State.REQUESTING:
            return
        if http.connect_allowed:
            template = default_template(self._options.host, self._options.port)
            request = compose(template, token=self._options.key, extensions=self._extensions())
            self._stream_id = http.request(request)
        elif http.settings_received:
            self._end("the server does not offer CONNECT-IP")

    def _extensions(self) -> http3.Headers:
        options = self._options
        instance = (INSTANCE, options.instance.encode())
        fields = ((SPREAD, options.spread), (REORDER, options.reorder), (instance, options.instance))
        return [field for field, wanted in (*fields, (LAST_ADDRESS, options.last_addresses)) if wanted]

    def _http3_event(self, event: http3.Event, now: float) -> None:
        if event.stream_id != self._stream_id:
            return
        try:
            match event:
                case http3.HeadersReceived(headers=headers) if check_response(headers):
                    self._answered, self._give_up_at = True, now + REQUEST_TIMEOUT
                    self._spread = self._options.spread and SPREAD in headers
                    self._reorder = self._options.reorder if REORDER in headers and not self._spread else ()
                    if LAST_ADDRESS in headers and self._options.last_addresses:
                        self._send(self._session.request_addresses(self._options.last_addresses))
                    else:
                        self._ask_at = now + ASK_AFTER
                case http3.DataReceived(data=data, ended=ended):
                    for found in self._session.receive(data, ended):
                        self._session_event(found, now)
                case http3.StreamAborted(error_code=code):
                    self._end(ending.aborted(code))
        except Refused as refused:
            self._end(ending.refused(refused))
        except StreamError as error:
            self._end(str(error), error.code)

    def _session_event(self, event: connectip.Event, now: float) -> None:
        match event:
            case connectip.DatagramReceived(payload=payload):
                if self.state is State.UP and self.connection is not None:
                    self.capsule_received(self.connection, payload, now)
            case connectip.AddressesAssigned(addresses=assigned):
                self._addresses(tuple(entry.prefix for entry in assigned))
            case connectip.RoutesAdvertised(ranges=ranges):
                self._events.append(events.RoutesAdvertised(ranges))
            case connectip.AddressesRequested(addresses=requests):
                self._send(self._session.assign((), answering=requests))
            case connectip.Closed():
                self._end("the server closed the tunnel")

    def _addresses(self, addresses: tuple[Network, ...]) -> None:
        connection = self.connection
        if connection is None or self._stream_id is None or not addresses:
            if self.state is State.UP:
                self._end("the server withdrew our addresses")
            return
        plane = connection.engine_connection
        plane.allow([(prefix.network_address.packed, prefix.prefixlen) for prefix in addresses], [])
        if self.state is State.UP:
            self._events.append(events.AddressesChanged(addresses))
            return
        log.debug("one flow may use several paths: %s", "any" if self._spread else "UDP" if self._reorder else "none")
        plane.set_scheduler(self._options.scheduler)
        plane.set_congestion(self._options.congestion)
        plane.set_spread(self._spread)
        plane.set_reorder(self._reorder)
        plane.set_reinjection(self._options.reinjection)
        plane.set_keep_alive(self._options.keep_alive)
        capsules = self._http3 is not None and self._http3.by_capsules
        plane.bind(self._stream_id // 4, capsules=capsules)
        if capsules:
            self.send_by_capsules(connection, self._stream_id)
        self.engine.set_default(plane)
        self._give_up_at = self._ask_at = None
        self._reach.forget()
        up = events.TunnelUp(addresses, self._inner_mtu(connection.inner_mtu()), self._paths.interface(0))
        self._move(Input.ADDRESSES, up)

    def _mtu_changed(self, mtu: int) -> None:
        if self.state is State.UP and mtu:
            self._events.append(events.MtuChanged(self._inner_mtu(mtu)))

    def _inner_mtu(self, mtu: int) -> int:
        """What packets of numbered flows, too, have room for on every path."""
        if self._spread:
            return mtu - SPREAD_BYTES
        return mtu - STAMP_BYTES if self._reorder else mtu

    def _own_timeout(self) -> float | None:
        times = [self._give_up_at, self._ask_at, self._reach.next_timeout()]
        if self.state is State.CONNECTING:
            times.append(self._race.next_timeout())
        elif self.state is State.UP:
            times += (self._paths.next_timeout(), self._paths.give_up_at)
        return min((at for at in times if at is not None), default=None)

    def _handle_own_timeout(self, now: float) -> None:
        for (socket, remote), question in self._reach.questions(now):
            self._datagrams.append((socket, remote, None, question))
        if self.state is State.CONNECTING:
            self._run_race(now)
        elif self.state is State.UP and self.connection is not None:
            self._paths.open_missing(now)
            self.touch(self.connection)
            if self._paths.give_up_at is not None and self._paths.give_up_at <= now:
                self._end("no answer on any path")
        if self._ask_at is not None and self._ask_at <= now:
            self._ask_at = None
            self._send(self._session.request_addresses(ANY_ADDRESS))
        if self._give_up_at is not None and self._give_up_at <= now:
            self._end("no answer to the tunnel request")

    def _run_race(self, now: float) -> None:
        for late in self._race.expired(now):
            self.remove(late)
        while (uplink := self._race.next_uplink(now)) is not None:
            options, configuration = self._servers[uplink.server]
            if uplink.server and self._race.begins(uplink):
                log.info("%s is asked, too: no server before it in the list has answered", options.host)
            connection = MultipathConnection(
                engine=self.engine,
                configuration=with_token(configuration, self._tokens.get(uplink.remote, b"")),
                max_path_id=options.max_path_id,
            )
            self._race.started(connection, uplink, now)
            self.add(connection)
            connect = partial(connection.connect_to, largest=uplink.largest)
            self.guard(connection, connect, uplink.remote, uplink.socket, None, now)
        if self._race.over:
            self._move(Input.END, self._race.failure)

    def _send(self, capsules: bytes, *, end: bool = False) -> None:
        if self._http3 is not None and self._stream_id is not None and self.connection is not None:
            self._http3.data(self._stream_id, capsules, end=end)
            self.touch(self.connection)

    def _end(self, closed: events.Closed | str, code: H3ErrorCode = H3ErrorCode.H3_NO_ERROR) -> None:
        """Close every connection with `code`; a string is the reason of a Closed without special cause."""
        for connection in (*self._race.attempts(), *([self.connection] if self.connection else [])):
            connection.close(code, reason_phrase="")
            self.touch(connection)
        self._move(Input.END, events.Closed(closed) if isinstance(closed, str) else closed)

    def _move(self, cause: Input, event: Any = None) -> None:
        if self.state is State.CLOSED:
            return
        log.debug("%s: %s", self.state.value, cause.value)
        self.state = TRANSITIONS[self.state, cause]
        if self.state is State.CLOSED:
            self._give_up_at = self._ask_at = None
            self.engine.set_default(None)
        if event is not None:
            self._events.append(event)
