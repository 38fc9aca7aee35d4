"""The description of the data that a machine for lenses is trained on."""

from dataclasses import dataclass, replace
from pathlib import Path

from ..datasets.galaxies.learnt import beside
from ..datasets.galaxies.opening import Opened, open_galaxies
from ..datasets.haloes.bank import HaloBank, projections_of
from ..datasets.haloes.modelled import ModelHaloes
from ..datasets.haloes.scaled import ScaledHaloes
from ..datasets.pairs.systems import Map
from ..datasets.psfs.kinds import read_psf_stamps
from ..datasets.ranges import check_shares
from ..datasets.splits import Duplicates, split
from ..errors import InputError

FOLDERS = ("galaxies", "psfs", "stock", "shards", "haloes")
"""Settings of the data that are folders, or files."""


def check_numbers(settings: object, **least: int) -> None:
    """Checks that settings are whole numbers, not too small.

    Raises:
        InputError: If one is not.
    """
    for name, low in least.items():
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"{name}: must be a whole number, {low} or more, found {value!r}")


@dataclass(frozen=True)
class DataConfig:
    """Creates the description of the training data.

    Arguments:
        galaxies: Folder of FITS stamps of galaxies; synthetic ones only by default.
        psfs: Folder of FITS stamps of PSFs; analytic ones only by default.
        duplicates: Which stamps show the same galaxy.
        shape: Side of the images [pixels].
        larger: Sides of larger images, of which there are as many batches as of ``shape``. A
            training batch of these holds as many lenses as have the pixels of one of ``shape``,
            and counts as much.
        seed: Seed of the sequence of batches.
        stock: Folder that keeps the first ``stocked`` batches; they are used again and again,
            mirrored and turned at random. To make a batch costs more than to train on it.
        stocked: Number of batches in it.
        reuse: Steps from one whose batches (one for each of its parts) are made for the stock to
            the next; those between take batches of the stock at random, as do all when it is full.
        shards: Folder of shards from ``lensrim dataset``, of which the training's pairs are read,
            in an order that the seed decides, turned at random; their starts are made afresh.
            Those of real galaxies must be written with ``--set train`` and the same duplicates,
            from the same folder, so that the validation's galaxies are not among them. Those of
            haloes must be, too, and of the file of haloes that is named here.
        haloes: File of haloes, from ``lensrim haloes``; those of the halo model by default.
        halo_share: Share of the lenses whose mass is that of a halo.
    """

    galaxies: str | None = None
    psfs: str | None = None
    duplicates: Duplicates | None = None
    shape: int = 64
    larger: tuple[int, ...] = ()
    seed: int = 0
    stock: str | None = None
    stocked: int = 1000
    reuse: int = 1
    shards: str | None = None
    haloes: str | None = None
    halo_share: float = 0.0

    def __post_init__(self):
        check_shares(self, "halo_share")
        if self.haloes is not None and self.halo_share == 0:
            raise InputError(
                "haloes: have no effect where halo_share is 0; set it to the share of the lenses "
                "that are to be haloes"
            )
        check_numbers(self, shape=16, seed=0, stocked=1, reuse=1)
        if any(side <= self.shape for side in self.larger):
            raise InputError(
                f"larger: must be above shape, {self.shape} pixels, found {min(self.larger)}; "
                "let shape be the smallest"
            )
        if self.larger and self.shards is not None:
            raise InputError("larger: cannot be had from shards, which have one shape; remove one")
        if self.reuse > 1 and self.stock is None:
            raise InputError(
                f"reuse: needs a stock, found {self.reuse} without one; name a folder, or leave it"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the images [pixels], in the order in which batches have them."""
        return (self.shape, *self.larger)

    def read(
        self, which: str
    ) -> tuple[Opened | None, list[str] | None, dict[str, tuple[Map, float]] | None]:
        """Returns the galaxies, the names of those of a set, and the PSFs.

        Arguments:
            which: ``train``, ``validation`` or ``test``.

        Raises:
            InputError: If a folder cannot be used, or holds no galaxies of that set.
        """
        psfs = None if self.psfs is None else read_psf_stamps(self.psfs)
        if self.galaxies is None:
            return None, None, psfs
        galaxies = open_galaxies(self.galaxies)
        names = split(galaxies.names, self.pairs())[which]
        if not names:
            raise InputError(
                f"{self.galaxies}: must hold galaxies for the {which} set, found none of "
                f"{len(galaxies)}; give more stamps"
            )
        return galaxies, list(names), psfs

    def read_haloes(self, which: str) -> tuple[ScaledHaloes | None, tuple[str, ...] | None]:
        """Returns the haloes, and the names of those projections that are of a set.

        Raises:
            InputError: If the file cannot be used, or holds no haloes of that set.
        """
        if self.halo_share == 0:
            return None, None
        haloes = ModelHaloes() if self.haloes is None else HaloBank(self.haloes)
        return haloes, projections_of(haloes, which)

    def beside(self, folder: Path) -> "DataConfig":
        """Returns the same, of folders and files that are named relative to a folder."""
        same = None if self.duplicates is None else self.duplicates.beside(folder)
        paths = {name: getattr(self, name) for name in FOLDERS}
        placed = {n: None if path is None else beside(path, folder) for n, path in paths.items()}
        return replace(self, duplicates=same, **placed)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Reads the pairs of names that show the same galaxy; none without a list of them."""
        return () if self.duplicates is None else self.duplicates.pairs()
