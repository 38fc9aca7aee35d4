"""Systems to write as templates, and what the tests of templates do with them."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.wcs import WCS
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.io import Observation
from lensrim.io.coolest import Galaxy, LensSystem, read_coolest, write_coolest
from lensrim.lensing import light, mass

from .conftest import celestial_header, gaussian

PLACE = {"center_x": 0.05, "center_y": -0.12}
SHAPE = {"e1": 0.15, "e2": -0.2, **PLACE}
GRID = PixelGrid((7, 9), 0.3, (0.2, -0.1))
PIXELS = torch.randn(7, 9, generator=torch.Generator().manual_seed(0)).double()
MASSES = [
    mass.SIE(1.2, **SHAPE),
    mass.SIE(1.2, 0.0, 0.0),
    mass.EPL(1.1, 2.2, **SHAPE),
    mass.NIE(1.2, 0.15, **SHAPE),
    mass.DPIE(1.2, 0.1, 2.0, **SHAPE),
    mass.NFW(0.2, 3.0, **PLACE),
    mass.Shear(0.03, -0.05),
    mass.MassSheet(-0.04),
    mass.PixelatedPotential(PIXELS, GRID),
]
LIGHTS = [
    light.Sersic(2.0, 0.7, 4.3, **SHAPE),
    light.Shapelets(torch.arange(10.0).double() - 3, 0.3, **PLACE),
    light.PointSource(*torch.tensor([[1.0, -0.7], [0.2, 0.4], [5.0, 3.0]]).double()),
    light.Pixelated(PIXELS, GRID),
]


def observation(shape: tuple[int, int] = (31, 37), **changed: Any) -> Observation:
    rng = np.random.default_rng(0)
    mask = np.ones(shape, dtype=bool)
    mask[3:5, 2:9] = False
    options: dict[str, Any] = {
        "image": rng.normal(size=shape),
        "sigma": 0.1 + rng.random(shape),
        "psf": gaussian((11, 11), 1.2),
        "mask": mask,
        "pixel_scale": 0.05,
        "wcs": WCS(celestial_header()),
        "unit": "electron/s",
        "zeropoint": 25.9,
    }
    return Observation(**{**options, **changed})


def around(system: LensSystem, folder: Path) -> LensSystem:
    write_coolest(system, folder / "lens.json")
    return read_coolest(folder / "lens.json")


def assert_same(ours: Any, theirs: Any) -> None:
    """Compares two models: their kind, and their parameters to rounding."""
    assert type(ours) is type(theirs)
    for f in fields(ours):
        a, b = getattr(ours, f.name), getattr(theirs, f.name)
        if isinstance(a, Tensor | float):
            torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)
        elif isinstance(a, PixelGrid):
            assert a.shape == b.shape
            assert a.spacing == pytest.approx(b.spacing, rel=1e-14)
            assert a.center == pytest.approx(b.center, abs=1e-14)
        else:
            assert a == b


def entries(path: Path) -> list[dict[str, Any]]:
    """Numbers of the first entity's profiles, as they are in the file."""
    entity = json.loads(path.read_text())["lensing_entities"][0]
    profiles = entity["mass_model"] + entity.get("light_model", [])
    return [
        {k: v["point_estimate"]["value"] for k, v in p["parameters"].items() if k != "pixels"}
        for p in profiles
    ]


def edit(path: Path, change: Any) -> Path:
    """Changes a template as JSON."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def setting(*keys: Any, value: Any) -> Callable[[Any], None]:
    """Returns the change that sets what is under these keys."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def full_template(folder: Path) -> Path:
    """Writes a template with an image, masses and lights."""
    entities = [Galaxy("lens", 0.5, [MASSES[0], MASSES[5]], LIGHTS[:2] + LIGHTS[3:])]
    system = LensSystem(entities, observation(), cosmology="Planck18")
    write_coolest(system, folder / "lens.json")
    return folder / "lens.json"


def one(**models: Any) -> LensSystem:
    """A system of one galaxy."""
    return LensSystem([Galaxy(**{"name": "it", **models})])
