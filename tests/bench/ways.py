"""The ways by which packets can go between two namespaces, all opened before the first measurement.

raw      the links themselves
ceiling  ceiling.c: encryption and offloads without a transport protocol, the most TCP this machine can carry
tunnel   ours; with more than one link also with other schedulers, or over one of the links alone
others   adapters.py

Each way has namespaces and links of its own, so none disturbs another but by the processor's time, and idle ones
take none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mqvpn.dataplane.engine import OVERHEAD, SPREAD_BYTES
from mqvpn.multipath.mtu import ETHERNET, udp_payload
from mqvpn.system import offloads
from tests.bench import adapters
from tests.lab.links import Shape, compiled
from tests.lab.net import Namespace, Net, program, wait_for
from tests.lab.site import Site, build_site
from tests.lab.tunnel import INNER, Section, tunnel

CEILING_MTU = udp_payload(ETHERNET, "10.1.0.1") - OVERHEAD - SPREAD_BYTES  # as in the tunnel, when its search is done
CLIENT_IN_CEILING = "10.77.0.2"
UNSHAPED: tuple[Shape | None, ...] = (None,)


@dataclass(frozen=True)
class Way:
    """One way: each end's namespace, its address as the other end has to use it, and its daemon's processes."""

    name: str
    site: Site
    to_server: str
    to_client: str
    client_pids: tuple[int, ...] = ()
    server_pids: tuple[int, ...] = ()

    def ends(self, *, up: bool) -> tuple[Namespace, Namespace, str]:
        """Sender, receiver and the address to send to; up is from client to server."""
        if up:
            return self.site.client, self.site.server, self.to_server
        return self.site.server, self.site.client, self.to_client

    def cpu_seconds(self) -> tuple[float, float]:
        """Processor time that the client's and the server's daemon have used until now."""
        return sum(map(cpu_seconds, self.client_pids)), sum(map(cpu_seconds, self.server_pids))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5): fields 14 and 15 of stat, in hundredths of a second)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@dataclass(frozen=True)
class Plan:
    """How to open one way. `links` chooses those our tunnel uses by their numbers; empty: all."""

    name: str
    kind: str  # raw, ceiling, tunnel or the name of a rival
    links: tuple[int, ...] = ()
    multipath: Section = field(default_factory=dict)
    without: str = ""  # an offload that our tunnel leaves aside


RAW, CEILING, TUNNEL = Plan("raw", "raw"), Plan("ceiling", "ceiling"), Plan("tunnel", "tunnel")


def rival_plans() -> list[Plan]:
    return [Plan(name, name) for name in adapters.names()]


@contextlib.contextmanager
def open_way(plan: Plan, shapes: Sequence[Shape | None]) -> Iterator[Way]:
    """The way over links of these shapes; raises LabError with the reason when it cannot be had."""
    if plan.kind in adapters.names():
        adapters.version(plan.kind, len(shapes))
    with Net() as net:
        site = build_site(net, shapes)
        with _addresses(plan, site) as (to_server, to_client):
            pids = tuple(tuple(namespace.processes()) for namespace in (site.client, site.server))
            yield Way(plan.name, site, to_server, to_client, *pids)


@contextlib.contextmanager
def _addresses(plan: Plan, site: Site) -> Iterator[tuple[str, str]]:
    """Open what the plan asks for in the site: the server's and the client's address by this way."""
    if plan.kind == "raw":
        number = plan.links[0] if plan.links else 0
        yield f"10.1.{number}.1", f"10.1.{number}.2"
    elif plan.kind == "ceiling":
        with ceiling(site):
            yield INNER, CLIENT_IN_CEILING
    elif plan.kind == "tunnel":
        uplinks = [site.uplinks[n] for n in plan.links] or site.uplinks
        changes = {"Multipath": {**plan.multipath, "Path": uplinks}}
        server = {"Multipath": plan.multipath}
        # A file of statistics twice a second would be 0.5 % of a core.
        with leaving_aside(plan.without), tunnel(site, server=server, client=changes, statistics=False) as opened:
            yield INNER, opened.client_address
    else:
        with adapters.rival(site, plan.kind):
            yield adapters.SERVER, adapters.CLIENT


@contextlib.contextmanager
def leaving_aside(offload: str) -> Iterator[None]:
    """Daemons started within do not use the offload, as on a kernel without it."""
    before = os.environ.get(offloads.VARIABLE, "")
    os.environ[offloads.VARIABLE] = offload
    try:
        yield
    finally:
        os.environ[offloads.VARIABLE] = before


@contextlib.contextmanager
def ceiling(site: Site) -> Iterator[None]:
    """The ceiling's two programs, joined over the first link."""
    executable = str(compiled("bench/ceiling", "-O3", "-march=native", "-lcrypto"))
    ends = ((site.client, "10.1.0.2", "10.1.0.1", 2), (site.server, "10.1.0.1", "10.1.0.2", 1))
    with contextlib.ExitStack() as stack:
        for namespace, local, remote, host in ends:
            argv = (executable, "tun0", local, remote, "5000")
            stack.enter_context(program(namespace, *argv, log=site.net.log(f"ceiling{host}.log")))
            wait_for("tun0", lambda: "tun0" in namespace.ip("link"))  # noqa: B023
            namespace.ip("link", "set", "tun0", "mtu", str(CEILING_MTU), "up")
            namespace.ip("addr", "add", f"10.77.0.{host}/24", "dev", "tun0")
        yield
