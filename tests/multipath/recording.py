"""A stand-in for one connection of the engine: keeps what it was told, and loses or delivers on request."""

from typing import Any

from mqvpn.dataplane.engine import Elsewhere, PathStats

PTO = 0.2


class RecordingConnection:
    """Takes every call of engine.Connection; `calls` lists them as (name, arguments)."""

    def __init__(self) -> None:
        self.id = 7
        self.last_received = 0.0
        self.space = 100_000  # what room() says
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.sent: list[tuple[bytes, int, int, int]] = []  # frames, path, token, pad_to

    def send(
        self,
        frames: bytes,
        path_id: int = -1,
        token: int = 0,
        pad_to: int = 0,
        mtu_probe: bool = False,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.sent.append((frames, path_id, token, pad_to))
        self.space -= len(frames)

    def room(self) -> int:
        return self.space

    def largest_pto(self) -> float:
        return PTO

    def path(self, path_id: int) -> PathStats:
        return PathStats(**dict.fromkeys(PathStats._fields, 0) | {"pto": PTO})

    def __getattr__(self, name: str) -> Any:
        def record(*arguments: Any, **named: Any) -> None:
            self.calls.append((name, (*arguments, *named.values())))

        return record

    def calls_of(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of this name."""
        return [arguments for called, arguments in self.calls if called == name]
