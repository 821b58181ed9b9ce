def clamped(packet: bytes, mtu: int) -> bytes:
    """The packet as it passes through a tunnel for IP packets of `mtu` bytes."""
