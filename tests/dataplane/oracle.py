"""Slow, plain twins of the compiled packet code, written from the RFCs and the rules of TSO and GRO.

The tests compare both byte for byte. Joining has no rules of its own here: packets may be joined if cutting
the result gives back the very same packets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
TCP, UDP = 6, 17
VIRTIO = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
EXTENSIONS = {0, 60}  # hop-by-hop and destination options


def checksum(data: bytes | bytearray) -> int:
    """RFC 1071, word by word."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport(packet: bytes | bytearray) -> tuple[int, int]:
    """Protocol and offset of what follows the IP header."""
    if packet[0] >> 4 == 4:
        return packet[9], (packet[0] & 15) * 4
    protocol, at = packet[6], 40
    while protocol in EXTENSIONS:
        protocol, at = packet[at], at + (packet[at + 1] + 1) * 8
    return protocol, at


def header_length(packet: bytes | bytearray) -> int:
    """IP and TCP or UDP header."""
    protocol, at = transport(packet)
    return at + (8 if protocol == UDP else (packet[at + 12] >> 4) * 4)


def pseudo(packet: bytes | bytearray) -> bytes:
    """The pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1)."""
    protocol, at = transport(packet)
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    return bytes(addresses) + struct.pack("!II", len(packet) - at, protocol)


def finished(packet: bytes | bytearray) -> bytes:
    """The packet with its lengths and checksums set."""
    out = bytearray(packet)
    protocol, at = transport(packet)
    if protocol == UDP:
        struct.pack_into("!H", out, at + 4, len(out) - at)
    if out[0] >> 4 == 4:
        struct.pack_into("!H", out, 2, len(out))
        out[10:12] = b"\0\0"
        struct.pack_into("!H", out, 10, checksum(out[:at]))
    else:
        struct.pack_into("!H", out, 4, len(out) - 40)
    field = at + (16 if protocol == TCP else 6)
    out[field : field + 2] = b"\0\0"
    struct.pack_into("!H", out, field, checksum(pseudo(out) + out[at:]) or 0xFFFF)
    return bytes(out)


def ip(
    version: int, protocol: int, rest: bytes, *, hosts: int = 1, ident: int = 1, fragment: int = 0x4000,
    tos: int = 0, ttl: int = 64, options: bytes = b"",
) -> bytes:  # fmt: skip
    """An IP packet with right checksums; `options` are IPv4 options or whole IPv6 extension headers."""
    if version == 4:
        first = 0x45 + len(options) // 4
        addresses = ip_address("192.0.2.1").packed + ip_address(f"198.51.100.{hosts}").packed
        head = struct.pack("!BBHHHBBH", first, tos, 0, ident, fragment, ttl, protocol, 0) + addresses
    else:
        addresses = ip_address("2001:db8::1").packed + ip_address(f"2001:db8:1::{hosts}").packed
        following = 60 if options else protocol
        head = struct.pack("!IHBB", 6 << 28 | tos << 20, 0, following, ttl) + addresses
    return finished(head + options + rest)


def tcp(
    payload: bytes, *, sport: int = 1000, dport: int = 443, seq: int = 0, ack: int = 7, flags: int = ACK,
    window: int = 500, options: bytes = b"",
) -> bytes:  # fmt: skip
    """A TCP segment; its checksum is ip()'s to set."""
    offset = (20 + len(options)) // 4 << 4
    return struct.pack("!HHIIBBHHH", sport, dport, seq, ack, offset, flags, window, 0, 0) + options + payload


def udp(payload: bytes, *, sport: int = 1000, dport: int = 443) -> bytes:
    """A UDP datagram; its checksum and length are ip()'s to set."""
    return struct.pack("!HHHH", sport, dport, 0, 0) + payload


def split(packet: bytes, gso_size: int) -> list[bytes]:
    """A super packet cut into segments."""
    protocol, at = transport(packet)
    head, payload = packet[: header_length(packet)], packet[header_length(packet) :]
    result = []
    for index, cut in enumerate(range(0, len(payload), gso_size)):
        out = bytearray(head + payload[cut : cut + gso_size])
        if out[0] >> 4 == 4:
            ident = int.from_bytes(head[4:6], "big")
            struct.pack_into("!H", out, 4, (ident + index) & 0xFFFF)
        if protocol == TCP:
            sequence = int.from_bytes(head[at + 4 : at + 8], "big")
            struct.pack_into("!I", out, at + 4, (sequence + cut) & 0xFFFFFFFF)
            if cut + gso_size < len(payload):
                out[at + 13] &= ~(FIN | PSH)
            if index:
                out[at + 13] &= ~CWR
        result.append(finished(out))
    return result


def joined(packets: list[bytes]) -> bytes:
    """The super packet of these segments, with a whole checksum."""
    head = bytearray(packets[0][: header_length(packets[0])])
    protocol, at = transport(packets[0])
    if protocol == TCP:
        head[at + 13] |= packets[-1][at + 13] & FIN
        head[at + 13] |= PSH if any(packet[at + 13] & PSH for packet in packets) else 0
    return finished(head + b"".join(packet[header_length(packet) :] for packet in packets))


def payload_length(packet: bytes) -> int:
    return len(packet) - header_length(packet)


def comparable(packet: bytes) -> bytes:
    """Without the IPv4 ID and the checksum over it, where DF makes them meaningless (RFC 6864)."""
    if packet[0] >> 4 == 4 and packet[6] & 0x40:
        return packet[:4] + packet[6:10] + packet[12:]
    return packet


def unpushed(packet: bytes) -> bytes:
    """Without PSH, which may move to a later segment."""
    protocol, at = transport(packet)
    if protocol != TCP:
        return packet
    flags = packet[at + 13] & ~PSH
    return finished(bytearray(packet[: at + 13] + bytes([flags]) + packet[at + 14 :]))


def may_join(packets: list[bytes], uso: bool) -> bool:
    """Whether a super packet of these gives back the same packets, but for PSH."""
    protocol, at = transport(packets[0])
    if len(packets) > 64 or any(payload_length(packet) <= 0 for packet in packets):
        return False
    if (protocol == UDP and not uso) or (packets[0][0] >> 4 == 6 and at != 40):
        return False
    if protocol == TCP and any(p[at + 13] & (SYN | RST | URG | CWR | ACK) != ACK for p in packets):
        return False
    if sum(map(payload_length, packets)) + header_length(packets[0]) > 65535:
        return False
    again = split(joined(packets), payload_length(packets[0]))
    if packets[0][0] >> 4 == 4 and any(checksum(packet[:at]) for packet in packets):
        return False
    if any(finished(bytearray(packet)) != packet for packet in packets):
        return False
    return [comparable(unpushed(one)) for one in again] == [comparable(unpushed(one)) for one in packets]


def written(packets: list[bytes]) -> bytes:
    """What is written to the device for a group: virtio header and packet."""
    if len(packets) == 1:
        return bytes(VIRTIO.size) + packets[0]
    whole = bytearray(joined(packets))
    protocol, at = transport(whole)
    field = 16 if protocol == TCP else 6
    struct.pack_into("!H", whole, at + field, ~checksum(pseudo(whole)) & 0xFFFF)
    kind = 5 if protocol == UDP else 1 if whole[0] >> 4 == 4 else 4
    return VIRTIO.pack(1, kind, header_length(whole), payload_length(packets[0]), at, field) + bytes(whole)


def flow(packet: bytes) -> bytes | None:
    """Protocol, addresses and ports; None: no ports to be seen."""
    if packet[0] >> 4 == 4 and int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return None
    protocol, at = transport(packet)
    if protocol not in (TCP, UDP) or len(packet) < at + (8 if protocol == UDP else 20):
        return None
    return pseudo(packet)[:-8] + bytes([protocol]) + packet[at : at + 4]


def coalesce(packets: Iterable[bytes], uso: bool = True, flows: int = 8) -> list[bytes]:
    """What is written for a batch of packets, each write as one item."""
    out: list[bytes] = []
    groups: dict[bytes, list[bytes]] = {}
    for packet in packets:
        key = flow(packet)
        if key is None:
            out += [written(group) for group in groups.values()]
            groups.clear()
            out.append(written([packet]))
            continue
        group = groups.get(key, [])
        if group and not may_join([*group, packet], uso):
            out.append(written(groups.pop(key)))
            group = []
        if not group and not may_join([packet], uso):
            out.append(written([packet]))
            continue
        if not group and len(groups) == flows:
            out.append(written(groups.pop(next(iter(groups)))))
        groups[key] = [*group, packet]
        if closed(groups[key]):
            out.append(written(groups.pop(key)))
    return out + [written(group) for group in groups.values()]


def closed(group: list[bytes]) -> bool:
    """Whether nothing can follow."""
    protocol, at = transport(group[0])
    ended = protocol == TCP and group[-1][at + 13] & FIN
    return bool(ended) or payload_length(group[-1]) < payload_length(group[0]) or len(group) == 64
