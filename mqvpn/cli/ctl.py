"""mqvpnctl: asks running daemons over their control sockets, and systemd to start and stop them.

It answers within a tenth of a second: no asyncio, no aioquic, no netlink here. What it tells people may change; what
--json prints is described in mqvpn.Control.varlink, {"schema": 1, "instances": [...]} around it.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mqvpn.cli import diagnose, instances, show
from mqvpn.cli.call import EX_FAILED, EX_NOPERM, EX_UNAVAILABLE, LONG_TIMEOUT, CallError, call
from mqvpn.cli.instances import Instance
from mqvpn.cli.printversion import PrintVersion
from mqvpn.cli.tables import fit, terminal_width
from mqvpn.version import version

SCHEMA = 1
INTERVAL = 1.0  # seconds between two looks of --watch
CLEAR = "\x1b[H\x1b[J"
USAGE = 2  # argparse's
NOT_ALLOWED = 4  # systemctl's exit status without the right to
STATUSES = "Exit status: 0 done, 1 failed (diagnose: problems found), 2 wrong usage, 69 not running, 77 not allowed."


@dataclass(slots=True)
class Result:
    """What a verb found: values for --json, lines for people, problems for stderr; and the exit status."""

    found: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    status: int = os.EX_OK

    def failed(self, title: str, error: CallError) -> None:
        self.problems.append(f"{title}: {error}")
        self.status = self.status or error.status


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of mqvpnctl. `needs_instance`: it is for one instance, and goes to systemd instead of a daemon."""

    help: str
    run: Callable[[argparse.Namespace, int | None], Result]
    needs_instance: bool = False
    watch: bool = False
    asks: bool = True  # a daemon, which must run


def main(argv: Sequence[str] | None = None) -> int:
    """`mqvpnctl`. Returns the exit status."""
    arguments = build_parser().parse_args(argv)
    verb = VERBS[arguments.verb]
    try:
        while True:
            result = verb.run(arguments, terminal_width())
            _print(arguments, result)
            if not getattr(arguments, "watch", False):
                return result.status
            time.sleep(INTERVAL)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return EX_FAILED


def build_parser() -> argparse.ArgumentParser:
    """The parser of mqvpnctl and its verbs."""
    parser = argparse.ArgumentParser(
        prog="mqvpnctl",
        description="Ask and direct the mqvpn daemons of this machine.",
        epilog="INSTANCE is `server`, or NAME of /etc/mqvpn/client-NAME.conf; without it all that run are asked. "
        + STATUSES,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=PrintVersion, help="print the version, and exit")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for name, verb in VERBS.items():
        one = verbs.add_parser(name, help=verb.help, description=verb.help, epilog=STATUSES, allow_abbrev=False)
        number = None if verb.needs_instance else "?"
        one.add_argument("instance", metavar="INSTANCE", nargs=number, help="server, or a client's NAME")
        if not verb.needs_instance:
            one.add_argument("--json", action="store_true", help="print one JSON object")
        if not verb.needs_instance and verb.asks:
            one.add_argument("--socket", metavar="PATH", help="ask the daemon with this control socket")
        if verb.watch:
            one.add_argument("--watch", action="store_true", help="look again every second, until interrupted")
    return parser


def _status(arguments: argparse.Namespace, width: int | None) -> Result:
    def ask(instance: Instance, result: Result) -> None:
        told = call(instance.socket, "Status")
        result.found.append(told)
        result.lines += ([""] if result.lines else []) + show.status(told, width)

    return _each(arguments, ask)


def _paths(arguments: argparse.Namespace, width: int | None) -> Result:
    def ask(instance: Instance, result: Result) -> None:
        if instance.is_server:
            listed = _all_clients(instance)
            result.found.append({"role": "server", "instance": instance.name, "clients": listed})
            lines = show.client_paths(listed, width)
        else:
            told = call(instance.socket, "Status")
            result.found.append({key: told[key] for key in ("role", "instance", "paths", "interfaces")})
            lines = show.paths(told, width)
        result.lines += _headed(instance, arguments, lines)

    return _each(arguments, ask)


def _clients(arguments: argparse.Namespace, width: int | None) -> Result:
    def ask(instance: Instance, result: Result) -> None:
        listed = _all_clients(instance)
        result.found.append({"role": "server", "instance": instance.name, "clients": listed})
        result.lines += show.clients(listed, width)

    named = arguments.instance or arguments.socket
    return _each(arguments, ask, lambda instance: instance.is_server or bool(named))


def _reload(arguments: argparse.Namespace, width: int | None) -> Result:
    def ask(instance: Instance, result: Result) -> None:
        told = call(instance.socket, "Reload", timeout=LONG_TIMEOUT)
        result.found.append({"instance": instance.name} | told)
        result.lines.append(f"{instance.title}: reloaded")
        result.lines += [fit(f"  {line}", width) for line in told.get("notes", ())]

    return _each(arguments, ask)


def _diagnose(arguments: argparse.Namespace, width: int | None) -> Result:
    result = Result()
    names = [arguments.instance] if arguments.instance else []
    running = [] if arguments.socket else instances.running(arguments.instance)
    if arguments.socket:
        running = [_at(arguments.socket)]
    elif not running and not names:
        names = diagnose.configured()
    work = [(one.title, one.name, partial(diagnose.of_running, one)) for one in running] or [
        ("server" if name == "server" else f"client {name}", name, partial(diagnose.of_stopped, name)) for name in names
    ]
    for title, name, find in work:
        try:
            findings = find()
        except CallError as error:
            result.failed(title, error)
            continue
        result.found.append({"instance": name, "findings": findings})
        result.lines += [f"{title}:", *diagnose.lines(findings), ""]
        if any(one["level"] == diagnose.PROBLEM for one in findings):
            result.status = result.status or EX_FAILED
    if not work:
        result.problems, result.status = ["no daemon of mqvpn is running, and none is configured"], EX_UNAVAILABLE
    return result


def _version(arguments: argparse.Namespace, width: int | None) -> Result:
    def ask(instance: Instance, result: Result) -> None:
        told = call(instance.socket, "Version")
        result.found.append({"instance": instance.name} | told)
        result.lines.append(fit(f"{instance.title} {told['version']}", width))

    result = _each(arguments, ask)
    result.lines.insert(0, f"mqvpnctl {version()}")
    if result.status == EX_UNAVAILABLE and not arguments.instance:
        result.status, result.problems = os.EX_OK, []
    return result


def _up(arguments: argparse.Namespace, width: int | None) -> Result:
    return _systemctl("start", arguments.instance)


def _down(arguments: argparse.Namespace, width: int | None) -> Result:
    return _systemctl("stop", arguments.instance)


def _unblock(arguments: argparse.Namespace, width: int | None) -> Result:
    """For who sits behind the block of a client that has failed for good."""
    from mqvpn.daemon.lockdown import unblock
    from mqvpn.system.block import all_tables
    from mqvpn.system.errors import OperationFailed

    try:
        lifted = unblock(arguments.instance)
        left = all_tables() if lifted == [] else []
    except OperationFailed as error:
        return Result(problems=[str(error)], status=EX_NOPERM if os.geteuid() else EX_FAILED)
    if lifted is None:  # nobody asked, and the journal need not hear of it
        return Result(found=[{"lifted": []}])
    clients = [instance for instance in instances.running(None) if not instance.is_server]
    lines = [f"lifted: {table}" for table in lifted] or ["nothing is blocked"]
    if left:
        lines = [f"{arguments.instance} blocks nothing, but {', '.join(left)} stands: mqvpnctl unblock lifts all"]
    if lifted and clients:
        lines.append("a client that runs with KillSwitch puts its block back: stop it (mqvpnctl down NAME)")
    return Result(found=[{"lifted": lifted}], lines=[fit(line, width) for line in lines])


def _lockdown(arguments: argparse.Namespace, width: int | None) -> Result:
    """At boot; `unblock lockdown` takes it back."""
    from mqvpn.daemon.lockdown import lock_down
    from mqvpn.system.errors import OperationFailed

    try:
        done = lock_down(arguments.instance)
    except OperationFailed as error:
        return Result(problems=[str(error)], status=EX_NOPERM if os.geteuid() else EX_FAILED)
    line = "no client has KillSwitch, so nothing is blocked"
    if done.clients:
        line = f"blocked until a client with KillSwitch takes over ({', '.join(done.clients)}); or: mqvpnctl unblock"
    problems = [f"{problem} (so it is taken for one with KillSwitch)" for problem in done.problems]
    return Result(found=[{"locked": list(done.clients)}], lines=[fit(line, width)], problems=problems)


def _systemctl(verb: str, name: str) -> Result:
    try:
        unit = instances.unit(name)
    except ValueError as error:
        return Result(problems=[str(error)], status=USAGE)
    status, _ = instances.systemctl(verb, "--", unit)  # it says itself what went wrong
    if status == os.EX_UNAVAILABLE:
        return Result(problems=["systemd does not run here, or does not answer"], status=EX_UNAVAILABLE)
    return Result(status={0: os.EX_OK, NOT_ALLOWED: EX_NOPERM}.get(status, EX_FAILED))


def _each(
    arguments: argparse.Namespace,
    ask: Callable[[Instance, Result], None],
    wanted: Callable[[Instance], bool] = lambda _: True,
) -> Result:
    """Ask every instance that was meant; one that ended meanwhile is no problem unless it was named."""
    result = Result()
    if arguments.socket:
        asked = [_at(arguments.socket)]
    else:
        asked = [instance for instance in instances.running(arguments.instance) if wanted(instance)]
    named = bool(arguments.instance or arguments.socket)
    for instance in asked:
        try:
            ask(instance, result)
        except CallError as error:
            if named or error.status != EX_UNAVAILABLE:
                result.failed(instance.title, error)
    if not result.found and not result.problems:
        name = arguments.instance
        text = f"{name}: it is not running (mqvpnctl up {name})" if name else "no daemon of mqvpn is running"
        result.problems.append(text)
        result.status = EX_UNAVAILABLE
    return result


def _at(path: str) -> Instance:
    return instances.at(Path(path)) or Instance(False, Path(path).stem, Path(path))


def _all_clients(instance: Instance) -> list[dict[str, Any]]:
    """The clients of a server, page after page."""
    found, after = [], -1
    while True:
        page = call(instance.socket, "Clients", after=after)
        found += page["clients"]
        if page["next"] is None:
            return found
        after = page["next"]


def _headed(instance: Instance, arguments: argparse.Namespace, lines: list[str]) -> list[str]:
    """Say whose these are, when several may be shown."""
    return lines if arguments.instance or arguments.socket else [f"{instance.title}:", *(lines or ["  no paths"]), ""]


def _print(arguments: argparse.Namespace, result: Result) -> None:
    watching = getattr(arguments, "watch", False)
    if getattr(arguments, "json", False):
        print(json.dumps({"schema": SCHEMA, "instances": result.found}), flush=True)
    else:
        text = "\n".join(result.lines).rstrip("\n")
        clear = CLEAR if watching and sys.stdout.isatty() else ""
        if text or clear:
            print(clear + text, flush=True)
    for problem in result.problems:
        print(fit(f"mqvpnctl: {problem}", None), file=sys.stderr)


VERBS = {
    "status": Verb("How each daemon is doing: its tunnel, paths, traffic and drops.", _status, watch=True),
    "paths": Verb("The paths, with their round-trip times, losses and traffic.", _paths, watch=True),
    "clients": Verb("The clients of the server (root and group mqvpn-admin only).", _clients, watch=True),
    "reload": Verb("Read the configuration again; a wrong one changes nothing.", _reload),
    "up": Verb("Start an instance (systemctl start).", _up, needs_instance=True),
    "down": Verb("Stop an instance (systemctl stop).", _down, needs_instance=True),
    "diagnose": Verb("What is wrong, in words; also of an instance that does not run. Takes some seconds.", _diagnose),
    "unblock": Verb("Lift what a client's kill switch blocks, after it failed, or the lockdown.", _unblock, asks=False),
    "lockdown": Verb("Block traffic until a client with KillSwitch does; for mqvpn-lockdown.", _lockdown, asks=False),
    "version": Verb("The versions of mqvpnctl and of the daemons.", _version),
}

if __name__ == "__main__":
    sys.exit(main())
