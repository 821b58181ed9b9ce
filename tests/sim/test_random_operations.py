"""Random operations on two ends, against what must hold whatever happens in between."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mqvpn.multipath.connection import CannotOpenPath
from mqvpn.multipath.pathstate import PathState
from mqvpn.multipath.seam import ConnectionTerminated
from tests.sim.net import Link
from tests.sim.pair import Pair
from tests.sim.traffic import bind, exchange


class Paths(RuleBasedStateMachine):
    """Opens, abandons, breaks and mends paths; path 0 over the first link always works."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(3, client_max_path_id=3, server_max_path_id=3)
        self.pair.connect()
        bind(self.pair)
        self.links = 0
        self.rebindings = 0

    def others(self) -> list[int]:
        return [path_id for path_id, path in self.pair.c.paths.items() if path.is_live and path_id]

    @rule(loss=st.sampled_from([0.0, 0.1, 0.3]), is_up=st.booleans(), jitter=st.sampled_from([0.0, 0.03]))
    @precondition(lambda self: self.links < 10)
    def open(self, loss: float, is_up: bool, jitter: float) -> None:
        self.links += 1
        link = Link(loss=loss, is_up=is_up, jitter=jitter, duplicate=loss)
        try:
            self.pair.open_path(f"10.0.{self.links + 1}.1", link)
        except CannotOpenPath:
            self.pair.client.settle()

    @rule(data=st.data(), by_server=st.booleans())
    @precondition(lambda self: self.others())
    def abandon(self, data: st.DataObject, by_server: bool) -> None:
        path_id = data.draw(st.sampled_from(self.others()))
        end = self.pair.server if by_server else self.pair.client
        if end.quic is not None and path_id in end.quic.paths:
            end.quic.abandon_path(path_id, 0, self.pair.net.now)
            end.settle()

    @rule(data=st.data(), backup=st.booleans())
    @precondition(lambda self: self.others())
    def set_status(self, data: st.DataObject, backup: bool) -> None:
        path_id = data.draw(st.sampled_from(self.others()))
        self.pair.c.set_path_status(path_id, backup, self.pair.net.now)
        self.pair.client.settle()

    @rule(data=st.data(), is_up=st.booleans())
    @precondition(lambda self: self.others())
    def switch_link(self, data: st.DataObject, is_up: bool) -> None:
        path = self.pair.c.paths[data.draw(st.sampled_from(self.others()))]
        self.pair.net.links[self.pair.client.addresses[path.socket][0]].is_up = is_up

    @rule(for_good=st.booleans())
    @precondition(lambda self: self.rebindings < 3)
    def rebind_path_0(self, for_good: bool) -> None:
        """for_good: the address of before leads nowhere any more."""
        self.rebindings += 1
        inside = self.pair.client.addresses[0]
        outside = ("203.0.113.9", 50000 + self.rebindings)
        self.pair.net.links[outside[0]] = self.pair.net.links[inside[0]]
        if for_good:
            self.pair.net.rebind(inside, outside)
        self.pair.net.rebound[inside] = outside

    @rule(by_server=st.booleans())
    def update_keys(self, by_server: bool) -> None:
        exchange(self.pair, 0.3)  # an update must have been answered before the next one
        (self.pair.s if by_server else self.pair.c).engine_connection.update_keys()

    @rule(seconds=st.sampled_from([0.01, 0.2, 1.0]))
    def send(self, seconds: float) -> None:
        exchange(self.pair, seconds)

    @rule(seconds=st.sampled_from([0.001, 0.1, 5.0]))
    def wait(self, seconds: float) -> None:
        self.pair.run(seconds)

    @invariant()
    def nobody_hangs_up(self) -> None:
        for end in (self.pair.client, self.pair.server):
            assert end.seen(ConnectionTerminated) == []
            assert end.quic is not None
            assert end.quic.close_event is None

    @invariant()
    def the_ids_stay_few(self) -> None:
        for quic in (self.pair.c, self.pair.s):
            assert len(quic.paths) <= 4
            assert len(quic._issuance.local.paths) <= 4 + 1

    def teardown(self) -> None:
        """With all links mended and nothing more asked for, both ends agree, and packets flow."""
        for link in self.pair.net.links.values():
            link.is_up, link.loss = True, 0.0
        self.pair.run(20.0)
        states = [{path_id: path.state for path_id, path in quic.paths.items()} for quic in (self.pair.c, self.pair.s)]
        assert states[0] == states[1]
        assert set(states[0].values()) == {PathState.ACTIVE}
        to_client, to_server = exchange(self.pair, 1.0)
        assert len(to_client) == len(to_server) == 100
        for quic in (self.pair.c, self.pair.s):
            assert quic._outbox._deliveries == {}


TestPaths = Paths.TestCase
TestPaths.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
