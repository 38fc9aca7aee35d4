"""What spoils one observation, as plain numbers.

:mod:`lensrim.datasets.contaminants` draws it, :mod:`lensrim.datasets.pairs.contamination` puts it
into images. All lengths are in pixels of the image, about its middle.
"""

from dataclasses import dataclass

from .psfs.changes import PsfChange


@dataclass(frozen=True)
class Neighbour:
    """Creates a star or galaxy beside the lens.

    Arguments:
        x, y: Its place [pixel].
        brightness: Peak that its light would have as a star's, relative to the arcs'.
        radius: Effective radius, product average [pixel]; 0 for a star.
        n: Sersic index.
        q, phi: Axis ratio, and position angle of the major axis [rad].
        masked: 1 where it is masked, 0 where it is left, 0.5 where the half towards ``side`` is.
        side: Direction of the half that is masked [rad].
    """

    x: float
    y: float
    brightness: float
    radius: float
    n: float
    q: float
    phi: float
    masked: float
    side: float


@dataclass(frozen=True)
class Track:
    """Creates the track of a cosmic ray.

    Arguments:
        x, y: Its middle [pixel].
        length: Its length [pixel]; 0 for a hit.
        phi: Its direction [rad].
        width: Standard deviation across it [pixel].
        charge: Its height [standard deviations of the noise].
        found: Whether it is masked.
    """

    x: float
    y: float
    length: float
    phi: float
    width: float
    charge: float
    found: bool


@dataclass(frozen=True)
class Strip:
    """Creates a strip without data: a bad column, a gap between chips, an edge.

    Arguments:
        phi: Direction of its normal [rad].
        offset: Distance of its middle line from the frame's middle [pixel].
        half_width: Half its width [pixel].
    """

    phi: float
    offset: float
    half_width: float


@dataclass(frozen=True)
class LightErrors:
    r"""Creates what a fit leaves of the lens light, in parts of the light.

    With :math:`t = (R / R_e)^{1/n}` of a Sersic profile, errors of its centre leave
    :math:`t / R \cos(\phi - \phi_1)`, of its ellipticity :math:`t \cos 2 (\phi - \phi_2)`, of its
    index :math:`t \ln(R / R_e)`; boxiness leaves :math:`\cos 4 (\phi - \phi_4)`, and structure
    smooth waves. Their weighted sum is scaled to a root mean square.

    Arguments:
        size: Root mean square, weighted by the light.
        waves, dipole, quadrupole, ring, boxiness: Weights of the parts.
        phi_1, phi_2, phi_4: Their directions [rad].
    """

    size: float
    waves: float = 1.0
    dipole: float = 0.0
    quadrupole: float = 0.0
    ring: float = 0.0
    boxiness: float = 0.0
    phi_1: float = 0.0
    phi_2: float = 0.0
    phi_4: float = 0.0


@dataclass(frozen=True)
class Contamination:
    """Creates what spoils one observation.

    Arguments:
        neighbours, tracks, strips: What is in its frame.
        bad: Rows and columns of bad pixels.
        core: Radius within which the core of the lens is saturated and masked [pixel].
        light: What is left of the lens light where it is subtracted.
        psf: How the PSF that is given differs from the true one.
        noise: Noise that is stated, over the true one.
    """

    neighbours: tuple[Neighbour, ...] = ()
    tracks: tuple[Track, ...] = ()
    strips: tuple[Strip, ...] = ()
    bad: tuple[tuple[int, int], ...] = ()
    core: float = 0.0
    light: LightErrors | None = None
    psf: PsfChange | None = None
    noise: float = 1.0
