"""Real lenses from the command line, against published Einstein radii."""

from pathlib import Path

import pytest
from astropy.io import fits

from lensrim.cli import main

LENSES = Path(__file__).parents[3] / "shared" / "data" / "lenses"

PUBLISHED = {
    "slacs_j0959+0410_f555w": (0.99, ()),
    "slacs_j1627-0053_f555w": (1.23, ()),
    "slacs1430+4105": (1.52, ("--pixel-scale", "0.05")),
    "slacs1250+0523": (1.13, ()),
}
"""Einstein radii of Bolton et al. 2008, ApJ 682, 964 [arcsec], and what the headers do not say."""


@pytest.mark.slow
@pytest.mark.skipif(not LENSES.is_dir(), reason="needs ../shared/data/lenses")
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_einstein_radius_is_the_published_one(name: str, tmp_path: Path, capsys):
    theta_E, options = PUBLISHED[name]
    assert main(["reconstruct", str(LENSES / name), *options, "-o", str(tmp_path)]) == 0
    files = sorted(tmp_path.iterdir())
    assert sorted(f.suffix for f in files) == [".fits", ".json", ".png", ".reg"]
    shown = capsys.readouterr().out
    assert all(str(file) in shown for file in files)
    header = fits.getheader(next(f for f in files if f.suffix == ".fits"))
    assert header["MACROTE"] == pytest.approx(theta_E, rel=0.05)
