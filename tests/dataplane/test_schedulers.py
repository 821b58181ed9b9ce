"""What each scheduler promises: pinned UDP, redundant packets, weights, and that nobody is left with nothing."""

import pytest

from mqvpn.wire.drop import Drop
from tests.dataplane.pair import Link, Pair, feed, goodput, packets
from tests.dataplane.test_resequence import datagram, numbers, spread_pair


def tcp(packet: bytes) -> bytes:
    """The same packet as TCP (the engine does not look behind the ports)."""
    return packet[:9] + b"\x06" + packet[10:]


def carried(pair: Pair) -> list[int]:
    """Packets that the server got by each path."""
    return [pair.server.conn.path(n).rx_packets for n in range(len(pair.links))]


# wlb_udp_pin


def test_a_pinned_udp_flow_uses_one_path_whatever_it_offers() -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)], "wlb_udp_pin")
    before = carried(pair)
    feed(pair, 10_000_000, 3)
    grown = sorted(now - was for now, was in zip(carried(pair), before, strict=True))
    assert grown[0] < 10 < 1000 < grown[1]
    arrived = numbers(pair)
    assert arrived == sorted(arrived)


def test_a_tcp_flow_beside_it_is_spread() -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)], "wlb_udp_pin")
    before = carried(pair)
    for number in range(8000):
        pair.client.push([tcp(packets(1, 1200, first=number)[0])], pair.now)
        pair.run(0.00014)
    assert all(now - was > 500 for now, was in zip(carried(pair), before, strict=True))


def test_a_pinned_flow_moves_when_its_path_fails() -> None:
    pair = spread_pair([Link(delay=0.010), Link(delay=0.025)], "wlb_udp_pin")
    feed(pair, 100_000, 0.5)
    used = 0 if pair.client.conn.path(0).tx_packets > pair.client.conn.path(1).tx_packets else 1
    pair.client.conn.abandon_path(used)
    before = len(pair.server.received)
    sent = feed(pair, 100_000, 0.5)
    pair.run(0.1)
    assert len(pair.server.received) - before >= sent


# redundant


def test_redundant_loses_only_what_both_paths_lose() -> None:
    links = [Link(delay=0.010, loss=0.03), Link(delay=0.025, loss=0.03)]
    pair = spread_pair(links, "redundant", seed=5)
    sent = feed(pair, 20_000, 60, size=200)  # less than the smallest window lets pass
    pair.run(1.0)
    arrived = numbers(pair)
    assert len(arrived) == len(set(arrived))
    assert 1 - len(arrived) / sent < 0.005
    assert pair.server.engine.drops()[Drop.DUPLICATE] > 0.7 * sent


@pytest.mark.parametrize("paths", [2, 3])
def test_redundant_sends_every_copy_whatever_the_sizes(paths: int) -> None:
    """Each size opens bursts of its own, more than one sending takes."""
    pair = spread_pair([Link(delay=0.010) for _ in range(paths)], "redundant")
    sizes = [*range(100, 1300, 50), *range(1200, 100, -50), *[1200] * 10]
    for _ in range(3):  # until the windows have room for all
        feed(pair, 2_000_000, 0.5)
    pair.run(1.0)
    pair.server.received.clear()
    before = pair.server.engine.drops()[Drop.DUPLICATE]
    pair.client.push([packets(1, size, first=number)[0] for number, size in enumerate(sizes)], pair.now)
    pair.run(0.5)
    assert numbers(pair) == list(range(len(sizes)))
    assert pair.server.engine.drops()[Drop.DUPLICATE] - before == (paths - 1) * len(sizes)


def test_redundant_is_as_fast_as_the_fastest_path() -> None:
    pair = spread_pair([Link(delay=0.100), Link(delay=0.010)], "redundant")
    pair.client.push(packets(1), pair.now)
    pair.run(0.011)
    assert len(pair.server.received) == 1


def test_a_path_that_was_only_late_still_carries_copies() -> None:
    """What the other one loses meanwhile would be lost for good."""
    links = [Link(delay=0.010), Link(delay=0.025)]
    pair = spread_pair(links, "redundant", seed=5)
    feed(pair, 20_000, 2, size=200)
    links[0].down = True
    while not pair.client.conn.path(0).suspect:
        feed(pair, 20_000, 0.01, size=200)
    links[0].down = False
    before = pair.server.conn.path(0).rx_packets
    links[1].loss = 1.0
    pair.client.push(packets(3, 200), pair.now)
    pair.run(0.015)
    assert pair.server.conn.path(0).rx_packets >= before + 3


def test_a_full_path_does_not_hold_the_others_up() -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=250_000)], "redundant")
    goodput(pair, 2, 4_000_000)
    assert goodput(pair, 2, 4_000_000) > 3_800_000


def test_redundant_without_numbers_is_minrtt() -> None:
    pair = Pair([Link(delay=0.100), Link(delay=0.010)], scheduler="redundant")
    before = carried(pair)
    sent = feed(pair, 100_000, 1)
    pair.run(0.5)
    assert len(numbers(pair)) == sent
    assert carried(pair)[0] - before[0] < 10


# wlb


def shares(pair: Pair, seconds: float, offered: float, flows: int = 16) -> list[float]:
    """How much of what arrives each path carries."""
    before = [pair.server.conn.path(n).rx_bytes for n in range(len(pair.links))]
    feed(pair, offered, seconds, flows=flows)
    grown = [pair.server.conn.path(n).rx_bytes - was for n, was in enumerate(before)]
    return [part / sum(grown) for part in grown]


def test_a_weight_scales_a_paths_share() -> None:
    """Below what the paths can carry: where flows settle is the scheduler's choice alone."""
    found = []
    for weight in (1.0, 0.25):
        pair = Pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.010, rate=6_250_000)])
        pair.client.conn.set_path(1, weight=weight)
        feed(pair, 15_000_000, 2, flows=16)
        found.append(shares(pair, 3, 4_000_000)[1])
    assert 0.35 < found[0] < 0.65
    assert 0.08 < found[1] < 0.30


def test_a_flow_changes_to_a_better_path_in_a_pause() -> None:
    """And not between packets that follow one another: they would be reordered."""
    pair = Pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)])
    feed(pair, 10_000_000, 2, flows=16)
    pair.run(1.0)

    def sent_by(interval: float, count: int) -> list[int]:
        """Packets of one flow by each path."""
        before = [pair.client.conn.path(n).tx_packets for n in (0, 1)]
        for number in range(count):
            pair.client.push(packets(1, 1000, 9, number), pair.now)
            pair.run(interval)
        return [pair.client.conn.path(n).tx_packets - was for n, was in enumerate(before)]

    pair.client.conn.set_path(0, usable=False)
    assert sent_by(0.005, 10)[0] < 5
    pair.client.conn.set_path(0, usable=True)
    assert sent_by(0.005, 40)[1] >= 40
    pair.run(0.1)
    assert sent_by(0.005, 40)[0] >= 40


@pytest.mark.parametrize("cc", ["cubic", "bbr"])
@pytest.mark.parametrize("rates", [(6_250_000, 2_500_000), (6_250_000, 600_000), (2_500_000, 2_500_000)])
def test_wlb_never_leaves_a_path_idle(cc: str, rates: tuple[int, int]) -> None:
    """No 100/0: with many flows each path carries its share of what both can carry."""
    pair = Pair([Link(delay=0.010, rate=rates[0]), Link(delay=0.025, rate=rates[1])])
    pair.client.conn.set_congestion(cc)
    feed(pair, 1.2 * sum(rates), 3, flows=16)
    share = rates[1] / sum(rates)
    for _ in range(4):
        assert shares(pair, 1, 1.2 * sum(rates))[1] == pytest.approx(share, rel=0.5)


@pytest.mark.parametrize("cc", ["cubic", "bbr"])
@pytest.mark.parametrize("change", [0.5, 2.0])
def test_wlb_adapts_to_a_changed_rate_within_two_seconds(cc: str, change: float) -> None:
    pair = Pair([Link(delay=0.010, rate=4_000_000), Link(delay=0.025, rate=2_000_000)])
    pair.client.conn.set_congestion(cc)
    feed(pair, 12_000_000, 4, flows=8)
    pair.links[0].rate *= change
    feed(pair, 12_000_000, 2, flows=8)
    possible = pair.links[0].rate + pair.links[1].rate
    assert goodput(pair, 2, 12_000_000, flows=8) > 0.8 * possible


# Flows that are spread


@pytest.mark.parametrize("scheduler", ["wlb", "minrtt"])
def test_a_spread_flow_that_fits_the_fast_path_uses_it_alone(scheduler: str) -> None:
    """Bursts that make the fast path pause are there sooner over it than over the slow one."""
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.040, rate=2_500_000)], scheduler)
    feed(pair, 12_000_000, 1)
    feed(pair, 3_000_000, 1)  # what had piled up is past; the flow never paused, so it is spread
    before = carried(pair)
    for _ in range(80):
        pair.client.push(packets(40, 1200), pair.now)
        pair.run(0.012)
    grown = [now - was for now, was in zip(carried(pair), before, strict=True)]
    assert grown[0] > 3000
    assert grown[1] < 60


def test_a_flow_does_not_wait_long_for_a_path_that_died() -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.040, rate=2_500_000)])
    feed(pair, 12_000_000, 1)
    feed(pair, 3_000_000, 1)
    pair.links[0].down = True
    before = pair.client.conn.path(1).tx_packets
    for _ in range(10):
        pair.client.push(packets(60, 1200), pair.now)
        pair.run(0.004)
    assert pair.client.conn.path(1).tx_packets > before + 60


# Numbers


def test_a_packet_of_a_flow_that_is_not_spread_passes_once_in_any_order() -> None:
    pair = spread_pair([Link(delay=0.0)])
    for n in (70_000, 3, 70_001, 69_000, 69_000, 70_000, 4400, 4400, 140_000, 70_002):
        pair.client.conn.send(datagram(n, packets(1, 100, first=n)[0], flow=0))
        pair.run(0.0)
    pair.run(0.1)
    # 65,536 numbers are remembered; what is older might have come before.
    assert numbers(pair) == [70_000, 70_001, 69_000, 140_000]
    assert pair.server.engine.drops()[Drop.DUPLICATE] == 6


def test_no_two_spread_flows_share_a_lane() -> None:
    """More flows than lanes, all of them too fast for one path: each arrives in order, none takes another's lane."""
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)])
    feed(pair, 10_000_000, 3, flows=100)
    pair.run(1.0)
    last: dict[bytes, int] = {}
    late = 0
    for packet in pair.server.received:
        port, number = packet[20:24], int.from_bytes(packet[28:32], "big")
        late += number < last.get(port, 0)
        last[port] = number
    arrived = numbers(pair)
    assert len(set(arrived)) == len(arrived) > 10_000
    assert late < 0.01 * len(arrived)
