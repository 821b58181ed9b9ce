"""Whose packet is next: flows that have much to send share alike, and those that have little go first."""

from __future__ import annotations

import pytest

from tests.dataplane.pair import CLIENT_ADDRESS, SERVER_ADDRESS, Link, Pair, udp_packet

MEGABIT = 125_000
BULK, ASKING = 1, 100  # source ports, from these on
SEGMENT = 1300
BLOCK = 8 * SEGMENT  # bytes of a super packet
TICK = 0.0005  # seconds
PATIENCE = 0.2  # seconds until a program that waits for an answer asks again


class Contest:
    """Flows of the client's on one link; `run` keeps those on `bulk` ports full, and lets each on `asking` ports send a
    block as soon as all of its last one has arrived, as a program does that waits for answers."""

    def __init__(self, rate: float, *, bulk: int, asking: int) -> None:
        self.pair = Pair([Link(delay=0.002, rate=rate, queue=int(rate * 0.03))])
        self.bulk, self.asking = range(BULK, BULK + bulk), range(ASKING, ASKING + asking)
        self.octets = rate * TICK * 1.2 / max(bulk, 1)
        self.credit = dict.fromkeys(self.bulk, 0.0)
        self.arrived = dict.fromkeys([*self.bulk, *self.asking], 0)
        self.sent = dict(self.arrived)
        self.asked = dict.fromkeys(self.asking, 0.0)

    def run(self, seconds: float) -> None:
        end = self.pair.now + seconds
        while self.pair.now < end:
            for port in self.bulk:
                self.credit[port] += self.octets
                while self.credit[port] >= BLOCK:
                    self.credit[port] -= BLOCK
                    self.push(port)
            for port in self.asking:
                if self.arrived[port] >= self.sent[port] or self.pair.now > self.asked[port] + PATIENCE:
                    self.sent[port], self.asked[port] = self.arrived[port], self.pair.now
                    self.push(port)
            self.pair.run(TICK)
            for one in self.pair.server.received:
                self.arrived[int.from_bytes(one[20:22], "big")] += len(one) - 28
            self.pair.server.received.clear()

    def push(self, port: int) -> None:
        block = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(BLOCK), (port, 2000))
        self.pair.client.push([block], self.pair.now, SEGMENT)
        self.sent[port] += BLOCK

    def shares(self, seconds: float) -> list[float]:
        """What each flow gets of the link from now on."""
        before = dict(self.arrived)
        self.run(seconds)
        octets = [self.arrived[port] - before[port] for port in before]
        return [one / sum(octets) for one in octets]


@pytest.mark.parametrize(("rate", "asking"), [(10 * MEGABIT, 20), (50 * MEGABIT, 40)])
def test_flows_that_are_often_empty_get_no_more_than_others(rate: float, asking: int) -> None:
    contest = Contest(rate, bulk=1, asking=asking)
    contest.run(0.5)
    fair = 1 / (1 + asking)
    found = contest.shares(1.5)
    assert min(found) > 0.7 * fair
    assert max(found) < 1.4 * fair


def test_a_flow_below_its_share_gets_all_it_wants() -> None:
    """Two that ask get of a full link what they get of one that nobody else uses."""
    alone, beside = (Contest(50 * MEGABIT, bulk=bulk, asking=2) for bulk in (0, 3))
    for contest in (alone, beside):
        contest.run(2.0)
    wait = 0.004 + 0.03  # the link's round trip and queue
    for port in beside.asking:
        assert beside.arrived[port] > BLOCK * 2.0 / (wait + 0.02)
        assert beside.arrived[port] < alone.arrived[port]


def test_new_flows_leave_in_the_order_they_came() -> None:
    contest = Contest(10 * MEGABIT, bulk=1, asking=0)
    contest.run(0.5)
    ports = range(ASKING, ASKING + 30)
    probes = [udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(200), (port, 2000)) for port in ports]
    contest.pair.client.push(probes, contest.pair.now)
    contest.pair.run(0.2)
    assert [one for one in contest.pair.server.received if one in probes] == probes


def test_a_new_flow_with_much_to_send_holds_up_no_sparse_one() -> None:
    contest = Contest(10 * MEGABIT, bulk=1, asking=0)
    contest.push(BULK)
    contest.push(BULK)
    probe = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(200), (ASKING, 2000))
    contest.pair.client.push([probe], contest.pair.now)
    contest.pair.run(0.2)
    assert len(contest.pair.server.received) == 2 * BLOCK // SEGMENT + 1
    assert contest.pair.server.received.index(probe) == 0
