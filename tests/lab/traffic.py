"""Traffic between namespaces, and what became of it: ping, iperf3, and a numbered UDP stream."""

from __future__ import annotations

import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.net import LabError, Namespace, stop

_ports = itertools.count(5201)


@dataclass(frozen=True)
class Ping:
    """What `ping` said: packets sent and answered, each round trip in ms, and its whole output."""

    sent: int
    received: int
    rtts_ms: tuple[float, ...]
    output: str

    @property
    def median_ms(self) -> float:
        """Half of the round trips took longer: a moment in which this machine did something else does not count."""
        return statistics.median(self.rtts_ms)


def ping(namespace: Namespace, address: str, *, size: int = 56, count: int = 3, fragment: bool = True) -> Ping:
    """Send echo requests of `size` payload bytes. With fragment=False they carry DF, and a packet that is
    too big fails visibly instead of being cut by the sender."""
    argv = ["ping", "-n", "-i", "0.1", "-W", "2", "-c", str(count), "-s", str(size)]
    argv += ["-M", "do"] if not fragment else []
    output = namespace.run(*argv, address, check=False)
    totals = re.search(r"(\d+) packets transmitted, (\d+) received", output)
    if totals is None:
        raise LabError(f"ping {address}: {output}")
    rtts = tuple(float(rtt) for rtt in re.findall(r" time=([\d.]+) ms", output))
    return Ping(int(totals[1]), int(totals[2]), rtts, output)


@dataclass(frozen=True)
class Interval:
    start: float  # seconds since the beginning of the transfer
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Result:
    """A finished transfer as its receiver saw it."""

    mbit: float
    intervals: tuple[Interval, ...]
    retransmits: int
    lost_percent: float
    report: dict[str, Any]

    def between(self, start: float, end: float) -> float:
        """Mean Mbit/s of the intervals that lie wholly within [start, end] seconds."""
        inside = [i for i in self.intervals if i.start >= start and i.start + i.seconds <= end + 0.001]
        return sum(i.bytes for i in inside) * 8e-6 / max(sum(i.seconds for i in inside), 1e-9)

    def empty(self, start: float = 0, shortest: float = 0.25) -> int:
        """How many intervals from `start` seconds on brought no byte; the last may be a short remainder."""
        return sum(i.bytes == 0 for i in self.intervals if i.start >= start and i.seconds >= shortest)


class Transfer:
    """One iperf3 run from `sender` to `receiver`, in the background: start(), break something, result().

    The receiver's side is measured: an interval without bytes means that nothing arrived.
    """

    def __init__(
        self,
        sender: Namespace,
        receiver: Namespace,
        address: str,
        *,
        seconds: float,
        streams: int = 1,
        udp_mbit: float = 0,
        size: int = 0,
        interval: float = 0.5,
    ) -> None:
        self._sender, self._receiver, self._address = sender, receiver, address
        self._seconds = seconds
        self._port = str(next(_ports))
        self._interval = str(interval)
        self._argv = ["iperf3", "-J", "-c", address, "-p", self._port]
        self._argv += ["-t", f"{seconds:g}", "-P", str(streams)]
        self._argv += ["-u", "-b", f"{udp_mbit}M"] if udp_mbit else []
        self._argv += ["-l", str(size)] if size else []

    def start(self) -> Transfer:
        pipe = subprocess.PIPE
        server = ("iperf3", "-s", "-1", "-p", self._port, "-J", "-i", self._interval)
        self._server = self._receiver.popen(*server, stdout=pipe, stderr=pipe, text=True)
        for _ in range(100):
            if f":{self._port} " in self._receiver.run("ss", "-Hltn"):
                break
            time.sleep(0.02)
        self._client = self._sender.popen(*self._argv, stdout=pipe, stderr=pipe, text=True)
        self.started = time.monotonic()
        return self

    def result(self) -> Result:
        """Wait for the end; raises LabError when the transfer broke off."""
        try:
            said, complaint = self._client.communicate(timeout=self._seconds + 30)
            heard, _ = self._server.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            raise LabError(f"iperf3 to {self._address} did not come to an end") from None
        finally:
            stop(self._client)
            stop(self._server)
        sent, received = json.loads(said or "{}"), json.loads(heard or "{}")
        if "error" in sent or not received.get("intervals"):
            raise LabError(f"iperf3 to {self._address}: {sent.get('error', complaint)}")
        return _result(sent, received)


def _result(sent: dict[str, Any], received: dict[str, Any]) -> Result:
    sums = [row["sum"] for row in received["intervals"]]
    intervals = tuple(Interval(s["start"], s["seconds"], s["bytes"]) for s in sums)
    total = sum(i.bytes for i in intervals), sum(i.seconds for i in intervals)
    return Result(
        mbit=total[0] * 8e-6 / total[1],
        intervals=intervals,
        retransmits=sent["end"].get("sum_sent", {}).get("retransmits", 0),
        lost_percent=received["end"].get("sum", {}).get("lost_percent", 0.0),
        report={"sender": sent, "receiver": received},
    )


def transfer(sender: Namespace, receiver: Namespace, address: str, **options: Any) -> Result:
    """Run a Transfer to its end."""
    return Transfer(sender, receiver, address, **options).start().result()


@dataclass(frozen=True)
class StreamResult:
    """What became of a numbered UDP stream."""

    sent: int
    received: int
    duplicates: int
    reordered: int
    longest_gap: float  # seconds without an arrival

    @property
    def lost(self) -> int:
        return self.sent - self.received


class Stream:
    """A numbered UDP stream of small packets in the background, as a context manager; then `result`."""

    result: StreamResult

    def __init__(
        self,
        sender: Namespace,
        receiver: Namespace,
        address: str,
        *,
        interval: float = 0.01,
        size: int = 200,
    ) -> None:
        self._sender, self._receiver = sender, receiver
        self._where = (address, str(next(_ports)))
        self._how = (str(interval), str(size))

    def __enter__(self) -> Stream:
        program = (sys.executable, "-S", str(Path(__file__).with_name("stream.py")))
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
        self._in = self._receiver.popen(*program, "receive", *self._where, **pipes)
        self._is_ready(self._in)
        self._out = self._sender.popen(*program, "send", *self._where, *self._how, **pipes)
        self._is_ready(self._out)
        return self

    def _is_ready(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise LabError(f"no UDP stream to {self._where}")

    def __exit__(self, *_: object) -> None:
        self._out.terminate()
        sent = int(self._out.communicate()[0])
        time.sleep(0.5)  # what is still under way may arrive
        self._in.terminate()
        arrivals: list[tuple[int, float]] = json.loads(self._in.communicate()[0])
        self.result = stream_result(sent, arrivals)


def stream_result(sent: int, arrivals: list[tuple[int, float]]) -> StreamResult:
    """Judge the arrivals, each a number and a time, of a stream of `sent` packets."""
    earliest = dict(reversed(arrivals))
    first = sorted(earliest.items(), key=lambda arrival: arrival[1])
    numbers = [number for number, _ in first]
    gaps = [later - earlier for (_, earlier), (_, later) in itertools.pairwise(first)]
    return StreamResult(
        sent=sent,
        received=len(first),
        duplicates=len(arrivals) - len(first),
        reordered=sum(later < earlier for earlier, later in itertools.pairwise(numbers)),
        longest_gap=max(gaps, default=float("inf")),
    )
