"""``lensrim completion``: commands and options completed by the shell."""

import io
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated, Literal

import tyro

from .._command_line import parsed
from . import COMMANDS

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands, options and their values in your shell.

    For bash, in ~/.bashrc, or once and for all:
    $ lensrim completion bash > ~/.local/share/bash-completion/completions/lensrim

    For zsh, into a folder of $fpath:
    $ lensrim completion zsh > ~/.zfunc/_lensrim

    For fish:
    $ lensrim completion fish > ~/.config/fish/completions/lensrim.fish

    Make it again after an upgrade: it lists the options of this version.
    """

    shell: Annotated[Shell, tyro.conf.Positional]
    """The shell."""


@dataclass(frozen=True)
class Command:
    """What can follow a command: its options, and the values of those that list them."""

    about: str
    options: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def parse(args: Sequence[str]) -> Completion:
    """Parses the words after ``lensrim completion``."""
    return parsed(Completion, prog="lensrim completion", args=args)


def run(options: Completion) -> None:
    """Prints the script."""
    known = {name: command_of(name, about) for name, about in COMMANDS.items()}
    print(SCRIPTS[options.shell](known))


def command_of(name: str, about: str) -> Command:
    """Reads the options of a command off its own help."""
    module, text = import_module(f".{name}", __package__), io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "400"  # wide enough for the values of an option to stand beside it
    try:
        with redirect_stdout(text), suppress(SystemExit):
            module.parse(["--help"])
    finally:
        del os.environ["COLUMNS"]
        os.environ.update({} if before is None else {"COLUMNS": before})
    found = re.findall(
        r"(?:[│|] |  |, )(--?[a-z][\w-]*)(?: \{([^{}| ]*)\}(?!\|))?", text.getvalue()
    )
    values = {option: tuple(s.split(",")) for option, s in found if s}
    return Command(about, tuple(dict.fromkeys(option for option, _ in found)), values)


def bash(known: Mapping[str, Command]) -> str:
    """Returns the script for bash."""
    cases, values = [], []
    for name, command in known.items():
        cases.append(f'        {name}) words="{" ".join(command.options)}" ;;')
        values += [
            f'        "{name} {option}") words="{" ".join(found)}" ;;'
            for option, found in command.values.items()
        ]
    positional = f'    [ "$COMP_CWORD" -eq 2 ] && [ "$command" = completion ] && words="{_SHELLS}"'
    return "\n".join(
        [
            "# completion of lensrim for bash",
            "_lensrim() {",
            '    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
            '    local command="${COMP_WORDS[1]}" words=""',
            "    COMPREPLY=()",
            '    if [ "$COMP_CWORD" -eq 1 ]; then',
            f'        words="{" ".join(known)} --help --version"',
            '        COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "        return",
            "    fi",
            '    case "$command $before" in',
            *values,
            "    esac",
            positional,
            '    if [ -z "$words" ] && [[ "$current" == -* ]]; then',
            '        case "$command" in',
            *cases,
            "        esac",
            "    fi",
            '    [ -n "$words" ] && COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            # where nothing of ours fits, files
            "complete -o default -F _lensrim lensrim",
        ]
    )


def zsh(known: Mapping[str, Command]) -> str:
    """Returns the script for zsh."""
    lines = ["#compdef lensrim", "_lensrim() {", "    if (( CURRENT == 2 )); then"]
    lines.append("        local -a commands=(")
    lines += [f"            {_quoted(f'{name}:{known[name].about}')}" for name in known]
    lines += ["        )", "        _describe command commands", "        return", "    fi"]
    lines.append('    case "$words[2] $words[CURRENT-1]" in')
    for name, command in known.items():
        lines += [
            f'        "{name} {option}") compadd -- {" ".join(found)}; return ;;'
            for option, found in command.values.items()
        ]
    lines.append(f'        "completion completion") compadd -- {_SHELLS}; return ;;')
    lines += [
        "    esac",
        '    if [[ "$words[CURRENT]" == -* ]]; then',
        '        case "$words[2]" in',
    ]
    lines += [f"            {n}) compadd -- {' '.join(c.options)} ;;" for n, c in known.items()]
    lines += [
        "        esac",
        "    else",
        "        _files",
        "    fi",
        "}",
        # as a file of $fpath it is called for what is to be completed; else it is read by source
        'if [ "$funcstack[1]" = "_lensrim" ]; then _lensrim "$@"; '
        "else compdef _lensrim lensrim; fi",
    ]
    return "\n".join(lines)


def fish(known: Mapping[str, Command]) -> str:
    """Returns the script for fish."""
    lines = ["# completion of lensrim for fish"]
    for name, command in known.items():
        about = _quoted(command.about)
        lines.append(f"complete -c lensrim -n __fish_use_subcommand -f -a {name} -d {about}")
        for option in command.options:
            found = command.values.get(option, ())
            dashes = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            values = f" -x -a {_quoted(' '.join(found))}" if found else ""
            lines.append(
                f"complete -c lensrim -n '__fish_seen_subcommand_from {name}' {dashes}{values}"
            )
    seen = "-n '__fish_seen_subcommand_from completion'"
    lines.append(f"complete -c lensrim {seen} -f -a {_quoted(_SHELLS)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Returns a word for any of the shells."""
    return "'" + text.replace("'", "’") + "'"


SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}
"""Makers of the scripts, by the name of the shell."""

_SHELLS = " ".join(SCRIPTS)
