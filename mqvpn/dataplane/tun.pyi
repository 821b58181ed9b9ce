from mqvpn.dataplane.packet import PacketBatch, PacketRefs

class Tun:
    """A TUN descriptor, which stays the caller's. `uso`: the kernel takes super packets of UDP."""

    def __init__(self, fd: int, vnet_header: bool = True, uso: bool = False) -> None:
        """vnet_header: opened with IFF_VNET_HDR; the header has 10 bytes (TUNSETVNETHDRSZ)."""
    @property
    def failed(self) -> int:
        """errno (EBADFD) once the device is gone, else 0."""
    def read(self, batch: PacketBatch, now: float, limit: int = 32) -> int:
        """Append what the device holds, at most `limit` packets, or fewer once they are 48 KB; the number of them."""
    def write(self, refs: PacketRefs) -> int:
        """Write all packets, and empty the list; the number of packets the kernel took."""
    def write_packet(self, packet: bytes) -> bool:
        """Write one packet; False: the kernel did not take it."""
    def drops(self) -> dict[int, int]:
        """Packets given up since the start, by Drop."""
