from mqvpn.dataplane.packet import PacketBatch

def segments(batch: PacketBatch) -> list[bytes]:
    """All segments of all packets of a batch, which is empty afterwards."""
