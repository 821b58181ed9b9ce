"""aioquic's qlog events of a handshake: its dialect, but without its clock, its store and its secrets.

What aioquic notes of 1-RTT frames and of HTTP/3 is left out: these packets are the engine's, and headers hold the
client's key.
"""

from collections.abc import Callable
from typing import Any, Final

from mqvpn.multipath.seam import QuicLoggerTrace

Note = Callable[[str, dict[str, Any]], None]  # takes "category:event" and its data

EVENTS: Final = frozenset(
    {
        "transport:packet_sent",
        "transport:packet_received",
        "transport:packet_dropped",
        "transport:version_information",
        "transport:alpn_information",
        "transport:parameters_set",
    }
)
SECRETS: Final = frozenset({"token", "reset_token", "stateless_reset_token", "retry_token"})


class HandshakeTrace(QuicLoggerTrace):
    """Hands on what it is told; a packet's frames join its data afterwards, until the datagram is done with."""

    def __init__(self, note: Note, *, is_client: bool, odcid: bytes) -> None:
        super().__init__(is_client=is_client, odcid=odcid)
        self._note = note

    def log_event(self, *, category: str, event: str, data: dict[str, Any]) -> None:
        name = f"{category}:{event}"
        if name in EVENTS:
            self._note(name, data)


def without_secrets(data: Any) -> Any:
    """A copy of an event's data in which no token is left."""
    if isinstance(data, dict):
        return {key: without_secrets(value) for key, value in data.items() if key not in SECRETS}
    if isinstance(data, list):
        return [without_secrets(item) for item in data]
    return data
