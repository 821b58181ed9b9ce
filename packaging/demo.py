"""A real server and a real client, two links, traffic; one link is cut without a word and comes back.

Everything happens in network namespaces that are gone afterwards. A table shows the client's paths once per
second. The exit status is 0 only if the traffic survived: the transfer went on while the link was dead, and
the link was used again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.lab.links import Shape
from tests.lab.net import LabError, Net
from tests.lab.site import Site, build_site
from tests.lab.stolen import Stolen
from tests.lab.traffic import Result, Stream, StreamResult, Transfer
from tests.lab.tunnel import INNER, Tunnel, tunnel

LINKS = [Shape(rate=100, delay=10), Shape(rate=40, delay=30)]
CUT, RESTORE, END = 10, 18, 30  # seconds
INTRODUCTION = """
  client namespace                                  server namespace
  +-------------+   up0: 100 Mbit/s, 10 ms    +---------------------+
  |    mqc0     |=============================|  mqs0  10.77.0.1    |
  |             |   up1:  40 Mbit/s, 30 ms    |  one UDP socket     |
  +-------------+=============================+---------------------+
  Four TCP flows download through the tunnel, and 100 small UDP packets per second go up.
"""


@dataclass(frozen=True)
class Row:
    """What one path did in the last second."""

    interface: str
    state: str
    rtt_ms: float
    sent: float  # Mbit/s
    received: float
    lost: int

    def __str__(self) -> str:
        rates = f"{self.sent:8.1f} {self.received:8.1f} Mbit/s"
        return f"{self.interface:<6} {self.state:<10} {self.rtt_ms:7.1f} ms {rates} {self.lost:7d}"


HEADING = f"{'path':<6} {'state':<10} {'RTT':>7}    {'up':>8} {'down':>8}        {'lost':>7}"


def rows(before: dict[str, Any], after: dict[str, Any], seconds: float) -> Iterator[Row]:
    """The paths of two successive statistics as rates; a path that is new starts from zero."""
    earlier = {path["id"]: path for path in before.get("paths", ())}
    for path in sorted(after.get("paths", ()), key=lambda path: str(path["interface"])):
        was = earlier.get(path["id"], {"tx_bytes": 0, "rx_bytes": 0})
        up, down = ((path[key] - was[key]) * 8e-6 / seconds for key in ("tx_bytes", "rx_bytes"))
        yield Row(path["interface"], path["state"], path["rtt_ms"], up, down, path["lost"])


class Table:
    """Redraws itself in place on a terminal; writes plain lines elsewhere."""

    def __init__(self) -> None:
        self._height = 0
        self._terminal = sys.stdout.isatty()

    def show(self, second: float, event: str, table: list[Row]) -> None:
        if self._terminal:
            lines = [f"{second:4.0f} s  {event}", HEADING, *map(str, table)]
            if self._height:
                print(f"\033[{self._height}A\033[J", end="")
            self._height = len(lines)
            print("\n".join(lines), flush=True)
        else:
            for row in table:
                print(f"{second:4.0f} s  {event:<34} {row}", flush=True)


def watch(t: Tunnel) -> None:
    """Show the paths every second, and cut and restore the first link on time."""
    table = Table()
    event = "both links work"
    started = shown = time.monotonic()
    stats = t.client.stats()
    for second in range(1, END + 1):
        time.sleep(max(0.0, started + second - time.monotonic()))
        now, newer = time.monotonic(), t.client.stats()
        table.show(second, event, list(rows(stats, newer, now - shown)))
        stats, shown = newer, now
        if second == CUT:
            t.site.set_link(0, blackhole=1)
            event = "up0 swallows everything, silently"
        elif second == RESTORE:
            t.site.set_link(0, blackhole=0)
            event = "up0 is back"


def verdict(result: Result, stream: StreamResult) -> bool:
    """Print what the tunnel carried and lost; true if the traffic survived."""
    before, during = result.between(2, CUT), result.between(CUT + 1, RESTORE)
    after = result.between(RESTORE + 3, END)
    print(f"\nTCP: {before:.0f} Mbit/s on both links, {during:.0f} on one, {after:.0f} on both again;")
    print(f"     {result.empty(start=1)} half seconds without a byte, {result.retransmits} segments sent again")
    print(f"UDP: {stream.lost} of {stream.sent} packets lost, longest gap {stream.longest_gap * 1000:.0f} ms")
    slow = LINKS[1].rate
    survived = during > 0.5 * slow and after > 1.5 * slow and stream.longest_gap < 2
    print("The traffic survived." if survived else "The traffic did NOT survive.")
    return survived


def demonstrate(site: Site) -> bool:
    stolen = Stolen().start()
    with tunnel(site) as t:
        with Stream(site.client, site.server, INNER) as stream:
            download = Transfer(site.server, site.client, t.client_address, seconds=END, streams=4).start()
            watch(t)
            result = download.result()
        survived = verdict(result, stream.result)
    if stolen.much:
        print(f"The figures are lower than they could be: {stolen}. Run it again for better ones.")
    return survived


def main() -> int:
    print(INTRODUCTION, flush=True)
    try:
        with Net() as net:
            return 0 if demonstrate(build_site(net, LINKS)) else 1
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
