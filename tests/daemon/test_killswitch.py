"""The kill switch as a model, states and events, and the real code in a real firewall held to it, exhaustively.

A state is what the process is and whether the block stands; the model says what each event makes of it. Every event is
tried in every state that any events lead to, on the way that leads there first.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort
from mqvpn.daemon import cleanup
from mqvpn.daemon.killswitch import KillSwitch
from mqvpn.daemon.lockdown import unblock
from mqvpn.daemon.stop import Stop
from mqvpn.daemon.undojournal import journal_of
from mqvpn.system import block, nft
from mqvpn.system.errors import OperationFailed
from tests.lab.net import Net
from tests.system.inside import inside

NAME = "mq0"
DOWN = " while the machine goes down"
WANTED, UNWANTED, NONE = "wanted", "unwanted", "none"


@dataclass(frozen=True)
class State:
    """The process: one whose settings want the kill switch, one whose do not, or none; and whether the block stands."""

    process: str = NONE
    blocked: bool = False

    @property
    def alive(self) -> bool:
        return self.process != NONE


Model = Callable[[State], State | None]  # None: this cannot happen in that state


def when_alive(blocked: Callable[[State], bool]) -> Model:
    """The process ends."""
    return lambda state: State(NONE, blocked(state)) if state.alive else None


def start(process: str) -> Model:
    return lambda state: State(process, process == WANTED) if not state.alive else None


def clean_up(blocked: Callable[[State], bool]) -> Model:
    """Nothing is taken from one that runs."""
    return lambda state: state if state.alive else replace(state, blocked=blocked(state))


def somebody_deletes(state: State) -> State:
    return replace(state, blocked=state.process == WANTED)


def no(state: State) -> bool:
    return False


def as_before(state: State) -> bool:
    return state.blocked


MODEL: dict[str, Model] = {
    "start": start(WANTED),
    "start without": start(UNWANTED),
    "SIGKILL": when_alive(as_before),
    "SIGTERM": when_alive(no),
    "SIGUSR1": when_alive(as_before),
    "SIGTERM while the machine goes down": when_alive(as_before),
    "status 1": when_alive(as_before),
    "status 77": when_alive(as_before),
    "clean-up by hand": clean_up(no),
    "clean-up after a stop": clean_up(no),
    "clean-up before a restart": clean_up(as_before),
    "clean-up after 77": clean_up(as_before),
    "clean-up after 78": clean_up(as_before),
    "clean-up after a stop while the machine goes down": clean_up(as_before),
    "nft flush ruleset": somebody_deletes,
    "unblock": somebody_deletes,
    "unblock all": somebody_deletes,
    "unblock between two lives": lambda state: state,
    "unblock after a stop while the machine goes down": lambda state: state,
    "unblock while the machine goes down": somebody_deletes,
}
UNITS = {
    "clean-up by hand": {},
    "clean-up after a stop": {"SERVICE_RESULT": "success", "EXIT_STATUS": "0"},
    "clean-up before a restart": {"SERVICE_RESULT": "signal", "EXIT_STATUS": "KILL"},
    "clean-up after 77": {"SERVICE_RESULT": "exit-code", "EXIT_STATUS": "77"},
    "clean-up after 78": {"SERVICE_RESULT": "exit-code", "EXIT_STATUS": "78"},
    "unblock between two lives": {"SERVICE_RESULT": "signal", "EXIT_STATUS": "KILL"},
}
UNITS |= {f"{what} after a stop{DOWN}": UNITS["clean-up after a stop"] for what in ("clean-up", "unblock")}
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGUSR1": signal.SIGUSR1}


class Real:
    """The same, with the code of the client and of its units."""

    def __init__(self) -> None:
        self.process = NONE
        self._undo = journal_of(settings(WANTED))
        self._undo.close()

    async def happens(self, event: str) -> None:
        for name in ("SERVICE_RESULT", "EXIT_STATUS"):
            os.environ.pop(name, None)
        os.environ.update(UNITS.get(event, {}), MACHINE="stopping" if event.endswith(DOWN) else "running")
        if event.startswith("start"):
            await self._start(UNWANTED if event == "start without" else WANTED)
        elif event.startswith("clean-up"):
            cleanup.run(f"client-{NAME}")
        elif event.startswith("unblock"):
            with suppress(OperationFailed):  # while a client lives that owns its block
                unblock(None if event == "unblock all" else NAME)
        elif event.startswith("nft"):
            nft.transact("flush ruleset", "flush")
        elif event == "SIGKILL":
            self._switch.forget()
            self._end()
        else:
            await self._ends(event)
        await asyncio.sleep(0.02)  # the watch sees what was deleted

    async def _start(self, process: str) -> None:
        self._undo = journal_of(settings(process))
        self._stop = Stop()
        self._switch = Mortal(settings(process), self._undo)
        self._switch.engage()
        self.process = process

    async def _ends(self, event: str) -> None:
        if event.startswith("SIG"):
            os.kill(os.getpid(), SIGNALS[event.removesuffix(DOWN)])
            await self._stop.wait()
        else:
            self._stop(int(event.removeprefix("status ")))
        self._switch.close(lift=self._stop.by_user)
        self._end()

    def _end(self) -> None:
        self._undo.close()
        self.process = NONE


class Mortal(KillSwitch):
    """Its process can be killed: its descriptors are closed, and no code of it runs."""

    def forget(self) -> None:
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None
        if self._keeper is not None:
            self._keeper.close()


def settings(process: str) -> ClientSettings:
    changes: dict[str, Any] = {"server_addr": HostPort("vpn.example", 443), "tun_name": NAME}
    return ClientSettings(**changes, kill_switch=process == WANTED)


def ways() -> dict[State, tuple[str, ...]]:
    """Every state that can be reached, and the shortest way there."""
    found: dict[State, tuple[str, ...]] = {State(): ()}
    for state in (queue := [State()]):
        for event, then in MODEL.items():
            if (after := then(state)) is not None and after not in found:
                found[after] = (*found[state], event)
                queue.append(after)
    return found


async def walk(events: tuple[str, ...]) -> State:
    """What the real code makes of these events, one after the other."""
    real = Real()
    for event in events:
        await real.happens(event)
    state = State(real.process, block.stands(NAME))
    if real.process != NONE:
        await real.happens("SIGKILL")
    await real.happens("clean-up by hand")
    await real.happens("unblock")  # of what the journal does not have, as the machine was to go down
    return state


def test_the_model_keeps_its_promises() -> None:
    """P1: as long as the client runs it blocks, and once it does nobody but the user lifts that. And nobody is locked
    out: from every state one event of the user's leads to no block."""
    users = {"SIGTERM", "clean-up by hand", "clean-up after a stop", "unblock", "unblock all", "nft flush ruleset"}
    users |= {f"unblock{DOWN}"}
    for state in ways():
        assert state.process != WANTED or state.blocked
        after = {event: then(state) for event, then in MODEL.items()}
        lifting = {event for event, then in after.items() if then is not None and state.blocked and not then.blocked}
        assert lifting <= users | {"start without"}
        assert not state.blocked or lifting & users


@pytest.mark.netns
def test_the_real_code_does_what_the_model_says(net: Net, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text('#!/bin/sh\n[ "$1" != is-system-running ] || echo $MACHINE\n')
    (tmp_path / "bin/systemctl").chmod(0o755)

    def body() -> int:
        os.environ["RUNTIME_DIRECTORY"] = str(tmp_path)
        os.environ["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
        tried = 0
        for state, way in ways().items():
            for event, then in MODEL.items():
                expected = then(state)
                if expected is not None:
                    assert asyncio.run(walk((*way, event))) == expected, f"{' -> '.join((*way, event))}"
                    tried += 1
        return tried

    tried = inside(net.namespace("client"), body)
    print(f"{len(ways())} states, {tried} transitions")
    assert tried > 40
