"""The command ``lensrim``: one dataclass of options and one ``run`` for each of its commands.

Exit status: 0 when all went well, 2 for input that cannot be used (one line on the standard
error), 1 for a failure of the program itself (with its traceback), of the installation, of some
lenses of a survey, or if ``info`` finds that something is lacking, 130 when interrupted, 141 when
nobody reads what is printed.
"""

import os
import select
import sys
import traceback
from argparse import REMAINDER, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module

from .. import __version__
from ..errors import FULL, InputError, InstallationError, line_of

COMMANDS = {
    "reconstruct": "the source and the mass of one lens, from a FITS observation",
    "catalogue": "the same of many lenses, with one table and a page of them all",
    "evaluate": "the errors of the chain, on simulated lenses with known truth",
    "reproduce": "papers done again, beside what they found",
    "bench": "the speed of the simulator, beside that of its peers",
    "simulate": "one mock observation with its truth, as FITS files",
    "compare": "how far a product is from the truth of a simulated observation",
    "haloes": "lenses from simulated haloes, or from the halo model, in one file",
    "dataset": "many simulated lenses for training, in shards",
    "galaxies": "how good stamps of galaxies are, and the galaxies of them",
    "train": "a machine for lenses, from a recipe",
    "generator": "a generator of galaxies or masses, from a recipe",
    "pack": "a training, into one small file that others can use",
    "info": "what is understood of a file, and what it lacks",
    "models": "the trained machines that come with it: ranges, accuracy, checksums",
    "doctor": "versions, devices, memory, and a test of the installation",
    "cite": "what to cite, as BibTeX",
    "completion": "a script that completes commands and options in your shell",
}
"""The commands; each one is the module of this package that bears its name, loaded when chosen."""


def _parser() -> ArgumentParser:
    commands = "\n".join(f"  {name:<14}{what}" for name, what in COMMANDS.items())
    parser = ArgumentParser(
        prog="lensrim",
        description="Maps of the source galaxy and of the lensing mass from images of strong "
        "gravitational lenses.",
        epilog=f"commands:\n{commands}\n\n'lensrim COMMAND --help' shows a command's options.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lensrim {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    parser.add_argument("options", nargs=REMAINDER, metavar="...", help="options of the command")
    return parser


def _refuse(message: str, status: int = 2) -> int:
    """Prints an error on one line, whatever it holds, and returns the exit status."""
    print("lensrim: error:", line_of(message), file=sys.stderr)
    return status


GONE = 141
"""Exit status where nobody reads what is printed: as of a process that SIGPIPE ends."""


def _is_read() -> bool:
    """Whether somebody takes what is printed, as ``| head -1`` does not for long."""
    try:
        sys.stdout.flush()
        waiting = select.poll()
        waiting.register(sys.stdout.fileno(), 0)
        return not any(event & select.POLLERR for _, event in waiting.poll(0))
    except BrokenPipeError:
        return False
    except (AttributeError, OSError, ValueError):  # no file, or a system that cannot tell
        return True


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status.

    Arguments:
        args: The words after ``lensrim``; those of the process by default.

    Raises:
        SystemExit: After ``--help`` and ``--version``, and with status 2 for unknown options.
    """
    try:
        status = _main(args)
    except SystemExit:
        if _is_read():
            raise
    else:
        if _is_read():
            return status
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it fails at the end again
    return GONE


def _main(args: Sequence[str] | None) -> int:
    chosen = _parser().parse_args(args)
    try:
        command = import_module(f".{chosen.command}", __name__)
        status = command.run(command.parse(chosen.options))
    except InputError as error:
        return _refuse(str(error))
    except InstallationError as error:
        return _refuse(str(error), status=1)
    except OSError as error:
        if error.filename is None:
            gone = isinstance(error, BrokenPipeError) and not _is_read()
            return GONE if gone else _refuse(str(error))
        room = "; make room, or choose another output" if error.errno in FULL else ""
        return _refuse(f"{error.filename}: {error.strerror}{room}")
    except KeyboardInterrupt:
        print("lensrim: interrupted", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        print(
            f"lensrim: this is an error of lensrim {__version__} itself, not of your input; "
            "please report it with the lines above and the command that was run",
            file=sys.stderr,
        )
        return 1
    return status or 0
