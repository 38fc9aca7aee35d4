"""Outside methods that do the mocks of a suite, so that they share mocks and metrics.

- ``adam``, ``lbfgs``: plain descent on the pixels, for as long as a machine takes
  (:mod:`~.descent`);
- ``lenstronomy``: a parametric fit by that package (:mod:`~.parametric`).

A feed-forward network of the same size needs no entry: it is a machine whose recipe says, under
``[model]``, ``steps = 1``, ``encodings = []`` and ``aux = []``, as in
:mod:`lensrim.evaluation.ablations`. Once it is trained, ``lensrim evaluate --model FILE --stage
rim`` does the same mocks with it, in a folder of its own.

A method is an object with a ``name`` that takes an observation and returns maps; it is entered
into :data:`METHODS`. What it loads, it loads when it is called.
"""

from collections.abc import Iterable
from importlib.util import find_spec

from ...errors import InputError
from .descent import DESCENTS
from .parametric import PARAMETRIC
from .reference import Reference, Solved

METHODS: tuple[Reference, ...] = (*DESCENTS, PARAMETRIC)
"""The methods."""

REFERENCES: dict[str, Reference] = {method.name: method for method in METHODS}
"""The same by name."""

PACKAGES = {"lenstronomy": "lenstronomy"}
"""Packages of the extra ``oracle`` that methods need, by the methods' names."""


def check_references(names: Iterable[str]) -> None:
    """Checks that methods are known and that what they need is installed.

    Raises:
        InputError: If one is unknown, or its package is not there.
    """
    names = sorted(set(names))
    if unknown := [name for name in names if name not in REFERENCES]:
        raise InputError(
            f"--reference: must be of {', '.join(REFERENCES)}, found {unknown[0]}; change it"
        )
    for name in names:
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            raise InputError(
                f"--reference {name}: needs the package {PACKAGES[name]}, which is not installed; "
                "install the extra: pip install '.[oracle]' in the checkout of lensrim"
            )


__all__ = ["METHODS", "PACKAGES", "REFERENCES", "Reference", "Solved", "check_references"]
