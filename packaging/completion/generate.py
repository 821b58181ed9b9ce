#!/usr/bin/env python3
"""Completion for bash and zsh: flags, verbs and their values from the programs' own parsers.

    packaging/completion/generate.py DIRECTORY    writes bash/NAME and zsh/_NAME into it

The scripts call no program of ours: the names of instances are those of the files in /etc/mqvpn and /run/mqvpn,
interfaces those that the kernel has.
"""

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from mqvpn.cli import ctl, dns, options, setup  # noqa: E402

PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "mqvpn": lambda: options.build_parser("mqvpn", None),
    "mqvpn-server": lambda: options.build_parser("mqvpn-server", "server"),
    "mqvpn-client": lambda: options.build_parser("mqvpn-client", "client"),
    "mqvpn-setup": setup.build_parser,
    "mqvpn-dns": dns.build_parser,
    "mqvpnctl": ctl.build_parser,
}
FILES, INTERFACES, INSTANCES = "files", "interfaces", "instances"
KINDS = dict.fromkeys(("FILE", "DIR", "PATH", "CERT"), FILES) | {"IFACE": INTERFACES, "INSTANCE": INSTANCES}
MADE = "made by packaging/completion/generate.py"

BASH_HELPERS = """\
{name}_instances() {{
    local file
    for file in /etc/mqvpn/server.conf /etc/mqvpn/client-*.conf /run/mqvpn/server.sock /run/mqvpn/client-*.sock; do
        [ -e "$file" ] || continue
        file=${{file##*/}} file=${{file%.*}}
        echo "${{file#client-}}"
    done | sort -u
}}
"""
ZSH_HELPERS = """\
{name}_instances() {{
    local -aU names
    names=(/etc/mqvpn/server.conf(N:t:r) /etc/mqvpn/client-*.conf(N:t:r))
    names+=(/run/mqvpn/server.sock(N:t:r) /run/mqvpn/client-*.sock(N:t:r))
    compadd -- ${{names#client-}}
}}
{name}_interfaces() {{
    compadd -- /sys/class/net/*(N:t)
}}
"""
ZSH_ACTIONS = {FILES: "_files", INTERFACES: "{name}_interfaces", INSTANCES: "{name}_instances"}


@dataclass(slots=True)
class Flag:
    """One flag with its spellings; `value`: what follows it, empty for nothing; `kind`: what that can be."""

    names: list[str]
    help: str
    value: str = ""
    kind: str = ""
    choices: list[str] = field(default_factory=list)
    many: bool = False


@dataclass(slots=True)
class Command:
    """A program or a verb: its flags, the kind of its one argument, and its verbs."""

    flags: list[Flag] = field(default_factory=list)
    argument: str = ""
    kind: str = ""
    verbs: dict[str, "Command"] = field(default_factory=dict)
    help: str = ""


def read(parser: argparse.ArgumentParser) -> Command:
    """What a parser takes."""
    found = Command(help=parser.description or "")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for verb, inner in action.choices.items():
                found.verbs[verb] = read(inner)
                found.verbs[verb].help = helps.get(verb, "")
        elif action.option_strings:
            found.flags.append(_flag(action))
        else:
            found.argument = str(action.metavar or action.dest)
            found.kind = _kind(found.argument)
    return found


def _flag(action: argparse.Action) -> Flag:
    flag = Flag(list(action.option_strings), action.help or "", many=isinstance(action, argparse._AppendAction))
    if action.nargs != 0:
        flag.value = str(action.metavar or action.dest.upper())
        flag.kind = _kind(flag.value)
        flag.choices = [str(one) for one in action.choices or ()]
        if not flag.choices and "|" in flag.value:  # debug|info|warn
            flag.choices = flag.value.split("|")
    return flag


def _kind(metavar: str) -> str:
    """What a value can be, by the first word of what stands for it: IFACE of 'IFACE[;weight=N]'."""
    return KINDS.get(re.split(r"[^A-Za-z]", metavar.lstrip("'"), maxsplit=1)[0], "")


def bash(program: str, command: Command) -> str:
    """A script for bash, without need of the package bash-completion."""
    name = "_" + program.replace("-", "_")
    lines = [f"# bash completion for {program}, {MADE}", BASH_HELPERS.format(name=name).rstrip(), f"{name}() {{"]
    lines += [
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' word words=''",
        "    COMPREPLY=()",
    ]
    if command.verbs:
        verbs = "|".join(command.verbs)
        lines += [
            '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            f"        case $word in {verbs}) verb=$word; break ;; esac",
            "    done",
        ]
    lines += ["    case $verb:$prev in", *_bash_values(name, "", command.flags)]
    for verb, inner in command.verbs.items():
        lines += _bash_values(name, verb, inner.flags)
    lines += ["    esac", "    case $verb in"]
    no_verb = "''"
    for verb, inner in {"": command, **command.verbs}.items():
        words = " ".join(flag for one in inner.flags for flag in one.names)
        lines.append(f"        {verb or no_verb}) words='{' '.join([*inner.verbs, words])}' ;;")
    lines.append("    esac")
    for kind, verbs in _arguments(command).items():
        cases = "|".join(verb or "''" for verb in verbs)
        lines += [f"    case $verb in {cases})", f"        {_bash_kind(name, kind)}", "    esac"]
    lines += ['    [ -z "$words" ] || COMPREPLY+=($(compgen -W "$words" -- "$cur"))', "}"]
    return "\n".join([*lines, f"complete -o filenames -F {name} {program}", ""])


def _bash_values(name: str, verb: str, flags: list[Flag]) -> list[str]:
    """The cases in which the word before is a flag that wants a value."""
    lines = []
    for flag in flags:
        if not flag.value:
            continue
        cases = "|".join(f"{verb}:{one}" for one in flag.names)
        if flag.choices:
            do = f'COMPREPLY=($(compgen -W "{" ".join(flag.choices)}" -- "$cur")); '
        else:
            do = f"{_bash_kind(name, flag.kind)}; " if flag.kind else ""
        lines.append(f"        {cases}) {do}return ;;")
    return lines


def _bash_kind(name: str, kind: str) -> str:
    return {
        FILES: 'COMPREPLY+=($(compgen -f -- "$cur"))',
        INTERFACES: 'COMPREPLY+=($(compgen -W "$(cd /sys/class/net && echo *)" -- "$cur"))',
        INSTANCES: f'COMPREPLY+=($(compgen -W "$({name}_instances)" -- "$cur"))',
    }[kind]


def _arguments(command: Command) -> dict[str, list[str]]:
    """The verbs by the kind of their argument."""
    found: dict[str, list[str]] = {}
    for verb, inner in {"": command, **command.verbs}.items():
        if inner.kind:
            found.setdefault(inner.kind, []).append(verb)
    return found


def zsh(program: str, command: Command) -> str:
    """A script for zsh's completion system."""
    name = "_" + program.replace("-", "_")
    lines = [f"#compdef {program}", f"# {MADE}", "", ZSH_HELPERS.format(name=name).rstrip(), f"{name}() {{"]
    if not command.verbs:
        lines += _zsh_arguments(name, command, "    ")
    else:
        lines += ["    local curcontext=$curcontext state line", "    local -a verbs", "    verbs=("]
        lines += [f"        {_quoted(f'{verb}:{inner.help}')}" for verb, inner in command.verbs.items()]
        lines.append("    )")
        flags = " ".join(_quoted(spec) for flag in command.flags for spec in _zsh_specs(name, flag))
        lines.append(f"    _arguments -C {flags} '1:verb:->verb' '*::argument:->rest'")
        lines += ["    case $state in", "        verb) _describe verb verbs ;;", "        rest)"]
        lines.append("            case $words[1] in")
        for verb, inner in command.verbs.items():
            lines += [f"                {verb})", *_zsh_arguments(name, inner, " " * 20), "                    ;;"]
        lines += ["            esac", "            ;;", "    esac"]
    return "\n".join([*lines, "}", f'{name} "$@"', ""])


def _zsh_arguments(name: str, command: Command, indent: str) -> list[str]:
    specs = [spec for flag in command.flags for spec in _zsh_specs(name, flag)]
    if command.argument:
        specs.append(f":{command.argument}:{_zsh_action(name, command.kind)}")
    return [f"{indent}_arguments {' '.join(_quoted(spec) for spec in specs)}"]


def _zsh_specs(name: str, flag: Flag) -> list[str]:
    """A spec for each spelling; a flag that may come again has a star in front."""
    text = flag.help
    for one in "\\[]:":
        text = text.replace(one, f"\\{one}")
    value = ""
    if flag.value:
        choices = f"({' '.join(flag.choices)})" if flag.choices else _zsh_action(name, flag.kind)
        value = f":{flag.value.replace(':', chr(92) + ':')}:{choices}"
    return [f"{'*' if flag.many else ''}{one}[{text}]{value}" for one in flag.names]


def _zsh_action(name: str, kind: str) -> str:
    return ZSH_ACTIONS.get(kind, " ").format(name=name)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def scripts() -> dict[str, str]:
    """Every script by the name of its file."""
    found = {}
    for program, build in PARSERS.items():
        command = read(build())
        found[f"bash/{program}"] = bash(program, command)
        found[f"zsh/_{program}"] = zsh(program, command)
    return found


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    for name, text in scripts().items():
        path = Path(argv[0], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
