"""The engine is compiled against these numbers."""

from mqvpn.wire.drop import Drop

NAMES = (
    "TOO_SHORT NOT_IP SOURCE_NOT_ASSIGNED NO_ROUTE HOP_LIMIT NO_PATH TOO_BIG QUEUE_FULL QUEUE_DELAY "
    "UNKNOWN_CONNECTION UNDECRYPTABLE DUPLICATE UNKNOWN_CONTEXT UNKNOWN_STREAM BAD_OFFLOAD TUN_WRITE "
    "SOCKET_SEND LINK_LOCAL DATAGRAM_LOST NO_MEMORY"
)


def test_numbers_are_fixed() -> None:
    assert [drop.name for drop in Drop] == NAMES.split()
    assert [drop.value for drop in Drop] == [*range(18), 19, 20]
