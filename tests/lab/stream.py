"""A numbered UDP stream: one side sends a packet every few milliseconds, the other notes what arrived when.

Runs as a program inside a namespace (standard library only, so it starts quickly):

    stream.py receive ADDRESS PORT           prints "ready", then on SIGTERM the arrivals as JSON
    stream.py send ADDRESS PORT INTERVAL SIZE    prints "ready", sends until SIGTERM, then prints the number sent
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import struct
import sys
import threading
import time

NUMBER = struct.Struct("!Q")
SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>; not in the socket module
ROOM = 16 * 1024 * 1024


def open_socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


def receive(address: str, port: int) -> None:
    """Print [[number, seconds], ...] in order of arrival, seconds of the clock shared by all processes."""
    arrivals: list[tuple[int, float]] = []
    stop, wake = socket.socketpair()  # an exception could come between a packet and its row
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)
    with open_socket(address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)  # what waits while we do not run is not lost
        sock.bind((address, port))
        print("ready", flush=True)
        while sock in (ready := select.select([sock, stop], [], [])[0]) or stop not in ready:
            packet = sock.recv(65535)
            arrivals.append((NUMBER.unpack_from(packet)[0], time.monotonic()))
    print(json.dumps(arrivals))


def send(address: str, port: int, interval: float, size: int) -> None:
    """Send packets of `size` bytes; one that the kernel refuses (no route for a while) counts as sent."""
    filling = bytes(size - NUMBER.size)
    number = 0
    due = time.monotonic()
    stopped = threading.Event()  # an exception could come between a packet and its number
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    print("ready", flush=True)
    with open_socket(address) as sock:
        while not stopped.is_set():
            with contextlib.suppress(OSError):
                sock.sendto(NUMBER.pack(number) + filling, (address, port))
            number += 1
            due += interval
            time.sleep(max(0.0, due - time.monotonic()))
    print(number)


if __name__ == "__main__":
    role, where, port_text, *rest = sys.argv[1:]
    if role == "receive":
        receive(where, int(port_text))
    else:
        send(where, int(port_text), float(rest[0]), int(rest[1]))
