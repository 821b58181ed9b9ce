"""Scenarios over two links: what several flows and a single QUIC flow make of them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from tests.bench.measure import WARM_UP, Figures, Measure, alternate, open_ways, tcp
from tests.bench.record import Record
from tests.bench.ways import Plan, Way, rival_plans
from tests.lab.links import Shape
from tests.lab.net import LabError, stop
from tests.lab.tunnel import write_certificate

LINKS = (Shape(rate=300, delay=10), Shape(rate=80, delay=30))
ALONE = [Plan("A alone", "tunnel", links=(0,)), Plan("B alone", "tunnel", links=(1,))]
SCHEDULERS = [Plan(name, "tunnel", multipath={"Scheduler": name}) for name in ("wlb", "minrtt", "redundant")]
QUIC_PORT = 8443

# Two links each, as in the reorder report of the C program mqvpn (benchmarks/bench_env_setup.sh there). Delays are
# those of one direction. Jitter keeps the order of packets here; netem, which is used there, does not.
ENVIRONMENTS = {
    "baseline": (Shape(rate=50, delay=20), Shape(rate=50, delay=20)),
    "loss_05": (Shape(rate=50, delay=20, loss=0.5), Shape(rate=50, delay=20, loss=0.5)),
    "loss_2": (Shape(rate=50, delay=20, loss=2), Shape(rate=50, delay=20, loss=2)),
    "jit_5": (Shape(rate=50, delay=20, jitter=5), Shape(rate=50, delay=20, jitter=5)),
    "jit_20": (Shape(rate=50, delay=20, jitter=20), Shape(rate=50, delay=20, jitter=20)),
    "rtt_40": (Shape(rate=50, delay=20), Shape(rate=50, delay=40)),
    "rtt_70": (Shape(rate=50, delay=20), Shape(rate=50, delay=70)),
    "rtt_120": (Shape(rate=50, delay=20), Shape(rate=50, delay=120)),
    "rtt_320": (Shape(rate=50, delay=20), Shape(rate=50, delay=320)),
    "bw_4to1": (Shape(rate=50, delay=20), Shape(rate=12, delay=20)),
    "bw_10to1": (Shape(rate=100, delay=20), Shape(rate=10, delay=20)),
    "dual_lte": (Shape(rate=40, delay=30, jitter=5, loss=0.5), Shape(rate=25, delay=45, jitter=8, loss=0.5)),
    "fiber_lte": (Shape(rate=300, delay=8), Shape(rate=30, delay=40, jitter=8, loss=0.5)),
    "lte_starlink": (Shape(rate=40, delay=35, jitter=8), Shape(rate=100, delay=50, jitter=25, loss=1)),
    "lte_geo": (Shape(rate=40, delay=35), Shape(rate=20, delay=320, jitter=20, loss=0.5)),
    "congested": (Shape(rate=20, delay=50, jitter=20, loss=2), Shape(rate=15, delay=60, jitter=25, loss=2)),
}


def dual(record: Record) -> None:
    """TCP over 300 Mbit/s, 10 ms and 80 Mbit/s, 30 ms: each alone, and both by each scheduler"""
    cases: dict[str, Measure] = {}
    for streams in (1, 4, 16):
        for up in (True, False):
            cases[f"TCP {streams} {'up' if up else 'down'}"] = tcp(record.seconds, streams, up=up, start=WARM_UP)
    with open_ways(record, [*ALONE, *SCHEDULERS, *rival_plans()], LINKS) as ways:
        alternate(record, ways, cases)


def quic(record: Record) -> None:
    """the download of one QUIC flow over two links of 50 Mbit/s and 20 ms: each alone, and both"""
    _download_in(record, "baseline")


def environments(record: Record) -> None:
    """the download of one QUIC flow in the 16 pairs of links of the C program's reorder report"""
    for name in ENVIRONMENTS:
        _download_in(record, name)


def _download_in(record: Record, environment: str) -> None:
    with open_ways(record, [*ALONE, *SCHEDULERS[:2]], ENVIRONMENTS[environment]) as ways:
        alternate(record, ways, {environment: quic_download(record.seconds)})


def quic_download(seconds: float) -> Measure:
    """Throughput of quicflow.py from the server to the client, when its slow start is over."""

    def measure(way: Way) -> Figures:
        with contextlib.ExitStack() as stack:
            listening = _start(way, "serve", *map(str, write_certificate(way.site.net.directory)))
            stack.callback(stop, listening)
            assert listening.stdout is not None
            if listening.stdout.readline() != "ready\n":
                raise LabError(f"no QUIC server on {way.to_server}")
            fetching = _start(way, "fetch", str(WARM_UP), str(seconds))
            stack.callback(stop, fetching)
            try:
                said = fetching.communicate(timeout=seconds + WARM_UP + 30)[0]
                return {"Mbit/s": float(said)}
            except (subprocess.TimeoutExpired, ValueError):
                raise LabError("the QUIC transfer did not come to an end") from None

    return measure


def _start(way: Way, role: str, *arguments: str) -> subprocess.Popen[str]:
    namespace = way.site.server if role == "serve" else way.site.client
    program = (sys.executable, str(Path(__file__).with_name("quicflow.py")), role, way.to_server, str(QUIC_PORT))
    pipe = subprocess.PIPE
    process: subprocess.Popen[str] = namespace.popen(
        *program, *arguments, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )
    return process
