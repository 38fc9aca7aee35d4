r"""COOLEST template files: lens models as JSON, their maps as FITS beside it.

Coordinates are the same on both sides, arcsec along the axes of the image, :math:`x` to the right
and :math:`y` upward; no axis points East, and nothing is flipped. The mask has the same sense: 1 =
used. What differs besides the origin is in :mod:`lensrim.io.coolest.conventions`, and only there.

A template places its origin on the sky and, by a sentence of its documentation, in the centre of a
pixel. Here the origin is the middle of the image, which for an even number of pixels is where four
meet; it is written so, with a field of view about 0, and an image with another is moved there when
it is read, with all else. A shear or sheet then keeps its centre off the origin, and the template
written of it has its origin in this centre.

=============================== ===================================================================
mass                            :class:`~lensrim.lensing.mass.SIE`, ``SIS`` (as a SIE with
                                :math:`q = 1`), ``EPL`` (PEMD), ``NIE``, ``DPIE`` (Chameleon),
                                ``NFW``, ``Shear``, ``MassSheet``, ``PixelatedPotential``
light                           ``Sersic``, ``Exponential`` and ``Gaussian`` (as a Sersic with
                                :math:`n` of 1 and 1/2), ``Shapelets``, ``PointSource`` (LensedPS),
                                ``Pixelated``
observation                     image, mask, noise map, PSF; read as well: uniform noise,
                                background with an exposure map, a Gaussian PSF, one of finer
                                pixels
=============================== ===================================================================

Anything else is refused, on either side. Not held by a template: the number of terms of a series,
how a map is read between its pixels, and of an :class:`~lensrim.io.Observation` what does not
describe its pixels (notes, binning, the corner of a cut-out). Not read: posteriors, priors, and
the origin on the sky, for which the image's own header has the whole frame.

A grid that is not square is written with ``num_pix_x`` columns. Version 0.1.11 of the ``coolest``
package takes the rows of a FITS file for :math:`x`, and so loads such a template only with
``check_external_files=False``; likewise one without an image.

References:
    Galan+ 2023, JOSS 8, 5567; https://coolest.readthedocs.io.
"""

from .products import system_of
from .reading import read_coolest
from .system import Galaxy, LensSystem, MassField
from .writing import write_coolest

__all__ = ["Galaxy", "LensSystem", "MassField", "read_coolest", "system_of", "write_coolest"]
