"""Which HDU or file plays which part of an observation.

In one file the parts are recognised by name, with the image's prefix (``VIS_BGSUB`` goes with
``VIS_PSF`` and ``VIS_RMS``) or none (``SCI`` with ``PSF`` and ``ERR``). A folder holds ``data``,
``noise_map`` and ``psf``, each ``.fits`` or ``.fits.gz``, or one FITS file. What the user names
comes first. Two answers to one question are an error that lists them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from lensrim.errors import InputError
from lensrim.io.fits import Files, FitsFile, listed, split_reference
from lensrim.io.noise import kind_of
from lensrim.io.planes import Entry, Plane
from lensrim.io.stream import SUFFIX, is_file, is_folder
from lensrim.io.window import Window

_OTHER_PARTS = re.compile(r"(^|_)(PSF|MASK|DQ|EXPTIME|CTX|CON|FLAG|SEG|SEGMAP)$")
_FLAGS = re.compile(r"(^|_)(FLAGS?|BPM|BADPIX|BADPIXELS?|QUALITY|DQ|DQ_?MASK|MASK)$")
_NAMES = {
    "noise": ("ERR", "RMS", "SIGMA", "NOISE_MAP", "VAR", "VARIANCE", "IVAR", "INVVAR", "INV_VAR"),
    "weight": ("WHT", "WEIGHT"),
    "psf": ("PSF",),
    "mask": ("MASK",),
    "dq": ("DQ",),
    "exposure": ("EXPTIME",),
}
_SELDOM = {
    "noise": (
        *("VAR_MAP", "VARMAP", "VARIANCE_MAP", "IVAR_MAP", "INV_VARIANCE", "INVVARIANCE"),
        *("INVERSE_VAR", "INVERSE_VARIANCE"),
    )
}
"""Names that count where none of the others is there."""


@dataclass(frozen=True)
class Layout:
    """Finds the parts of one observation.

    Arguments:
        files: The files opened so far.
        main: The file that holds the image.
        image: The image's HDU in it.
        folder: The folder, where the user gave one instead of a file.
        notes: What was decided, one line each.
        window: What is read of the image, and of what belongs to its pixels, if it is large.
    """

    files: Files
    main: FitsFile
    image: Entry
    folder: Path | None
    notes: tuple[str, ...] = ()
    window: Window | None = None

    @property
    def masks(self) -> list[str]:
        """Files of the folder that seem to be masks; used only if named, as 1 may mean either."""
        names = [p.name for p in _fits_files(self.folder)] if self.folder else []
        return [name for name in names if "mask" in name.lower()]

    def unread_flags(self, read: Sequence[Plane]) -> list[str]:
        """Notes of HDUs of the image's shape that look like flags or masks, and are not read.

        Arguments:
            read: What is read of the observation.
        """
        names = {plane.name for plane in read if plane.path == self.main.path}
        return [
            f"{self.main.path.name}[{entry}]: seen, used only with --dq or --mask"
            for entry in self.main.entries
            if _FLAGS.search(entry.name)
            and entry.shape == self.image.shape
            and entry.name not in names
            # that of another version is another image's
            and not (entry.namesakes and entry.version != self.image.version)
        ]

    def beside(self, name: str) -> str:
        """Returns a hint for messages if a part lies beside the image's file."""
        path = _standard(self.main.path.parent, name)
        path = path if _standard(self.main.path.parent, "data") else None
        return f" (the folder of {path} can be given as a whole)" if path else ""

    @property
    def data(self) -> Plane:
        """The image."""
        return self.main.plane(self.image, self.window)

    def part(self, role: str, reference: str | None, *, kind: str | None = None) -> Plane | None:
        """Reads the part with this role (noise, weight, psf, mask, dq, exposure).

        Arguments:
            role: The part.
            reference: What the user says: an HDU, a file, ``file[HDU]``, or None to look for it.
            kind: Kind of noise that the name of the HDU must state; any if ``None``.

        Returns:
            The image, or None where nothing is named and nothing found.

        Raises:
            InputError: If it is named and cannot be read, or several HDUs suit.
        """
        if reference is not None:
            return self._named(role, reference)
        found = self._companion(self.main, role, self.image, kind)
        if found is not None:
            return self.main.plane(found, self._window(role))
        name = {"noise": "noise_map", "psf": "psf"}.get(role)
        if self.folder is not None and name is not None:
            path = _standard(self.folder, name)
            if path is not None:
                file = self.files.open(path)
                return file.plane(_only(file, role), self._window(role))
        return None

    def is_there(self, role: str, reference: str) -> bool:
        """Whether ``--<role> reference`` names an HDU of the main file, or a file.

        Raises:
            InputError: If it names two files.
        """
        found = self.main.find(reference) is not None
        return found or self._file(role, split_reference(reference)[0]) is not None

    def file(self, role: str, name: str) -> Path:
        """Returns the file that ``--<role>`` names.

        Raises:
            InputError: If there is none of that name, or two.
        """
        path = self._file(role, name)
        if path is None:
            raise self._missing(role, name)
        return path

    def _missing(self, role: str, reference: str) -> InputError:
        """Says that there is no such file."""
        return InputError(
            f"--{role} {reference}: no such file, here or in {self._base}: check the path"
        )

    def _file(self, role: str, name: str) -> Path | None:
        """Returns the file that ``--<role>`` names, here or beside the observation."""
        return _existing(name, self._base, option=f"--{role}")

    @property
    def _base(self) -> Path:
        return self.folder or self.main.path.parent

    def _named(self, role: str, reference: str) -> Plane:
        """Reads what ``--<role> reference`` names."""
        found = self.main.find(reference)
        if found is not None:
            if found == self.image:
                seconds = " (seconds are written 800s)" if role == "exposure" else ""
                raise InputError(
                    f"--{role} {reference}: must not be the image, {self.main.path}[{found}]:"
                    f" name another HDU{seconds}"
                )
            return self.main.plane(found, self._window(role))
        name, hdu = split_reference(reference)
        path = self._file(role, name)
        if path is None:
            if SUFFIX.search(name) or "/" in name or hdu is not None:
                raise self._missing(role, reference)
            raise InputError(
                f"--{role} {reference}: no such file, nor an HDU of {self.main.path}, which holds"
                f" {self.main.contents}"
            )
        file = self.files.open(path)
        entry = file.entry(hdu) if hdu is not None else _only(file, role)
        return file.plane(entry, self._window(role))

    def _window(self, role: str) -> Window | None:
        """Returns what is read of the plane of a part; a PSF has no pixels of the image."""
        return None if role == "psf" else self.window

    def _companion(
        self, file: FitsFile, role: str, image: Entry, kind: str | None
    ) -> Entry | None:
        """Returns the HDU named like the image for this role, and for this kind of noise."""
        images = [e for e in file.entries if e.is_image and e != image]
        prefixes = [f"{image.name}_", f"{image.name.rpartition('_')[0]}_", ""]
        prefixes = list(dict.fromkeys(p for p in prefixes if p != "_"))
        for known, prefix in product((_NAMES[role], _SELDOM.get(role, ())), prefixes):
            names = [prefix + n for n in known if kind is None or kind_of(n) == kind]
            found = [e for e in images if e.name in names]
            if len(found) > 1:
                same = [e for e in found if e.version == image.version]
                found = same if len(same) == 1 else found
            if len(found) > 1:
                choice = listed(f"{e.name} (number {e.index})" for e in found)
                raise InputError(
                    f"{file.path}: several HDUs may be the {role}: choose one of {choice} by"
                    f" --{role}"
                )
            if found:
                return found[0]
        return None


def locate(
    files: Files, path: Path | str, reference: str | None, window: Window | None = None
) -> Layout:
    """Finds the image of an observation.

    Arguments:
        files: Opens the files.
        path: A FITS file, ``file[HDU]``, or a folder.
        reference: The image's HDU or file, as the user names it, or None.
        window: What is read of the image if it is large.

    Raises:
        InputError: If there is no image, or more than one and none is named.
    """
    text, hdu = split_reference(str(path))
    if hdu is not None and reference is not None:
        raise InputError(
            f"{path}: the HDU is named twice, here and by --data {reference}: leave one out"
        )
    place = Path(text)
    if not is_folder(place):
        file, notes, folder = files.open(place), (), None
    else:
        folder = place
        file, notes = _in_folder(files, folder, reference)
    reference = hdu if hdu is not None else reference
    if reference is None:
        image = _candidate(file)
    else:
        found = file.find(reference)
        if found is None:
            name, inner = split_reference(reference)
            other = _existing(name, folder or place.parent, option="--data")
            if other is None:
                raise InputError(
                    f"{file.path}: no HDU (nor file) {reference!r}: the file holds {file.contents}"
                )
            file = files.open(other)
            found = file.entry(inner) if inner is not None else _candidate(file)
        image = found
    if len(image.shape) > 2 and image.is_image:
        notes += (f"{file.path.name}[{image}]: axes of length 1 of shape {image.shape} dropped",)
    return Layout(files, file, image, folder, notes, window)


def _in_folder(
    files: Files, folder: Path, reference: str | None
) -> tuple[FitsFile, tuple[str, ...]]:
    """Returns the main file of a folder, and notes."""
    present = _fits_files(folder)
    data = _standard(folder, "data")
    if reference is not None and data is None:
        data = _existing(split_reference(reference)[0], folder, option="--data")
    if data is not None:
        return files.open(data), ()
    if len(present) == 1:
        return files.open(present[0]), (f"read {present[0].name}, alone in its folder",)
    found = f"found {listed(p.name for p in present)}" if present else "found no FITS file"
    raise InputError(
        f"{folder}: a folder must hold data.fits[.gz] (with noise_map and psf) or one FITS file,"
        f" {found}: name the image's file"
    )


def _fits_files(folder: Path) -> list[Path]:
    """Returns the FITS files of a folder, sorted."""
    return sorted(p for p in folder.iterdir() if p.is_file() and SUFFIX.search(p.name))


def _standard(folder: Path, name: str) -> Path | None:
    """Returns ``name.fits`` or ``name.fits.gz`` in a folder."""
    found = [p for s in (".fits", ".fits.gz") if is_file(p := folder / f"{name}{s}")]
    if len(found) > 1:
        raise InputError(
            f"{folder}: holds both {found[0].name} and {found[1].name}: remove or name one"
        )
    return found[0] if found else None


def _existing(name: str, base: Path, *, option: str) -> Path | None:
    """Returns the file of this name, here or beside the observation."""
    here, there = Path(name), base / name
    if is_file(here) and is_file(there) and not here.samefile(there):
        raise InputError(
            f"{option} {name}: there is one here and one in {base}: give the path in full"
        )
    return next((p for p in (here, there) if is_file(p)), None)


def _candidate(file: FitsFile) -> Entry:
    """Returns the one HDU that may be the image."""
    images = [e for e in file.entries if e.is_image]
    candidates = [e for e in images if not (kind_of(e.name) or _OTHER_PARTS.search(e.name))]
    for name in ("SCI", "DATA"):
        preferred = [e for e in candidates if e.name == name]
        if len(preferred) == 1:
            return preferred[0]
        candidates = preferred or candidates
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        cube = any(len(e.shape) > 2 for e in file.entries)
        advice = (
            "cut one plane out of the cube"
            if cube
            else "give another file, or name an HDU by --data"
        )
        raise InputError(f"{file.path}: no 2-D image, the file holds {file.contents}: {advice}")
    names = [e.name for e in candidates]
    choice = listed(
        f"{e.name},{e.version}" if e.name and names.count(e.name) > 1 else str(e)
        for e in candidates
    )
    raise InputError(
        f"{file.path}: {len(candidates)} HDUs may be the image: choose one by --data: {choice}"
    )


def _only(file: FitsFile, role: str) -> Entry:
    """Returns the HDU for this role of a file that is named without one."""
    images = [e for e in file.entries if e.is_image]
    if len(images) == 1:
        return images[0]
    wanted = _NAMES[role] + ((*_SELDOM[role], *_NAMES["weight"]) if role == "noise" else ())
    named = [e for e in images if e.name in wanted]
    if len(named) == 1:
        return named[0]
    raise InputError(
        f"{file.path}: one 2-D image is needed for --{role}, the file holds {file.contents}:"
        f" {'name the HDU as' if images else 'give another file, or'} {file.path.name}[HDU]"
    )
