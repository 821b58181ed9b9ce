"""The cases of picoquic's multipath test suite by their names, with a source that is always full.

Two paths of 10 Mbit/s and 20 ms each way, unless a case says otherwise. picoquic's qlog has no counterpart here.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mqvpn.multipath.connection import CannotOpenPath
from mqvpn.multipath.events import PathAbandoned, PathAlive, PathEstablished, PathSuspect
from mqvpn.multipath.pathstate import PathState
from mqvpn.multipath.seam import CipherSuite, ConnectionTerminated
from mqvpn.tunnel import events
from mqvpn.wire.buffer import Writer
from mqvpn.wire.frame import PathRetireConnectionId, TransportErrorCode, write_frame
from tests.sim.net import Link
from tests.sim.pair import SERVER, Pair
from tests.sim.traffic import Figures, Flood, bind, exchange, flood
from tests.tunnel.pair import Network, is_up
from tests.wire.packets import ipv4

MEGABIT = 125_000  # bytes
FIRST, SECOND = "10.0.1.1", "10.0.2.1"
Measured = Callable[[Figures], Figures]


def link(**changes: float) -> Link:
    return Link(**{"delay": 0.02, "rate": 10.0 * MEGABIT} | changes)  # type: ignore[arg-type]


def two_paths(seed: int = 1, first: Link | None = None, second: Link | None = None) -> Pair:
    """Both paths are open and IP packets pass."""
    pair = Pair(seed, link=first or link())
    pair.connect()
    pair.open_path(SECOND, second or link())
    pair.run(2.0)
    bind(pair)
    return pair


class Dying(Flood):
    """A flood in whose midst the links to some addresses break without a word."""

    addresses: tuple[str, ...] = (FIRST,)
    at: float = 1.0  # seconds from the start

    def run(self, seconds: float) -> Figures:
        self.at += self.pair.net.now
        return super().run(seconds)

    def _fill(self) -> None:
        if self.pair.net.now >= self.at:
            for address in self.addresses:
                self.pair.net.links[address].is_up = False
        super()._fill()


def breaking(pair: Pair, *addresses: str, to_client: bool = True, at: float = 1.0, flows: int = 8) -> Dying:
    dying = Dying(pair, to_client, flows=flows)
    dying.addresses, dying.at = addresses, at
    return dying


def nobody_hung_up(pair: Pair) -> bool:
    return not pair.client.seen(ConnectionTerminated) + pair.server.seen(ConnectionTerminated)


@pytest.mark.parametrize("to_client", [True, False])
def test_basic(measured: Measured, to_client: bool) -> None:
    pair = two_paths()
    figures = measured(flood(pair, 5.0, to_client=to_client))
    assert figures.goodput > 18
    assert figures.spurious == 0


def test_perf(measured: Measured) -> None:
    pair = two_paths(2, link(rate=20 * MEGABIT, delay=0.03), link(rate=10 * MEGABIT, delay=0.01))
    assert measured(flood(pair, 5.0)).goodput > 0.85 * 30


@pytest.mark.parametrize("address", [FIRST, SECOND], ids=["drop_first", "drop_second"])
def test_a_path_dies_silently_under_load(measured: Measured, address: str) -> None:
    pair = two_paths()
    figures = measured(breaking(pair, address).run(4.0))
    assert figures.gap <= 0.25
    assert figures.goodput > 11
    assert nobody_hung_up(pair)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("flows", [1, 8])
@pytest.mark.parametrize("to_client", [True, False])
def test_silence_after_the_only_primary_dies(measured: Measured, seed: int, flows: int, to_client: bool) -> None:
    """The worst place for a death: the other path is a backup and carried nothing so far."""
    pair = two_paths(seed)
    pair.c.set_path_status(1 - seed % 2, True, pair.net.now)
    pair.client.settle()
    flood(pair, 0.5, to_client=to_client, flows=flows)
    dying = breaking(pair, (FIRST, SECOND)[seed % 2], to_client=to_client, at=1.0 + 0.0137 * seed, flows=flows)
    assert measured(dying.run(2.0)).gap <= 0.25


def test_sat_plus(measured: Measured) -> None:
    """A satellite link with its long delay beside a slow one on the ground."""
    pair = two_paths(3, link(delay=0.3, rate=10 * MEGABIT, queue=400_000), link(delay=0.02, rate=MEGABIT))
    flood(pair, 4.0)
    assert measured(flood(pair, 6.0)).goodput > 7


def test_renew(measured: Measured) -> None:
    """Each end takes all its connection IDs of a path back while it is in use: the other goes on with new ones."""
    pair = two_paths()
    for retiring, other in ((pair.s, pair.c), (pair.c, pair.s)):
        before = other._issuance.peer.in_use(1)
        frame = retiring._issuance.local.fill(1, 4)[0]
        retiring.engine_connection.add_cid(frame.connection_id, 1, frame.sequence_number)
        out = Writer()
        write_frame(out, replace(frame, retire_prior_to=frame.sequence_number))
        retiring.engine_connection.send(bytes(out))
        assert flood(pair, 1.0).goodput > 17
        assert other._issuance.peer.in_use(1) == frame.connection_id != before
        assert frame.sequence_number == min(retiring._issuance.local.paths[1].active)
    measured(flood(pair, 2.0))


def test_cid_retire(measured: Measured) -> None:
    """A peer that retires its spare connection IDs gets new ones, over any path."""
    pair = two_paths()
    for sequence in range(1, 5):
        spare = max(pair.c._issuance.local.paths[1].active)
        out = Writer()
        write_frame(out, PathRetireConnectionId(1, spare))
        pair.s.engine_connection.send(bytes(out), path_id=sequence % 2)
        pair.server.settle()
        pair.run(0.2)
    assert measured(flood(pair, 2.0)).goodput > 17
    assert len(pair.c._issuance.local.paths[1].active) <= 3
    assert nobody_hung_up(pair)


def test_rotation(measured: Measured) -> None:
    """Key updates by both ends while both paths are full."""
    pair = two_paths()
    rows = []
    for number in range(6):
        (pair.c, pair.s)[number % 2].engine_connection.update_keys()
        rows.append(flood(pair, 1.0))
    assert min(row.goodput for row in rows) > 17
    assert sum(row.spurious for row in rows) == 0
    measured(rows[-1])


@pytest.mark.parametrize("outside", ["10.0.2.1", "203.0.113.9"], ids=["port", "address"])
def test_nat(measured: Measured, outside: str) -> None:
    pair = two_paths()
    pair.net.rebind(pair.client.addresses[1], (outside, 50000))
    assert measured(flood(pair, 3.0, to_client=False)).goodput > 16
    assert pair.s.paths[1].remote == (outside, 50000)
    assert pair.s.paths[1].validation is None
    assert nobody_hung_up(pair)


def test_nat_challenge(measured: Measured) -> None:
    """Both paths get new ports at once, and most challenges are lost. Goodput is that of half of all seeds: the loss
    was persistent congestion, so both paths start from the smallest window."""
    rows = []
    for seed in range(4, 9):
        pair = two_paths(seed)
        for socket, address in pair.client.addresses.items():
            pair.net.rebind(address, (address[0], 50000 + socket))
            pair.net.links[address[0]].loss = 0.5
        exchange(pair, 4.0)
        for one in pair.net.links.values():
            one.loss = 0.0
        exchange(pair, 1.0)
        pair.run(9.0)
        assert [path.remote[1] for path in pair.s.paths.values() if path.is_usable] == [50000, 50001]
        rows.append(flood(pair, 3.0))
    assert measured(sorted(rows, key=lambda row: row.goodput)[2]).goodput > 9


def test_break1(measured: Measured) -> None:
    """The second path breaks for good: it is found out, and nothing more is sent there but probes."""
    pair = two_paths()
    measured(breaking(pair, SECOND).run(3.0))
    assert pair.server.seen(PathSuspect) == [PathSuspect(1)]
    lost = pair.net.directions[SECOND, True].lost
    assert flood(pair, 5.0).goodput > 9
    assert pair.net.directions[SECOND, True].lost < lost + 40
    assert nobody_hung_up(pair)


def test_break_both(measured: Measured) -> None:
    """Both paths break, and come back before the idle timeout: the connection goes on."""
    pair = two_paths()
    figures = breaking(pair, FIRST, SECOND).run(10.0)
    assert figures.gap > 8
    for one in pair.net.links.values():
        one.is_up = True
    exchange(pair, 8.0, interval=0.1)
    assert nobody_hung_up(pair)
    assert measured(flood(pair, 3.0)).goodput > 9


def test_break_both_for_good() -> None:
    pair = two_paths()
    breaking(pair, FIRST, SECOND).run(2.0)
    pair.run(40.0)
    for end in (pair.client, pair.server):
        assert [event.reason_phrase for event in end.seen(ConnectionTerminated)] == ["idle timeout"]
    assert pair.c.next_timeout() is pair.s.next_timeout() is None


def test_socket_error(measured: Measured) -> None:
    """The interface of the second path is gone, which the client knows: it says so on the first one."""
    pair = two_paths()
    pair.net.links[SECOND].is_up = False
    pair.c.abandon_path(1, TransportErrorCode.PATH_UNSTABLE_OR_POOR, pair.net.now)
    pair.client.settle()
    figures = measured(flood(pair, 2.0))
    assert figures.goodput > 9
    assert figures.gap < 0.1
    assert pair.server.seen(PathAbandoned) == [PathAbandoned(1, TransportErrorCode.PATH_UNSTABLE_OR_POOR, True)]


@pytest.mark.parametrize("by_server", [False, True])
def test_abandon(measured: Measured, by_server: bool) -> None:
    pair = two_paths()
    end = pair.server if by_server else pair.client
    assert end.quic is not None
    end.quic.abandon_path(1, TransportErrorCode.APPLICATION_ABANDON_PATH, pair.net.now)
    end.settle()
    assert flood(pair, 1.0).goodput > 9
    assert list(pair.c.paths) == list(pair.s.paths) == [0]
    assert pair.open_path("10.0.3.1", link()) == 2
    pair.run(1.0)
    assert measured(flood(pair, 3.0)).goodput > 17


@pytest.mark.parametrize("number", [0, 1], ids=["back0", "back1"])
def test_a_path_breaks_and_comes_back(measured: Measured, number: int) -> None:
    address = (FIRST, SECOND)[number]
    pair = two_paths()
    breaking(pair, address).run(4.0)
    pair.net.links[address].is_up = True
    flood(pair, 2.0)
    assert measured(flood(pair, 3.0)).goodput > 16
    assert PathAlive(number) in pair.server.seen(PathAlive)
    assert pair.s.paths[number].state is PathState.ACTIVE


@pytest.mark.parametrize("number", [0, 1])
def test_backup(measured: Measured, number: int) -> None:
    """A backup path carries no IP packet while the other works."""
    pair = two_paths()
    pair.c.set_path_status(number, True, pair.net.now)
    pair.client.settle()
    pair.run(0.5)
    before = pair.s.engine_connection.path(number).tx_packets
    assert 9 < measured(flood(pair, 4.0)).goodput < 10
    assert pair.s.engine_connection.path(number).tx_packets < before + 10


def test_standby_up(measured: Measured) -> None:
    """The backup path takes over when the other dies, and is left again when that comes back."""
    pair = two_paths()
    pair.c.set_path_status(1, True, pair.net.now)
    pair.client.settle()
    flood(pair, 1.0)
    figures = measured(breaking(pair, FIRST).run(3.0))
    assert figures.gap <= 0.25
    assert figures.goodput > 8.5
    pair.net.links[FIRST].is_up = True
    flood(pair, 3.0)
    before = pair.s.engine_connection.path(1).tx_packets
    assert flood(pair, 2.0).goodput > 9
    assert pair.s.engine_connection.path(1).tx_packets < before + 20


def test_datagram_affinity(measured: Measured) -> None:
    """With `wlb` a flow that one path can carry stays on it, so nothing is reordered."""
    pair = two_paths(5, link(delay=0.005), link(delay=0.08))
    measured(flood(pair, 2.0, flows=1))
    before = [pair.s.engine_connection.path(number).tx_packets for number in (0, 1)]
    exchange(pair, 1.0)
    flood(pair, 2.0, flows=1)
    grown = [pair.s.engine_connection.path(number).tx_packets - before[number] for number in (0, 1)]
    assert min(grown) < 0.1 * max(grown)


def test_keep_alive() -> None:
    pair = two_paths()
    pair.run(1000.0)
    assert nobody_hung_up(pair)
    for quic in (pair.c, pair.s):
        assert [path.state for path in quic.paths.values()] == [PathState.ACTIVE] * 2
        assert not any(path.is_suspect for path in quic.paths.values())


def test_quality() -> None:
    """What the two ends know of their paths is what the links are."""
    pair = two_paths(6, link(delay=0.01, rate=0.0), link(delay=0.05, rate=0.0))
    exchange(pair, 3.0)
    for quic in (pair.c, pair.s):
        for path_id, delay in ((0, 0.01), (1, 0.05)):
            figures = quic.engine_connection.path(path_id)
            assert figures.min_rtt == pytest.approx(2 * delay, rel=0.1)
            assert figures.srtt == pytest.approx(2 * delay, rel=0.5)
            assert figures.lost == 0


@pytest.mark.parametrize("suite", [suite for suite in CipherSuite if suite.name != "EMPTY_RENEGOTIATION_INFO_SCSV"])
def test_aead(measured: Measured, suite: CipherSuite) -> None:
    """Packet numbers repeat between paths, nonces do not: each cipher suite of TLS 1.3 opens them all."""
    pair = Pair(link=link())
    pair.c.configuration.cipher_suites = [suite]
    pair.connect()
    pair.open_path(SECOND, link())
    pair.run(1.0)
    bind(pair)
    assert measured(flood(pair, 2.0)).goodput > 17


def test_tunnel(tmp_path: Path) -> None:
    """CONNECT-IP over two paths, with the tunnels as they run in the daemons."""
    network = Network(tmp_path)
    client = network.client(2)
    network.start(client)
    assert network.run_until(lambda: is_up(client) and bool(client.of(events.PathUp)))
    network.run(0.5)
    network.dead.add(client.address)
    source = str(client.of(events.TunnelUp)[0].addresses[0][0])
    for _ in range(100):
        network.from_tun(client, ipv4(source=source))
        network.run(0.02)
    assert len(network.server.packets) > 90
    assert not client.of(events.Closed)


def test_path_ids_beyond_the_limit_wait_for_it() -> None:
    pair = Pair(server_max_path_id=1)
    pair.connect()
    pair.open_path(SECOND, link())
    with pytest.raises(CannotOpenPath):
        pair.open_path("10.0.3.1", link())
    pair.run(1.0)
    assert PathEstablished(1) in pair.server.seen(PathEstablished)
    assert pair.s.paths[1].remote[0] == SECOND
    assert pair.c.paths[1].remote == SERVER
