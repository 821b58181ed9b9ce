class PacketBatch:
    """Packets read from the TUN in one turn, at most 64."""

    def __len__(self) -> int: ...
    def append(self, packet: bytes, gso_size: int = 0) -> None:
        """Add a copy of an IP packet or, with gso_size, of a super packet. ValueError: not IP, full."""
    def clear(self) -> None:
        """Free what nobody has taken."""

class PacketRefs:
    """IP packets that lie in a receive batch, at most 1024, to be written before the batch is used again."""

    def __len__(self) -> int: ...
    def append(self, packet: bytes) -> None:
        """Add a packet, which stays alive until clear(). ValueError: full."""
    def packets(self) -> list[bytes]:
        """Copies of all packets."""
    def clear(self) -> None:
        """Forget all packets."""
