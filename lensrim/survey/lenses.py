"""The lenses of a survey: which files, with which options, and under which name.

A name is a function of the whole list. It is the stem of the file; what no file system takes is
replaced, so that nothing in a table can lead out of the output folder, and names that would meet,
also where a file system does not tell capitals, end with digits of the hash of what they stand
for.
"""

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..inference.options import ReconstructOptions
from ..io.fits import split_reference
from ..io.options import NAMING, ReadOptions
from ..io.stream import SUFFIX, stem
from .listing import is_table, read_listing

FORBIDDEN = frozenset('/\\:*?"<>|')
"""What a file name cannot hold, here or elsewhere, beside what cannot be printed."""
OURS = ("_truth", "_lensrim")
"""How the names end of what lensrim simulate and lensrim reconstruct write beside an image."""
LONGEST = 120
"""Bytes of a name; a file system takes 255, with what is put before and after it."""


@dataclass(frozen=True)
class Lens:
    """Creates the description of one lens of a survey.

    Arguments:
        path: The observation, as for :func:`lensrim.read_observation`.
        read: How to read it.
        fit: How to reconstruct it.
        name: Stem of the files that are written, unique in the survey.
        problem: Why it cannot be done, where its line in a table is at fault.
        published: Einstein radius that others have found [arcsec], where a table says so. Nothing
            is made of it but a column, so that it is in no digest.
    """

    path: str
    read: ReadOptions = ReadOptions()
    fit: ReconstructOptions = ReconstructOptions()
    name: str = ""
    problem: str = ""
    published: float | None = None

    @property
    def key(self) -> str:
        """Digest of what the product is made by, but for what the files hold."""
        return _digest({"version": __version__, **self._made_of()})

    def _made_of(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "read": asdict(self.read),
            "fit": asdict(self.fit),
            "problem": self.problem,
        }

    @property
    def identity(self) -> str:
        """Digest that tells it from other lenses of one name."""
        return _digest({"name": self.name, **self._made_of()})

    def files(self) -> list[Path]:
        """Returns the files that may be read, as far as they are there."""
        place = split(self.path)
        folder, found = place.parent, [place]
        if os.path.isdir(place):
            folder, found = place, _entries(place)
        for part in NAMING:
            if (reference := getattr(self.read, part)) is not None:
                found += [named := split(reference), folder / named]
        found.append(Path(self.fit.model))
        return [file for file in dict.fromkeys(found) if os.path.isfile(file)]


@dataclass(frozen=True)
class Found:
    """Holds the lenses of a survey, and what was noticed when they were sought."""

    lenses: tuple[Lens, ...]
    notes: tuple[str, ...] = field(default=())


def _entries(folder: Path) -> list[Path]:
    """Returns what may be read of a folder."""
    try:
        return sorted(file for file in folder.iterdir() if SUFFIX.search(file.name))
    except OSError:  # it is told when it is read
        return []


def split(reference: str) -> Path:
    """Returns the file of ``file[HDU]``, also where no file can have that name."""
    try:
        return Path(split_reference(reference)[0])
    except (OSError, ValueError):
        return Path(reference)


def find_lenses(
    given: Sequence[str],
    read: ReadOptions = ReadOptions(),
    fit: ReconstructOptions = ReconstructOptions(),
    *,
    output: str | os.PathLike[str] | None = None,
) -> Found:
    """Finds the lenses of a survey.

    Arguments:
        given: Files, folders, patterns (``obs/*.fits``, ``obs/**/*.fits``) or tables; a table in
            a FITS file stands alone, others are ``*.ecsv`` or ``*.csv``.
        read, fit: Options of all, but for what a table says.
        output: Folder of the survey, in which nothing is looked for.

    Truths of mocks and products (``a_truth.fits``, ``a_lensrim.fits``) are left out where
    ``a.fits`` is given, too.

    Raises:
        InputError: If a pattern finds nothing, or a table cannot be read or has no path.
    """
    lenses: list[Lens] = []
    found: list[str] = []
    notes: list[str] = []
    inside = None if output is None else Path(os.path.realpath(output))
    for text in given:
        if is_table(text, alone=len(given) == 1):
            lines, unused = read_listing(text, read, fit)
            lenses += [
                Lens(line.path, line.read, line.fit, line.name, line.problem, line.published)
                for line in lines
            ]
            if unused:
                notes.append(f"{text}: columns that are not used: {', '.join(unused)}")
            continue
        paths = _matches(text)
        real = [Path(os.path.realpath(p)).parents for p in paths]
        kept = [p for p, above in zip(paths, real, strict=True) if inside not in above]
        if len(kept) < len(paths):
            notes.append(f"{text}: {len(paths) - len(kept)} files of the output left out")
        if not kept:
            raise InputError(f"{text}: a pattern must find files, found none; check the path")
        lenses += [Lens(path, read, fit) for path in kept]
        found += kept
    if ours := _beside(found):  # a shell may have taken a pattern apart
        lenses = [lens for lens in lenses if lens.path not in ours]
        notes.append(
            f"{len(ours)} files left out that lensrim wrote beside others, such as {min(ours)}"
        )
    once = dict.fromkeys(lenses)
    if len(once) < len(lenses):
        notes.append(f"{len(lenses) - len(once)} lenses that are listed twice are done once")
    if not lenses:
        raise InputError("a survey needs lenses, found none: give files, a pattern or a table")
    return Found(tuple(name_lenses(once)), tuple(notes))


def _matches(text: str) -> list[str]:
    """Returns the paths of a pattern, sorted; what is no pattern need not be there."""
    if os.path.lexists(text) or not has_magic(text) or os.path.lexists(split(text)):
        return [text]
    return sorted(glob(text, recursive=True))


def _beside(paths: Sequence[str]) -> set[str]:
    """Returns the truths of mocks, and the products, of other files of the same folder."""
    stems = {os.path.join(os.path.dirname(path), stem(Path(path))) for path in paths}
    return {
        path
        for path in paths
        for ending in OURS
        if stem(Path(path)).endswith(ending)
        and os.path.join(os.path.dirname(path), stem(Path(path)).removesuffix(ending)) in stems
    }


def name_lenses(lenses: Iterable[Lens]) -> list[Lens]:
    """Gives every lens a name of its own that every file system takes."""
    lenses = list(lenses)
    wanted = [safe_name(lens.name or _stem(lens.path)) for lens in lenses]
    count = Counter(name.casefold() for name in wanted)
    taken = {name.casefold() for name in wanted if count[name.casefold()] == 1}
    named = []
    for lens, name in zip(lenses, wanted, strict=True):
        if count[name.casefold()] > 1:
            base, tries = f"{_cut(name, LONGEST - 16)}-{lens.identity[:8]}", 1
            name = base
            while name.casefold() in taken:
                tries += 1
                name = f"{base}-{tries}"
            taken.add(name.casefold())
        named.append(replace(lens, name=name))
    return named


def safe_name(text: str) -> str:
    """Returns a name that is a file's name everywhere; one that was changed ends with a hash.

    Equal texts give equal names, and different ones different names.
    """
    normal = unicodedata.normalize("NFC", text)
    kept = "".join("_" if c in FORBIDDEN or not c.isprintable() else c for c in normal)
    kept = kept.strip(" ").lstrip(".").rstrip(". ")
    if kept and kept == text and len(kept.encode()) <= LONGEST:
        return kept
    return f"{_cut(kept, LONGEST - 9) or 'lens'}-{_digest(text)[:8]}"


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def _stem(path: str) -> str:
    if not path:  # or it would be called by the folder that the program is in
        return "lens"
    place = split(path)
    try:
        return stem(Path(os.path.realpath(place)).parent if stem(place) == "data" else place)
    except (OSError, ValueError):
        return place.name


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
