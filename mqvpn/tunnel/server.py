"""ServerTunnel: every client's connection and CONNECT-IP session (RFC 9484) behind one engine.

A datagram that does not decrypt leaves nothing behind; what does has 10 s to finish handshake and request; a
refused request is answered by its status alone. Each session gets one inner address of each IP version and
its route in the engine.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Network, ip_address, ip_network
from typing import Any

from mqvpn.connectip import events as connectip
from mqvpn.connectip.error import Refused, StreamError
from mqvpn.connectip.extension import LAST_ADDRESS, REORDER, REPLACED, SPREAD
from mqvpn.connectip.pool import Owner, Pool
from mqvpn.connectip.request import Scope, check, compose_refusal, compose_response
from mqvpn.dataplane.engine import Engine, ReorderRule
from mqvpn.multipath import cids, mtu, seam
from mqvpn.multipath import events as multipath
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.tunnel import events, http3
from mqvpn.tunnel.core import Endpoint, Tunnel
from mqvpn.tunnel.invariants import VERSION_1, LongHeader, version_negotiation
from mqvpn.tunnel.retry import Retry
from mqvpn.tunnel.roster import Client, Roster
from mqvpn.tunnel.token import Tokens
from mqvpn.wire.address import AddressRange, RequestedAddress, ranges_of
from mqvpn.wire.http3 import H3ErrorCode

log = logging.getLogger(__name__)

SETUP_TIMEOUT = 10.0  # seconds from a connection's first packet to its addresses
MAX_HALF_OPEN = 256  # connections without addresses
RETRY_FROM = 32  # of them, before a client must show that it has the address it claims
# Of them, from one source(), and so one that is there: many may be behind one NAT.
MAX_HALF_OPEN_FROM_ONE = 128
MAX_REFUSALS = 4  # requests refused on one connection before it is closed
MIN_INITIAL = 1200  # bytes, RFC 9000, section 14.1
MIN_CID = 8  # bytes, RFC 9000, section 7.2: of a client's first Destination Connection ID
EVERYTHING = ranges_of((ip_network("0.0.0.0/0"), ip_network("::/0")))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What the server grants. `authorize`: a token's user, "" for the shared key, None: no such key; `reorder`: UDP
    flows that may use several paths where the client has no `spread`, but the C mqvpn's way; `advertise`: what clients
    hear that they can reach; `towards`: bytes of UDP payload that the interface takes by which packets to a client's
    address leave."""

    authorize: Callable[[bytes], str | None]
    max_clients: int = 64
    scheduler: str = "wlb"
    congestion: str = "bbr"
    spread: bool = True
    reorder: tuple[ReorderRule, ...] = ()
    reinjection: bool = True
    max_path_id: int | None = 8
    advertise: tuple[AddressRange, ...] = EVERYTHING
    reset_key: bytes = field(default=b"", repr=False)
    towards: mtu.Towards = mtu.unknown


class ServerTunnel(Tunnel):
    """The server's side; poll() yields tunnel.events."""

    def __init__(self, engine: Engine, options: ServerOptions, pool: Pool, configuration: Any) -> None:
        super().__init__(engine)
        self._options = options
        self._roster = Roster(pool, options.max_clients)
        self._configuration = configuration
        self._clients: dict[MultipathConnection, Client] = {}
        self._by_cid: dict[bytes, MultipathConnection] = {}
        self._told = False  # that redundant is not what a client gets
        self._retry = Retry(options.reset_key)
        self._tokens = Tokens()
        self._half_open: OrderedDict[MultipathConnection, float] = OrderedDict()  # and when it must be done

    def apply(self, options: ServerOptions, configuration: Any) -> None:
        """Serve new connections by these; those that exist, and the key for reset tokens, stay as they are."""
        self._options = replace(options, reset_key=self._options.reset_key)
        self._configuration = configuration

    @property
    def clients(self) -> list[Client]:
        """Those whose tunnel is up."""
        return [client for client in self._clients.values() if client.lease is not None]

    @property
    def active(self) -> int:
        """How many tunnels are up or about to be."""
        return self._roster.active

    @property
    def half_open(self) -> int:
        """How many connections have no addresses yet."""
        return len(self._half_open)

    def close(self, now: float) -> None:
        """Close every connection; datagrams() and Engine.transmit() still have to carry it out."""
        for client in list(self._clients.values()):
            self._leave(client, "the server stops")
            client.connection.close(H3ErrorCode.H3_NO_ERROR)
            self.touch(client.connection)
        self._settle(now)

    def measure(self, client: Client, now: float) -> None:
        """An interface has another MTU: find out anew what the client's paths take."""
        for path_id in list(client.connection.paths):
            self.guard(client.connection, client.connection.set_largest, path_id, 0, now)
        self._settle(now)

    def remove(self, connection: MultipathConnection) -> None:
        client = self._clients.pop(connection, None)
        if client is not None:
            self._leave(client, "connection lost")
            for cid in client.cids:
                self._by_cid.pop(cid, None)
        self._half_open.pop(connection, None)
        super().remove(connection)

    def _long_header(self, socket: int, remote: Endpoint, local: Endpoint | None, data: bytes, now: float) -> None:
        header = LongHeader.read(data)
        if header is None:
            return
        connection = self._by_cid.get(header.destination)
        if connection is not None:
            self.receive_long(connection, data, socket, remote, local, now)
        elif header.version != VERSION_1:
            # RFC 9000, section 6.1: only for datagrams large enough to start a connection, so that the answer
            # is smaller than the question; never for Version Negotiation itself.
            if header.version and len(data) >= MIN_INITIAL:
                self._datagrams.append((socket, remote, local, version_negotiation(header, (VERSION_1,))))
        elif header.is_initial and len(data) >= MIN_INITIAL and len(header.destination) >= MIN_CID:
            self._accept(header, socket, remote, local, data, now)

    def _accept(
        self,
        header: LongHeader,
        socket: int,
        remote: Endpoint,
        local: Endpoint | None,
        data: bytes,
        now: float,
    ) -> None:
        original = self._retry.original(header, remote, now)
        proven = original is not None or self._tokens.covers(header.token, remote[0], now)
        if not proven and len(self._half_open) >= RETRY_FROM:
            self._datagrams.append((socket, remote, local, self._retry.ask(header, remote, now)))
            return
        origin = source(remote[0])
        from_here = sum(self._clients[other].source == origin for other in self._half_open)
        if len(self._half_open) >= MAX_HALF_OPEN or from_here >= MAX_HALF_OPEN_FROM_ONE:
            return
        connection = MultipathConnection(
            engine=self.engine,
            configuration=self._configuration,
            max_path_id=self._options.max_path_id,
            original_destination_connection_id=original or header.destination,
            retry_source_connection_id=header.destination if original else None,
            reset_key=self._options.reset_key,
            towards=self._options.towards,
        )
        self.add(connection)
        self.receive_long(connection, data, socket, remote, local, now)
        if not connection.handshake_started:  # it did not decrypt: as if nothing had come
            self.remove(connection)
            return
        client = Client(connection.id, connection, (header.destination, connection.host_cid), origin)
        self._clients[connection] = client
        self._half_open[connection] = now + SETUP_TIMEOUT
        for cid in client.cids:
            self._by_cid[cid] = connection

    def _unknown(self, socket: int, remote: Endpoint, local: Endpoint | None, data: bytes, now: float) -> None:
        if reset := cids.stateless_reset(self._options.reset_key, data):
            self._datagrams.append((socket, remote, local, reset))

    def _quic_event(self, connection: MultipathConnection, event: Any, now: float) -> None:
        client = self._clients.get(connection)
        if client is None:
            return
        if isinstance(event, multipath.PathEstablished):
            client.http = client.http or http3.Http3(connection)
            hosts = {path.remote[0] for path in connection.paths.values() if path.is_usable}
            connection.send_new_token(self._tokens.issue(hosts, now))
        elif isinstance(event, seam.ConnectionTerminated):
            self._leave(client, event.reason_phrase or "the client closed the connection")
        elif client.http is not None:
            for found in client.http.handle_event(event):
                self._http3_event(client, client.http, found, now)

    def _send_capsule(self, connection: MultipathConnection, stream_id: int, capsule: bytes) -> None:
        client = self._clients.get(connection)
        if client is not None and client.http is not None and client.lease is not None:
            client.http.data(stream_id, capsule)
            self.touch(connection)

    def _connection_lost(self, connection: MultipathConnection, reason: str) -> None:
        client = self._clients.get(connection)
        if client is not None:
            self._leave(client, reason)

    def _http3_event(self, client: Client, http: http3.Http3, event: http3.Event, now: float) -> None:
        match event:
            case http3.HeadersReceived(stream_id=stream_id, headers=headers):
                self._request(client, http, stream_id, headers)
            case http3.DataReceived(data=data, ended=ended) if event.stream_id == client.stream_id:
                try:
                    for found in client.session.receive(data, ended):
                        self._session_event(client, http, found, now)
                except StreamError as error:
                    http.reset(event.stream_id, error.code)
                    self._leave(client, str(error))
            case http3.StreamAborted(stream_id=stream_id) if stream_id == client.stream_id:
                http.reset(stream_id, H3ErrorCode.H3_REQUEST_CANCELLED)
                self._leave(client, "the client gave the tunnel up")

    def _request(self, client: Client, http: http3.Http3, stream_id: int, headers: http3.Headers) -> None:
        try:
            self._open(client, http, stream_id, headers)
        except Refused as refused:
            http.respond(stream_id, compose_refusal(refused), end=True)
            self._events.append(events.ClientRefused(client.number, refused.status, refused.reason))
            client.refusals += 1
        except StreamError as error:
            # RFC 9114, section 4.1.2: "For malformed requests, a server MAY send an HTTP response indicating
            # the error prior to closing or resetting the stream."
            http.respond(stream_id, compose_refusal(Refused(400, error.reason)), end=True)
            self._events.append(events.ClientRefused(client.number, 400, error.reason))
            client.refusals += 1
        if client.refusals >= MAX_REFUSALS:
            client.connection.close(H3ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="too many refused requests")

    def _open(self, client: Client, http: http3.Http3, stream_id: int, headers: http3.Headers) -> None:
        """Judge a request and open its tunnel; raises Refused or StreamError."""
        request = check(headers)
        user = self._options.authorize(request.token)
        if user is None:
            raise Refused(403, "no such key")
        if client.stream_id is not None:
            raise Refused(409, "this connection has a tunnel already")
        if request.scope != Scope():
            raise Refused(501, "only tunnels for every target and protocol are served")
        self._roster.enter(client, Owner(user, request.instance))
        client.stream_id = stream_id
        client.spread = self._options.spread and SPREAD in headers
        client.reorder = self._options.reorder if REORDER in headers and not client.spread else ()
        may_wish = LAST_ADDRESS in headers and self._roster.may_wish(client)
        extensions = ((SPREAD, client.spread), (REORDER, client.reorder), (LAST_ADDRESS, may_wish))
        http.respond(stream_id, compose_response([field for field, is_on in extensions if is_on]))
        if not may_wish:
            self._lease(client, http, stream_id)

    def _lease(
        self, client: Client, http: http3.Http3, stream_id: int, requests: tuple[RequestedAddress, ...] = ()
    ) -> None:
        """Assign addresses to a client that has entered; `requests`: those it asked for."""
        lease, older = self._roster.lease(client, [request.prefix for request in requests])
        if older is not None:
            self._end(older, "a newer session of this instance took its place", REPLACED)
        self._half_open.pop(client.connection, None)
        self._load(client)
        entries = lease.entries(_first(requests, 4), _first(requests, 6))
        versions = [4] if lease.address6 is None else [4, 6]
        routes = client.session.advertise(item for item in self._options.advertise if item.start.version in versions)
        http.data(stream_id, client.session.assign(entries, answering=requests) + routes)

    def _load(self, client: Client) -> None:
        """Tell the engine whose packets are whose."""
        plane = client.connection.engine_connection
        plane.set_scheduler(self._options.scheduler)
        plane.set_congestion(self._options.congestion)
        plane.set_spread(client.spread)
        plane.set_reorder(client.reorder)
        plane.set_reinjection(self._options.reinjection)
        if self._options.scheduler == "redundant" and not client.spread and not self._told:
            self._told = True
            log.warning("redundant needs Spread on both ends: for clients without it the scheduler is minrtt")
        plane.allow([], [(prefix.network_address.packed, prefix.prefixlen) for prefix in client.addresses])
        if client.stream_id is not None:
            capsules = client.http is not None and client.http.by_capsules
            plane.bind(client.stream_id // 4, capsules=capsules)
            if capsules:
                self.send_by_capsules(client.connection, client.stream_id)
        self._events.append(events.ClientJoined(client.number, client.user, client.addresses))

    def _session_event(self, client: Client, http: http3.Http3, event: connectip.Event, now: float) -> None:
        if client.stream_id is None:
            return
        match event:
            case connectip.DatagramReceived(payload=payload) if client.lease is not None:
                self.capsule_received(client.connection, payload, now)
            case connectip.AddressesRequested(addresses=requests) if client.lease is not None:
                entries = client.lease.entries(_first(requests, 4), _first(requests, 6))
                http.data(client.stream_id, client.session.assign(entries, answering=requests))
            case connectip.AddressesRequested(addresses=requests) if self._roster.asks(client):
                self._lease(client, http, client.stream_id, requests)
            case connectip.Closed():
                http.data(client.stream_id, b"", end=True)
                self._leave(client, "the client closed the tunnel")

    def _leave(self, client: Client, reason: str) -> None:
        """The session is over: its addresses and routes are free. The connection may still be closing."""
        joined = client.lease is not None
        if self._roster.leave(client):
            self._end(client, reason, H3ErrorCode.H3_NO_ERROR, joined=joined)

    def _end(self, client: Client, reason: str, code: int, *, joined: bool = True) -> None:
        """Close the connection of a client that has left the roster."""
        if not client.connection.terminated:
            client.connection.engine_connection.unbind()
            client.connection.engine_connection.allow([], [])
            client.connection.close(code, reason_phrase=reason if code == REPLACED else "")
            self.touch(client.connection)
        if joined:
            self._events.append(events.ClientLeft(client.number, client.user, reason))

    def _own_timeout(self) -> float | None:
        return next(iter(self._half_open.values()), None)

    def _handle_own_timeout(self, now: float) -> None:
        while self._half_open:
            connection, at = next(iter(self._half_open.items()))
            if at > now:
                return
            del self._half_open[connection]
            connection.close(H3ErrorCode.H3_REQUEST_INCOMPLETE, reason_phrase="no tunnel requested")
            self.touch(connection)


def source(host: str) -> IPv4Address | IPv6Network:
    """Whom an address stands for: an IPv6 host has every address of its /64 (RFC 7934, section 4)."""
    address = ip_address(host)
    return address if address.version == 4 else IPv6Network((int(address), 64), strict=False)


def _first(requests: tuple[RequestedAddress, ...], version: int) -> int:
    """The ID of the first request for an address of this IP version; 0: there is none."""
    return next((request.request_id for request in requests if request.prefix.version == version), 0)
