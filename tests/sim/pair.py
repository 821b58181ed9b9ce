"""Two real ends, client and server, on a simulated network in virtual time: the code that runs in production.

    pair = Pair(seed=1)
    pair.connect()
    path_id = pair.open_path("10.0.2.1")
    pair.run(1.0)

An End drives one engine with one MultipathConnection as a daemon would: inputs, events, flush, transmit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mqvpn.dataplane import engine as dataplane
from mqvpn.dataplane.engine import Engine
from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.udp import Bursts, Datagrams
from mqvpn.multipath.configuration import quic_configuration
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.multipath.mtu import Towards, unknown
from mqvpn.multipath.seam import CipherSuite
from tests.sim.certificate import certificate_files
from tests.sim.net import Endpoint, Link, Net

SERVER: Endpoint = ("192.0.2.1", 443)
CLIENT_PORT = 40000
CONNECTION_EVENTS = frozenset(
    {
        dataplane.EARLY,
        dataplane.CONTROL,
        dataplane.TOKEN,
        dataplane.PATH_NEW,
        dataplane.PATH_ADDRESS,
        dataplane.PATH_SUSPECT,
        dataplane.PATH_ALIVE,
        dataplane.KEY_PHASE,
        dataplane.ERROR,
        dataplane.RESET,
        dataplane.LARGE_LOST,
        dataplane.KEY_LIMIT,
    }
)


def client_configuration(*, suite: CipherSuite | None = None, **settings: Any) -> Any:
    chosen: dict[str, Any] = {"idle_timeout": 30.0, "verify": False, "server_name": "localhost"} | settings
    configuration = quic_configuration(is_client=True, **chosen)
    if suite is not None:
        configuration.cipher_suites = [suite]
    return configuration


def server_configuration(**settings: Any) -> Any:
    files = dict(zip(("certificate", "private_key"), certificate_files(), strict=True))
    return quic_configuration(is_client=False, **{"idle_timeout": 30.0} | files | settings)


@dataclass
class End:
    """One engine and its connection, with everything it said."""

    net: Net
    is_client: bool
    engine: Engine = field(init=False)
    quic: MultipathConnection | None = None
    make: Callable[[bytes], MultipathConnection] | None = None  # a server's, for the first Initial
    events: list[Any] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)  # IP packets received
    sent: list[tuple[Endpoint, Endpoint, bytes]] = field(default_factory=list)  # source, destination, data
    keep_sent: bool = False
    addresses: dict[int, Endpoint] = field(default_factory=dict)  # of our sockets
    strangers: int = 0  # UNKNOWN events

    def __post_init__(self) -> None:
        self.engine = Engine(is_server=not self.is_client)
        self._out = PacketRefs()
        self._bursts = Bursts()
        self._datagrams = Datagrams()

    def receive(self, source: Endpoint, destination: Endpoint, data: bytes, ecn: int = 0) -> None:
        """Take one datagram from the network; one for an address we do not have goes nowhere."""
        socket = next((number for number, own in self.addresses.items() if own == destination), None)
        if socket is None:
            return
        self._datagrams.clear()
        self._datagrams.append(socket, source, destination, data, ecn=ecn)
        self.engine.receive(self._datagrams, self._out, self.net.now)
        self.settle()

    def settle(self) -> None:
        """Handle the engine's events until there are none, and send what follows from them."""
        while events := self.engine.events():
            for event in events:
                self._handle(event)
        self.packets += self._out.packets()
        self._out.clear()
        if self.quic is None:
            return
        for socket, remote, _, data in self.quic.flush(self.net.now):
            self._send(self.addresses[socket], remote, data)
        while (told := self.quic.next_event()) is not None:
            self.events.append(told)
        self.transmit()

    def transmit(self) -> None:
        """Send what the engine has."""
        if self.quic is not None and self.quic.terminated:
            return
        while self.engine.transmit(self._bursts, self.net.now):
            for (socket, remote, _, data), ecn in zip(self._bursts.datagrams(), self._bursts.ecn(), strict=True):
                self._send(self.addresses[socket], remote, data, ecn)

    def send_packets(self, packets: list[bytes]) -> None:
        """IP packets as if read from the TUN."""
        batch = PacketBatch()
        for packet in packets:
            batch.append(packet)
        self.engine.from_tun(batch, self.net.now)
        self.settle()

    def next_timeout(self) -> float | None:
        own = self.quic.next_timeout() if self.quic is not None else None
        times = [at for at in (own, self.engine.next_timeout()) if at is not None]
        return min(times, default=None)

    def handle_timeout(self) -> None:
        now = self.net.now
        at = self.engine.next_timeout()
        if at is not None and at <= now:
            self.engine.timeout(self._out, now)
        if self.quic is not None:
            at = self.quic.next_timeout()
            if at is not None and at <= now:
                self.quic.handle_timeout(now)
        self.settle()

    def seen(self, kind: type) -> list[Any]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def _handle(self, event: tuple[Any, ...]) -> None:
        now = self.net.now
        if event[0] == dataplane.LONG_HEADER:
            _, socket, remote, local, data = event
            if self.quic is None and self.make is not None:
                self.quic = self.make(data)
            if self.quic is not None:
                for packet in self.quic.receive_long(data, socket, remote, local, now):
                    self.engine.receive_one(*packet, self._out, now)
        elif event[0] == dataplane.UNKNOWN:
            self.strangers += 1
        elif event[0] in CONNECTION_EVENTS and self.quic is not None:
            self.quic.handle_event(event, now)

    def _send(self, source: Endpoint, destination: Endpoint, data: bytes, ecn: int = 0) -> None:
        if self.keep_sent:
            self.sent.append((source, destination, data))
        self.net.carry(source, destination, data, ecn)


class Pair:
    """A client with any number of addresses and a server, joined by one link for each client address."""

    def __init__(
        self,
        seed: int = 1,
        *,
        client_max_path_id: int | None = 8,
        server_max_path_id: int | None = 8,
        client: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
        link: Link | None = None,
        towards: Towards = unknown,
    ) -> None:
        """client, server: settings for quic_configuration(); link: of the first path; towards: what the server's
        interfaces take."""
        self.net = Net(seed)
        self.client = End(self.net, is_client=True)
        self.server = End(self.net, is_client=False)
        self.server.addresses[0] = SERVER
        self.server.make = lambda initial: MultipathConnection(
            engine=self.server.engine,
            configuration=server_configuration(**server or {}),
            max_path_id=server_max_path_id,
            original_destination_connection_id=initial[6 : 6 + initial[5]],
            reset_key=b"k" * 32,
            towards=towards,
        )
        self.client.quic = MultipathConnection(
            engine=self.client.engine,
            configuration=client_configuration(**client or {}),
            max_path_id=client_max_path_id,
        )
        self.add_link("10.0.1.1", link or Link())

    @property
    def c(self) -> MultipathConnection:
        assert self.client.quic is not None
        return self.client.quic

    @property
    def s(self) -> MultipathConnection:
        assert self.server.quic is not None
        return self.server.quic

    def add_link(self, address: str, link: Link) -> int:
        """Give the client another address; return the number of its socket."""
        socket = len(self.client.addresses)
        self.client.addresses[socket] = (address, CLIENT_PORT + socket)
        self.net.links[address] = link
        return socket

    def connect(self, seconds: float = 2.0) -> None:
        """Handshake over the first link."""
        self.c.connect_to(SERVER, 0, self.client.addresses[0], self.net.now)
        self.client.settle()
        self.run(seconds)

    def open_path(self, address: str = "10.0.2.1", link: Link | None = None) -> int:
        """Add a link and open a path over it."""
        socket = self.add_link(address, link or Link())
        path_id = self.c.open_path(socket, SERVER, self.client.addresses[socket], self.net.now)
        self.client.settle()
        return path_id

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.run_until(self.net.now + seconds)

    def run_until(self, end: float) -> None:
        while (at := self._next(end)) is not None:
            self.net.now = max(self.net.now, at)
            for arrival in self.net.arrivals():
                receiver = self.server if arrival.destination == SERVER else self.client
                receiver.receive(arrival.source, arrival.destination, arrival.data, arrival.ecn)
            self.client.handle_timeout()
            self.server.handle_timeout()
        self.net.now = end

    def _next(self, end: float) -> float | None:
        times = (self.net.next_arrival(), self.client.next_timeout(), self.server.next_timeout())
        at = min((time for time in times if time is not None), default=None)
        return at if at is not None and at <= end else None
