"""Recipes of generators: what is learnt, from what, and how, in one TOML file.

::

    [sources]                   # images of galaxies; or [masses], maps of log10 kappa
    galaxies = "sources"        # folder of FITS stamps; synthetic galaxies where it is left out
    synthetic = 0.2

    [sources.duplicates]        # which stamps show one galaxy: they go into one set
    file = "sources/duplicate_pairs.json"
    folders = { cand = "candels/f814w_gal" }
    digits = { cand = 3 }

    [model]
    latent = 24
    power = 0.5

    [elbo]
    sigma = 0.5

    [train]
    steps = 6000
    batch_size = 16

Paths are relative to the folder of the recipe. Galaxies are split by the hash of their names
before anything else is done with them: a generator knows those of the training set alone.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .._toml import recipe_of
from ..datasets.galaxies.generative import VAEConfig
from ..datasets.galaxies.learnt import beside, is_learnt
from ..errors import InputError
from ..training.config import TrainConfig
from ..training.table import from_table
from .elbo import ELBO
from .masses import MassConfig
from .sources import SourceConfig


@dataclass(frozen=True)
class GeneratorRecipe:
    """Creates a recipe.

    Arguments:
        sources, masses: What is learnt from: one of them.
        model, elbo, train: The autoencoder, its loss, and how it is trained.
        validation: Images of the validation set.
    """

    sources: SourceConfig | None = None
    masses: MassConfig | None = None
    model: VAEConfig = VAEConfig()
    elbo: ELBO = ELBO()
    train: TrainConfig = TrainConfig()
    validation: int = 256

    def __post_init__(self) -> None:
        if (self.sources is None) == (self.masses is None):
            raise InputError(
                "a generator's recipe must have one of the tables [sources] and [masses], found "
                f"{'neither' if self.sources is None else 'both'}; change it"
            )
        if self.validation < 1:
            raise InputError(f"validation: must be 1 image or more, found {self.validation}")
        if self.train.parts != 1:
            raise InputError(f"[train] parts: must be 1, found {self.train.parts}; remove it")

    @property
    def data(self) -> SourceConfig | MassConfig:
        """What is learnt from."""
        data = self.masses if self.sources is None else self.sources
        assert data is not None
        return data

    def identity(self) -> dict[str, Any]:
        """Returns what must not change while a training goes on, as JSON has it.

        Folders, which have other names on other machines, are left out; whether there are any is
        not.
        """
        away = ("galaxies", "duplicates", "haloes")
        data = {key: value for key, value in asdict(self.data).items() if key not in away}
        kind = "masses" if self.sources is None else "sources"
        for name in ("galaxies", "haloes"):
            if name in asdict(self.data):
                data[name] = getattr(self.data, name) is not None
        said = {"data": {kind: data}, "elbo": asdict(self.elbo), "vae": asdict(self.model)}
        return json.loads(json.dumps(said))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], folder: Path = Path()) -> "GeneratorRecipe":
        """Creates a recipe from its tables; defaults for what they lack.

        Arguments:
            content: The tables.
            folder: What paths are relative to.

        Raises:
            InputError: If there is a table, a key or a value that a recipe cannot have.
        """
        found = from_table(cls, content)
        sources, masses = found.sources, found.masses
        if masses is not None and masses.haloes is not None:
            return replace(found, masses=replace(masses, haloes=str(folder / masses.haloes)))
        if sources is None or sources.galaxies is None:
            return found
        same = sources.duplicates
        if same is not None:
            same = same.beside(folder)
        if is_learnt(sources.galaxies):
            raise InputError(
                "[sources] galaxies: must be a folder of stamps, found a generator "
                f"({sources.galaxies}); what learns from another learns its errors: give stamps"
            )
        return replace(
            found,
            sources=replace(sources, galaxies=beside(sources.galaxies, folder), duplicates=same),
        )


def read_generator_recipe(path: str | Path) -> GeneratorRecipe:
    """Reads a recipe.

    Raises:
        InputError: If the file is no TOML, or has a table, a key or a value that it cannot have.
    """
    return recipe_of(Path(path), GeneratorRecipe.from_dict)
