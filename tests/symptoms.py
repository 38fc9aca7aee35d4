"""Symptoms that several tests judge."""

from lensrim.inference.symptoms import Symptoms

GOOD = Symptoms(
    chi2=0.95,
    expected=0.92,
    pixels=1200,
    correlation=0.0,
    peak=3.0,
    signal=150.0,
    multiple=0.95,
    size=0.15,
    hollow=0.0,
    border=0.02,
    shear=0.05,
    flatness=0.1,
    offset=1.0,
    slope=0.5,
    edge=0.8,
    length=-1.6,
    core=-3.6,
    ring=True,
)
"""Those of a usual right answer."""
