"""Plots of rate and RTT over time, from the simulator: 100 Mbit/s, 40 ms, a buffer of one bandwidth-delay product.

`python -m tests.bench.plot_congestion [DIRECTORY]` writes one PNG for each rate of loss and one for each couple of
connections that share the link (default: tests/bench/report), and prints the means after the first two seconds.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from tests.dataplane.contest import MEGABIT, Contest
from tests.dataplane.pair import Link

RATE, RTT, SECONDS = 100 * MEGABIT, 0.040, 15.0
HERE = Path(__file__).with_name("report")


def measure(algorithms: Sequence[str], loss: float) -> Contest:
    link = Link(delay=RTT / 2, rate=RATE, loss=loss, queue=int(RATE * RTT))
    contest = Contest(link, algorithms, interval=0.1)
    contest.run(SECONDS)
    return contest


def draw(file: Path, title: str, curves: Sequence[tuple[str, Contest, int]]) -> None:
    """One curve for each (label, contest, number of the connection): rate above, RTT below."""
    figure, (rates, rtts) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 4.5))
    for label, contest, number in curves:
        samples = contest.samples[number]
        at = [sample.at for sample in samples]
        mean = contest.rate(number, 2)
        rates.plot(at, [sample.rate / MEGABIT for sample in samples], label=f"{label}: {mean:.1f}", linewidth=1)
        rtts.plot(at, [sample.rtt * 1000 for sample in samples], label=label, linewidth=1)
        print(f"{title}: {label} {mean:.1f} Mbit/s, queue {contest.queue(2) * 1000:.1f} ms")
    rates.set(ylabel="Mbit/s of datagrams", ylim=(0, 105), title=title)
    rates.legend(loc="lower right", fontsize="small")
    rtts.set(ylabel="RTT, ms", xlabel="seconds", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(file, dpi=80)
    pyplot.close(figure)


def main(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    for percent in (0, 1, 5):
        curves = [(name, measure([name], percent / 100), 0) for name in ("cubic", "bbr")]
        draw(directory / f"loss-{percent}.png", f"100 Mbit/s, 40 ms, {percent} % loss", curves)
    for first, second in (("cubic", "cubic"), ("bbr", "bbr"), ("bbr", "cubic")):
        contest = measure([first, second], 0.0)
        pair = [(f"{first} 1", contest, 0), (f"{second} 2", contest, 1)]
        draw(directory / f"shared-{first}-{second}.png", f"{first} and {second} share 100 Mbit/s, 40 ms", pair)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
