"""One path: where it leads, how far it is, and what is under way on it."""

from dataclasses import dataclass, field
from typing import Final

from mqvpn.multipath.pathstate import LIVE, PathInput, PathState, next_state
from mqvpn.multipath.search import MtuSearch
from mqvpn.multipath.validation import Validation

Endpoint = tuple[str, int]  # address as text, port

MAX_CHALLENGES: Final = 4  # of the peer's, kept until the path can answer


@dataclass(frozen=True, slots=True)
class Address:
    """The 4-tuple: our socket and local address, the peer's address."""

    socket: int
    remote: Endpoint
    local: Endpoint | None


@dataclass(slots=True)
class Path:
    """A path ID in use. `mtu` is the proven size of UDP payloads, 0 before that."""

    path_id: int
    address: Address
    state: PathState = PathState.OPENING
    in_engine: bool = False
    mtu: int = 0
    backup: bool = False  # as we want it
    peer_backup: bool = False  # as the peer wants it
    weight: float = 1.0  # of its share of what we send
    status_sequence: int = 0  # of the last PATH_STATUS sent
    challenges: list[bytes] = field(default_factory=list)  # the peer's, not answered yet
    validation: Validation | None = None
    largest: int = 0  # UDP payload that the interface takes; 0: as with an MTU of 1500
    search: MtuSearch | None = None
    previous: Address | None = None  # the validated address that a path which moved falls back to
    previous_cid: int | None = None  # sequence number of the connection ID that was used there
    recall: Validation | None = None  # does it still answer?
    moved_by_peer: bool = False  # it did so with a fresh connection ID, which nobody else could
    distrusts: bool = False  # packets from elsewhere: the path was led away once
    listen_at: float | None = None  # when packets from elsewhere are news again
    suspect_since: float | None = None
    drain_at: float | None = None

    def apply(self, event: PathInput) -> None:
        """Move to the next state; raises ValueError if the table has none."""
        self.state = next_state(self.state, event)

    @property
    def is_live(self) -> bool:
        """Neither abandoned nor closed."""
        return self.state in LIVE

    @property
    def is_usable(self) -> bool:
        """Whether it may carry IP packets."""
        return self.state is PathState.ACTIVE

    @property
    def is_suspect(self) -> bool:
        return self.suspect_since is not None

    @property
    def socket(self) -> int:
        return self.address.socket

    @property
    def remote(self) -> Endpoint:
        return self.address.remote

    @property
    def local(self) -> Endpoint | None:
        return self.address.local

    def add_challenge(self, data: bytes) -> None:
        """Remember a PATH_CHALLENGE to answer; of too many the oldest goes."""
        self.challenges = [*self.challenges, data][-MAX_CHALLENGES:]

    def next_timeout(self) -> float | None:
        if self.state is PathState.ABANDONED:
            return self.drain_at
        times = [one.next_timeout() for one in (self.validation, self.recall) if one is not None]
        if self.listen_at is not None:
            times.append(self.listen_at)
        if not times and self.search is not None and self.search.raise_at is not None:
            return self.search.raise_at
        return min(times, default=None)
