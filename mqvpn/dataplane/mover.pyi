from collections.abc import Mapping

from mqvpn.dataplane.engine import Endpoint, Engine
from mqvpn.dataplane.tun import Tun
from mqvpn.dataplane.udp import Sockets

class Mover:
    """Moves packets between a TUN device, the sockets and an engine. epoll: a set of the descriptors of both, and of
    `others`, which is readable when Python has something to do."""

    overslept: float
    """Seconds: the longest that a wait of the last run() took too long. The machine slept, or this process."""

    def __init__(self, engine: Engine, tun: Tun, sockets: Sockets, epoll: int, others: int = -1) -> None: ...
    def watch(self, sockets: Mapping[int, int]) -> None:
        """The sockets to receive from: their descriptors by their numbers."""
    def run(self, python_due: float) -> float:
        """Move packets until the engine has events, `others` is readable, the clock reaches python_due, or it is
        quiet; returns the time of CLOCK_BOOTTIME, seconds."""
    def transmit(self, now: float) -> None:
        """Send what the engine may send now."""
    def receive_one(self, packet: tuple[bytes, int, Endpoint, Endpoint | None], now: float) -> None:
        """Engine.receive_one() and its IP packets into the TUN."""
