"""Training, validation and test sets of galaxies, split by galaxy before anything is made of them.

A galaxy belongs to a set by its name alone; names that show the same galaxy are told by lists of
duplicates.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError


def groups(names: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Maps each name to the first name (in sorted order) of its group of duplicates.

    Arguments:
        names: Names of galaxies, or of haloes.
        pairs: Pairs of names of the same; they may form chains, also through names that are not
            there.
    """
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    return {name: root(name) for name in names}


def split(
    names: Sequence[str],
    duplicate_pairs: Iterable[tuple[str, str]] = (),
    *,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
) -> dict[str, tuple[str, ...]]:
    """Splits galaxies into training, validation and test sets.

    A galaxy's set is decided by the hash of its name, so that it does not change when galaxies are
    added. Galaxies connected by a chain of duplicate pairs go together.

    Arguments:
        names: Names of the galaxies.
        duplicate_pairs: Pairs of names that show the same galaxy; a name not in ``names`` still
            connects.
        fractions: Expected shares of the three sets.

    Returns:
        The names in ``"train"``, ``"validation"`` and ``"test"``.

    Raises:
        ValueError: If the shares do not add up to 1.
        InputError: If there are pairs, and no name is in any.
    """
    duplicate_pairs = tuple(duplicate_pairs)
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise ValueError(f"fractions must be three shares that add up to 1, got {fractions}")
    known = {name for pair in duplicate_pairs for name in pair}
    if known and known.isdisjoint(names):
        raise InputError(
            f"duplicates: must be pairs of names such as {names[0] if names else 'none'}, found "
            f"only others, such as {sorted(known)[0]}; change their folders and digits, or leave "
            "them out"
        )
    sets: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for name, group in groups(names, duplicate_pairs).items():
        u = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
        which = (u >= fractions[0]) + (u >= fractions[0] + fractions[1])
        sets[("train", "validation", "test")[which]].append(name)
    return {key: tuple(value) for key, value in sets.items()}


@dataclass(frozen=True)
class Duplicates:
    """Creates the description of a list of stamps that show the same galaxy.

    Arguments:
        file: JSON file, as :func:`read_duplicate_pairs` takes it.
        folders: What precedes the number in the names of the stamps, by kind.
        digits: Digits to which the number is padded, by kind.
    """

    file: str
    folders: Mapping[str, str]
    digits: Mapping[str, int] = field(default_factory=dict)

    def beside(self, folder: Path) -> "Duplicates":
        """Returns the same, of a file that is named relative to a folder."""
        return replace(self, file=str(folder / self.file))

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Reads the pairs of names.

        Raises:
            InputError: If the file is not such a list, or names an unknown kind.
        """
        return tuple(read_duplicate_pairs(self.file, self.folders, digits=self.digits))


def pairs_digest(pairs: Iterable[tuple[str, str]]) -> str | None:
    """Computes the SHA-256 of pairs of names, whatever their order; None of none."""
    lines = sorted({" ".join(sorted(map(repr, pair))) for pair in pairs})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def read_duplicate_pairs(
    path: str | Path, folders: Mapping[str, str], *, digits: Mapping[str, int] | None = None
) -> list[tuple[str, str]]:
    """Reads pairs of duplicates from a JSON list of ``{"a": "kind/number", "b": "kind/number"}``.

    Arguments:
        path: File with the key ``pairs``.
        folders: What precedes the number in the names of a :class:`GalaxyFolder`, by kind, for
            instance ``{"cand": "candels/f814w_gal"}``.
        digits: Digits to which the number is padded, by kind.

    Returns:
        The pairs of names.

    Raises:
        InputError: If the file is not such a list, or names an unknown kind.
    """
    import json

    def name(entry: str) -> str:
        kind, number = entry.split("/")
        return f"{folders[kind]}{number.zfill((digits or {}).get(kind, 1))}"

    try:
        pairs = json.loads(Path(path).read_text())["pairs"]
        return [(name(pair["a"]), name(pair["b"])) for pair in pairs]
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected JSON with 'pairs' of 'kind/number', kinds {sorted(folders)},"
            f" found {error!r}"
        ) from error
