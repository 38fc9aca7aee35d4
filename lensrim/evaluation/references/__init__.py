"""Outside methods that do the mocks of a suite, so that they share mocks and metrics.

A method is an object with a ``name`` that takes an observation and returns maps; it is entered
into :data:`REFERENCES`. What it loads, it loads when it is called.
"""

from .reference import Reference, Solved

METHODS: tuple[Reference, ...] = ()
"""The methods."""

REFERENCES: dict[str, Reference] = {method.name: method for method in METHODS}
"""The same by name."""

__all__ = ["METHODS", "REFERENCES", "Reference", "Solved"]
