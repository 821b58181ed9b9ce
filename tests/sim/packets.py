"""IP packets for simulations: UDP over IPv4 with a number inside, so that losses and copies are countable."""

import struct

CLIENT_INNER, SERVER_INNER = bytes([10, 8, 0, 2]), bytes([10, 8, 0, 1])


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp_packet(number: int, size: int = 200, *, to_server: bool = True, port: int = 5000) -> bytes:
    """An IPv4 packet of `size` bytes in all; its UDP checksum is 0 (none)."""
    source, destination = (CLIENT_INNER, SERVER_INNER) if to_server else (SERVER_INNER, CLIENT_INNER)
    payload = struct.pack("!Q", number).ljust(size - 28, b"\0")
    udp = struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, source, destination)
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + udp


def number_of(packet: bytes) -> int:
    """The number inside."""
    return int(struct.unpack_from("!Q", packet, 28)[0])
