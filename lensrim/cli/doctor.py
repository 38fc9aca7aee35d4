"""``lensrim doctor``: versions, devices, memory, and a test of the installation."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from .._command_line import parsed
from ..errors import InstallationError
from ..evaluation.selftest import checks, surroundings


@dataclass(frozen=True)
class Doctor:
    """Say what this installation is made of, and test it, in seconds.

    The tests compare a small ray-traced image, Fourier transforms and gradients with closed forms,
    write and read a FITS file, draw, and load the machines that are packaged. If one fails, the
    last line says what to do, and the exit status is 1.

    Put what it prints into a report of an error:
    $ lensrim doctor
    """


def parse(args: Sequence[str]) -> Doctor:
    """Parses the words after ``lensrim doctor``."""
    return parsed(Doctor, prog="lensrim doctor", args=args)


def run(_: Doctor) -> None:
    """Prints what is there, and tests it.

    Raises:
        InstallationError: If a test fails.
    """
    for name, value in surroundings():
        print(f"  {name:<12} {value}")
    failed = None
    for check in checks():
        start = perf_counter()
        try:
            found, good = check.run(), True
        except Exception as error:  # whatever it is, it is what is to be told
            found, good = " ".join(f"{type(error).__name__}: {error}".split())[:300], False
            failed = failed or InstallationError(f"{check.name}: {found}; {check.advice}")
        print(f"  {'ok' if good else 'FAILED':<12} {check.name}: {found}", end="")
        print(f" ({perf_counter() - start:.1f} s)")
    if failed is not None:
        raise failed
    print("All is well.")
