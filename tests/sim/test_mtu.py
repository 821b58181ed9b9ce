"""Path MTU discovery between two ends (RFC 8899; RFC 9000, section 14): found, lost, found again, and kept calm."""

import pytest

from mqvpn.multipath.events import MtuChanged, PathAbandoned, PathSuspect
from mqvpn.multipath.mtu import unknown
from mqvpn.multipath.search import BASE, CLOSE_ENOUGH, RAISE_AFTER
from tests.sim.net import Link
from tests.sim.packets import udp_packet
from tests.sim.pair import SERVER, Pair
from tests.sim.traffic import bind, exchange, flood

OVERHEAD = 32  # around an inner packet
ETHERNET = 1472  # bytes of UDP payload that an interface of MTU 1500 takes


def connected(link: Link, *, largest: int = 0, seed: int = 1) -> Pair:
    """largest: what the interfaces of both ends take."""
    pair = Pair(seed, link=link, towards=(lambda remote, local: largest) if largest else unknown)
    pair.c.connect_to(SERVER, 0, pair.client.addresses[0], pair.net.now, largest=largest)
    pair.client.settle()
    pair.run(3.0)
    return pair


def traffic(pair: Pair, seconds: float, size: int, interval: float = 0.01) -> int:
    """Send packets of `size` bytes to the server; return how many arrived."""
    pair.server.packets.clear()
    for number in range(round(seconds / interval)):
        pair.client.send_packets([udp_packet(number, size)])
        pair.run(interval)
    pair.run(0.2)
    return len(pair.server.packets)


@pytest.mark.parametrize("mtu", [1331, 1380, 1400, 1440, 1472, 1500])
def test_both_ends_find_what_the_path_takes(mtu: int) -> None:
    pair = connected(Link(mtu=mtu))
    best = min(mtu, ETHERNET)
    for quic in (pair.c, pair.s):
        assert best - CLOSE_ENOUGH < quic.paths[0].mtu <= best
        assert quic.inner_mtu() == quic.paths[0].mtu - OVERHEAD


def test_a_jumbo_interface_is_used_when_its_size_is_told() -> None:
    pair = connected(Link(mtu=9000), largest=8972)
    assert pair.c.inner_mtu() == pair.s.inner_mtu() == 8972 - OVERHEAD
    bind(pair)
    assert traffic(pair, 1.0, 8972 - OVERHEAD) == 100


@pytest.mark.parametrize("congestion", ["cubic", "bbr", "none"])
def test_jumbo_frames_fill_a_fast_link(congestion: str) -> None:
    pair = connected(Link(mtu=9000, delay=0.005, rate=12_500_000.0, queue=200_000), largest=8972)
    pair.s.engine_connection.set_congestion(congestion)
    bind(pair)
    flood(pair, 1.0, size=8940)
    figures = flood(pair, 2.0, size=8940)
    assert figures.goodput > 90
    assert pair.s.engine_connection.path(0).cwnd > 2 * 8972


def test_no_packet_is_larger_than_the_interfaces_take() -> None:
    pair = Pair(link=Link(mtu=1500), towards=lambda remote, local: 1372)
    pair.client.keep_sent = pair.server.keep_sent = True
    pair.c.connect_to(SERVER, 0, pair.client.addresses[0], pair.net.now, largest=1372)
    pair.client.settle()
    pair.run(RAISE_AFTER + 10.0)
    for end, quic in ((pair.client, pair.c), (pair.server, pair.s)):
        assert max(len(data) for _, _, data in end.sent) == quic.paths[0].mtu == 1372


def test_the_interface_gets_a_smaller_mtu_and_then_a_larger_one() -> None:
    pair = connected(Link(mtu=9000))
    bind(pair)
    for largest in (1400, 8972, 1472):
        pair.c.set_largest(0, largest, pair.net.now)
        pair.client.settle()
        if largest < 8972:
            assert pair.client.seen(MtuChanged)[-1].mtu == pair.c.inner_mtu() == largest - OVERHEAD  # at once
        pair.run(1.0)
        assert pair.c.inner_mtu() == largest - OVERHEAD
        assert traffic(pair, 0.5, largest - OVERHEAD) == 50
    pair.c.set_largest(0, 1400, pair.net.now)
    pair.c.set_largest(0, 1472, pair.net.now)  # though 1400 were proven on what may be another link by now
    pair.client.settle()
    pair.run(1.0)
    assert pair.c.inner_mtu() == 1472 - OVERHEAD


def test_a_path_whose_interface_takes_too_little_is_left() -> None:
    pair = connected(Link(mtu=1500))
    pair.open_path("10.0.2.1", Link(mtu=1500))
    pair.run(2.0)
    pair.c.set_largest(1, BASE - 1, pair.net.now)
    pair.client.settle()
    assert [event.path_id for event in pair.client.seen(PathAbandoned)] == [1]
    assert pair.c.inner_mtu() == ETHERNET - OVERHEAD


def test_the_server_asks_again_which_interface_leads_to_a_client_that_moved() -> None:
    pair = Pair(
        link=Link(mtu=9000), towards=lambda remote, local: 8972 if remote[0] == "198.51.100.7" else 1472
    )
    pair.connect(3.0)
    bind(pair)
    assert pair.s.inner_mtu() == 1472 - OVERHEAD
    pair.net.rebind(pair.client.addresses[0], ("198.51.100.7", 50000))
    exchange(pair, 2.0)
    assert pair.s.inner_mtu() == 8972 - OVERHEAD


def test_the_largest_size_goes_through_and_one_byte_more_does_not() -> None:
    pair = connected(Link(mtu=1420))
    bind(pair)
    assert traffic(pair, 0.5, pair.c.inner_mtu()) == 50
    assert traffic(pair, 0.5, pair.c.inner_mtu() + 1) == 0


@pytest.mark.parametrize("seed", range(5))
def test_loss_by_chance_is_not_taken_for_a_small_mtu(seed: int) -> None:
    pair = connected(Link(mtu=1472, loss=0.05), seed=seed)
    pair.run(5.0)
    assert pair.c.paths[0].mtu == 1472


def test_lost_probes_do_not_touch_the_congestion_window() -> None:
    pair = connected(Link(mtu=1400))
    window = pair.c.engine_connection.path(0).cwnd
    fresh = connected(Link(mtu=1472))
    assert window >= fresh.c.engine_connection.path(0).cwnd - 1472
    assert not pair.client.seen(PathSuspect) + pair.server.seen(PathSuspect)


def test_a_larger_mtu_is_found_at_the_next_search() -> None:
    pair = connected(Link(mtu=1400))
    assert pair.c.paths[0].mtu == 1400
    pair.net.links["10.0.1.1"].mtu = 1500
    pair.run(RAISE_AFTER + 5.0)
    assert pair.c.paths[0].mtu == pair.s.paths[0].mtu == 1472


def test_a_black_hole_is_left_behind() -> None:
    pair = connected(Link(mtu=1500))
    bind(pair)
    assert pair.c.inner_mtu() == 1472 - OVERHEAD
    pair.net.links["10.0.1.1"].mtu = 1400
    for number in range(300):  # large packets vanish, small ones do not
        pair.client.send_packets([udp_packet(number, pair.c.inner_mtu()), udp_packet(number, 100)])
        pair.run(0.01)
    assert 1400 - CLOSE_ENOUGH < pair.c.paths[0].mtu <= 1400
    assert traffic(pair, 0.5, pair.c.inner_mtu()) == 50


def test_a_black_hole_is_found_with_large_packets_only() -> None:
    pair = connected(Link(mtu=1500))
    bind(pair)
    pair.net.links["10.0.1.1"].mtu = 1350
    traffic(pair, 3.0, 1440, interval=0.1)
    assert BASE <= pair.c.paths[0].mtu <= 1350


def test_a_black_hole_between_large_and_medium_packets_is_found() -> None:
    """Packets of a usual size get through all the while: they tell nothing of the larger ones."""
    pair = connected(Link(mtu=9000), largest=8972)
    bind(pair)
    assert pair.c.inner_mtu() == 8972 - OVERHEAD
    pair.net.links["10.0.1.1"].mtu = 1472
    for number in range(300):
        pair.client.send_packets([udp_packet(number, 4000), udp_packet(number, 1400)])
        pair.run(0.01)
    assert 1472 - CLOSE_ENOUGH < pair.c.paths[0].mtu <= 1472


@pytest.mark.parametrize("seconds", [0.02, 0.3])
def test_a_path_is_used_again_when_its_black_hole_has_closed(seconds: float) -> None:
    """Meanwhile the other one carries everything, although it is slower. The short one has closed before the path is
    asked whether it takes what it took."""
    pair = connected(Link(mtu=1500, delay=0.04))
    bind(pair)
    slow = pair.open_path("10.0.2.1", Link(mtu=1500, delay=0.1))
    pair.run(3.0)
    pair.c.engine_connection.set_scheduler("minrtt")

    def carried(seconds: float) -> tuple[int, int]:
        before = [pair.c.engine_connection.path(path_id).tx_packets for path_id in (0, slow)]
        traffic(pair, seconds, BASE - OVERHEAD, interval=0.002)
        after = [pair.c.engine_connection.path(path_id).tx_packets for path_id in (0, slow)]
        return after[0] - before[0], after[1] - before[1]

    assert carried(0.5)[0] > 200
    pair.net.links["10.0.1.1"].mtu = 1250
    carried(seconds)
    if seconds > 0.2:
        assert carried(0.2)[1] > 90
    pair.net.links["10.0.1.1"].mtu = 1500
    carried(1.0)
    assert carried(0.5)[0] > 200
    assert pair.client.seen(PathAbandoned) == []


def test_an_outage_does_not_change_the_mtu() -> None:
    pair = connected(Link(mtu=1500))
    bind(pair)
    changes = len(pair.client.seen(MtuChanged))
    for _ in range(5):
        pair.net.links["10.0.1.1"].is_up = False
        traffic(pair, 1.0, 1440)
        pair.net.links["10.0.1.1"].is_up = True
        traffic(pair, 2.0, 1440)
    assert pair.c.inner_mtu() == 1472 - OVERHEAD
    assert len(pair.client.seen(MtuChanged)) == changes


def test_a_second_path_does_not_make_the_mtu_flap() -> None:
    pair = connected(Link(mtu=1500))
    changes = len(pair.client.seen(MtuChanged))
    pair.open_path("10.0.2.1", Link(mtu=1500, delay=0.05))
    pair.run(3.0)
    assert pair.c.paths[1].is_usable
    assert pair.c.paths[1].mtu == 1472
    assert len(pair.client.seen(MtuChanged)) == changes


def test_the_inner_mtu_is_that_of_the_smallest_path() -> None:
    pair = connected(Link(mtu=1500))
    pair.open_path("10.0.2.1", Link(mtu=1360))
    pair.run(3.0)
    assert 1360 - CLOSE_ENOUGH < pair.c.inner_mtu() + OVERHEAD <= 1360
    assert pair.client.seen(MtuChanged)[-1].mtu == pair.c.inner_mtu()
