"""One client engine whose peer is the test: packets opened and sealed in Python, every moment chosen by hand."""

from collections.abc import Iterable
from ipaddress import ip_address
from itertools import pairwise
from random import Random

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mqvpn.dataplane.engine import AES_128_GCM, Endpoint
from mqvpn.wire.buffer import Reader, Writer
from tests.dataplane.pair import CLIENT_ADDRESS, End, Pair, packets

CLIENT, SERVER = ("192.0.2.1", 1000), ("192.0.2.2", 443)
HEADER = 1 + 8 + 4
PING = b"\x01\0\0\0"


def crypt(data: bytes, number: int, path: int, of_client: bool) -> tuple[AESGCM, bytes]:
    """The key of that direction in `pair`'s engines, and the nonce (multipath draft, section 2.4)."""
    seed = Random(f"0 {not of_client}")
    key, iv = seed.randbytes(16), int.from_bytes(seed.randbytes(12), "big")
    return AESGCM(key), (iv ^ path << 64 ^ number).to_bytes(12, "big")


def mask(sample: bytes) -> bytes:
    """RFC 9001, section 5.4.3."""
    return Cipher(algorithms.AES(b"h" * 16), modes.ECB()).encryptor().update(sample)[:5]


def masked(data: bytes) -> bytes:
    """Header protection put on or taken off, of a packet whose number has four bytes."""
    bits = mask(data[HEADER : HEADER + 16])
    number = bytes(a ^ b for a, b in zip(data[9:13], bits[1:], strict=True))
    return bytes([data[0] ^ bits[0] & 0x1F]) + data[1:9] + number + data[13:]


def seal(path: int, number: int, payload: bytes, *, of_client: bool = False) -> bytes:
    header = b"\x43" + Pair.cid(of_client, path) + number.to_bytes(4, "big")
    aead, nonce = crypt(header, number, path, of_client)
    return masked(header + aead.encrypt(nonce, payload, header))


def unseal(path: int, data: bytes, *, of_client: bool = True) -> tuple[int, bytes]:
    """Packet number and payload."""
    plain = masked(data)
    number = int.from_bytes(plain[9:13], "big")
    aead, nonce = crypt(plain, number, path, of_client)
    return number, aead.decrypt(nonce, plain[HEADER:], plain[:HEADER])


def path_ack(path: int, numbers: Iterable[int], delay: float = 0.0, ecn: tuple[int, int, int] | None = None) -> bytes:
    """A PATH_ACK of these packet numbers; ecn: ECT(0), ECT(1), CE."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers), reverse=True):
        if ranges and number == ranges[-1][0] - 1:
            ranges[-1][0] = number
        else:
            ranges.append([number, number])
    out = Writer()
    for value in (0x3F if ecn else 0x3E, path, ranges[0][1], round(delay * 1e6 / 8), len(ranges) - 1):
        out.varint(value)
    out.varint(ranges[0][1] - ranges[0][0])
    for (above, _), (low, high) in pairwise(ranges):
        out.varint(above - high - 2)
        out.varint(high - low)
    for count in ecn or ():
        out.varint(count)
    return bytes(out)


def read_path_ack(payload: bytes) -> tuple[int, list[tuple[int, int]], tuple[int, ...]]:
    """Path ID, ranges (low, high) from the newest down, ECN counts."""
    source = Reader(payload)
    kind, path, high, _, count, span = (source.varint() for _ in range(6))
    assert kind in (0x3E, 0x3F)
    ranges = [(high - span, high)]
    for _ in range(count):
        high = ranges[-1][0] - source.varint() - 2
        ranges.append((high - source.varint(), high))
    return path, ranges, tuple(source.varint() for _ in range(3 if kind == 0x3F else 0))


class Scripted(End):
    """The client's end with `paths` open, validated paths of UDP payload 1400, at time 1.0."""

    def __init__(self, paths: int = 1, seed: int = 1) -> None:
        super().__init__(is_server=False, seed=seed)
        self.now = 1.0
        self.peer_number = [0] * paths
        self.install_keys(0, AES_128_GCM)
        for path in range(paths):
            self.conn.add_cid(Pair.cid(False, path), path)
            self.conn.open_path(path, path, SERVER, CLIENT, Pair.cid(True, path))
            self.conn.set_path(path, validated=True, usable=True, mtu=1400)
        self.conn.bind(0)
        self.engine.set_default(self.conn)
        self.conn.allow([(ip_address(CLIENT_ADDRESS).packed, 32)], [])

    def transmit(self) -> list[tuple[int, int, bytes]]:
        """(path, packet number, payload) of all that the engine sends now."""
        sent = []
        while self.engine.transmit(self.bursts, self.now):
            sent += [(path, *unseal(path, data)) for path, _, _, data in self.bursts.datagrams()]
        self.events += self.engine.events()
        return sent

    def ping(self, path: int = 0, count: int = 1, token: int = 0) -> list[int]:
        """Send packets with a PING (with a token: MAX_DATA) on a path; their numbers."""
        for _ in range(count):
            self.conn.send(b"\x10\x05" if token else PING, path_id=path, token=token)
        return [number for where, number, _ in self.transmit() if where == path]

    def push_packets(self, count: int) -> list[int]:
        """Send IP packets on path 0; their numbers."""
        self.push(packets(count), self.now)
        return [number for _, number, payload in self.transmit() if payload[0] == 0x30]

    def hear(self, payload: bytes, path: int = 0) -> None:
        """The peer's next packet on this path arrives."""
        remote, local, data = self.next_packet(payload, path)
        self.engine.receive_one(data, path, remote, local, self.refs, self.now)
        self.events += self.engine.events()

    def next_packet(self, payload: bytes, path: int = 0) -> tuple[Endpoint, Endpoint, bytes]:
        """The peer's next packet on this path: from, to, datagram."""
        self.peer_number[path] += 1
        return SERVER, CLIENT, seal(path, self.peer_number[path] - 1, payload.ljust(4, b"\0"))

    def ack(
        self,
        numbers: Iterable[int],
        path: int = 0,
        *,
        via: int | None = None,
        delay: float = 0.0,
        ecn: tuple[int, int, int] | None = None,
    ) -> None:
        """The peer acknowledges; what the engine sends then is of no interest."""
        self.hear(path_ack(path, numbers, delay, ecn), path if via is None else via)
        self.transmit()

    def settle(self, rtt: float, path: int = 0) -> None:
        """Give a path an RTT by one packet."""
        numbers = self.ping(path)
        self.now += rtt
        self.ack(numbers, path)

    def timeout(self, at: float | None = None) -> None:
        """The engine's next timer, or a wake-up at some time."""
        self.now = at if at is not None else self.engine.next_timeout() or self.now
        self.refs.clear()
        self.engine.timeout(self.refs, self.now)
        self.events += self.engine.events()

    def kinds(self) -> list[int]:
        return [event[0] for event in self.events]
