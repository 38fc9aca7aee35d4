r"""Instruments: what an image of a lens is taken with, in the numbers that a simulation needs.

The data are in electrons per second per pixel of the final (drizzled or stacked) image. In
:math:`n` exposures of :math:`t` seconds, sky and detector leave in each pixel a noise of

.. math::
    b^2 = \frac{1}{(n t)^2} \left[ n t \, s^2 \, 10^{0.4 (Z - \mu)}
    + n \frac{s^2}{d^2} \left( r^2 + \frac{g^2}{12} \right) \right] \, ,

with the final pixel :math:`s` and the detector's :math:`d` [arcsec], the zero point :math:`Z`, the
sky :math:`\mu` [mag/arcsec²], the read noise :math:`r` and the gain :math:`g`, whose rounding is
the last term. To it the photons of arcs and lens add :math:`F / (n t)`. Dark current, cosmic rays
and the brighter-fatter effect are left out here (cosmic rays are among the
:mod:`lensrim.datasets.contaminants`).

Where the numbers are from: [H] the instrument's handbook or project page (ACS Instrument Handbook
table 3.1; WFC3 Instrument Handbook chapter 7; JWST documentation, NIRCam Detector Overview and
Point Spread Functions; euclid-ec.org, The VIS Instrument; smtn-002.lsst.io); [L] the
configurations of lenstronomy 1.14 (``SimulationAPI.ObservationConfig``), which name their sources;
[S] Sirianni et al. 2005, PASP 117, 1049; [Z] STScI's
photometric calibration of WFC3/IR; [c] chosen by us, as typical. The width of a PSF is that
of its optical part, without the pixel's response; its range and the length of the noise's
correlation are [c] for all. Of the pupils, diameters, obscurations and segments are the
telescopes' known ones, bands are about where the filters pass half of their light, widths of vanes
and the errors of wavefronts are [c]; those of ACS such that a star's light within 0.2 and 0.3
arcsec is, to two per cent, that of measured stars.
"""

import math
from dataclasses import dataclass

from ..errors import InputError
from .noise import Noise
from .psfs.pupils import Pupil


@dataclass(frozen=True)
class Instrument:
    """Creates an instrument with its usual exposures.

    Arguments:
        pixel_scale: Side of a pixel of the final image [arcsec].
        detector_scale: Side of a pixel of the detector [arcsec].
        psf_fwhm: Range of the full width at half maximum of the optical PSF [arcsec] (uniform).
        psf_kinds: Its kinds, of which one is drawn: ``"gaussian"``, ``"moffat"``, ``"pupil"``.
        zero_point: Magnitude (AB) of one electron per second.
        sky: Surface brightness of the sky [mag/arcsec^2]; infinite for none.
        read_noise: Noise of one exposure's reading [electron].
        gain: Electrons in one number of the detector's output.
        exposures: Number of exposures.
        exposure: Time of each [s].
        noise_length: Standard deviation of the Gaussian that correlates the noise of neighbouring
            pixels, as resampling does [pixels]; 0 for none.
        pupil: The telescope's pupil, whose diffraction the kind ``"pupil"`` is made of.

    Raises:
        InputError: If a number is impossible.
    """

    pixel_scale: float
    detector_scale: float
    psf_fwhm: tuple[float, float]
    zero_point: float
    sky: float
    read_noise: float
    gain: float
    exposures: int
    exposure: float
    psf_kinds: tuple[str, ...] = ("gaussian", "moffat")
    noise_length: float = 0.0
    pupil: Pupil | None = None

    def __post_init__(self) -> None:
        for name in ("pixel_scale", "detector_scale", "gain", "exposures", "exposure"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name}: must be positive, found {getattr(self, name)}")
        for name in ("read_noise", "noise_length"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: must be 0 or more, found {getattr(self, name)}")
        if not math.isfinite(self.zero_point):
            raise InputError(f"zero_point: must be finite, found {self.zero_point}")
        if not self.sky > -math.inf:
            raise InputError(f"sky: must be a magnitude, or inf for none, found {self.sky}")
        if not 0 < self.psf_fwhm[0] <= self.psf_fwhm[1] < math.inf:
            raise InputError(f"psf_fwhm: must be a range above 0, found {self.psf_fwhm}")
        known = {"gaussian", "moffat", "pupil"}
        if not self.psf_kinds or not {*self.psf_kinds} <= known:
            raise InputError(
                f"psf_kinds: must be of gaussian, moffat, pupil, found {self.psf_kinds}"
            )
        if self.pupil is None and "pupil" in self.psf_kinds:
            raise InputError(
                "psf_kinds: pupil needs a telescope's pupil, found none; take another kind, or an "
                "instrument that has one"
            )

    @property
    def time(self) -> float:
        """Time of all exposures [s]."""
        return self.exposures * self.exposure

    @property
    def background(self) -> float:
        """Standard deviation of the noise of sky and detector [electron/s per pixel]."""
        sky = self.pixel_scale**2 * 10 ** (0.4 * (self.zero_point - self.sky))
        share = (self.pixel_scale / self.detector_scale) ** 2
        reading = share * (self.read_noise**2 + self.gain**2 / 12)
        return math.sqrt(self.time * sky + self.exposures * reading) / self.time

    def noise(self, snr: float) -> Noise:
        """Returns the noise of an image whose arcs' brightest pixel has a signal over noise.

        Their brightness :math:`p` follows: :math:`p^2 = S^2 (b^2 + p / T)`.

        Arguments:
            snr: Signal over noise :math:`S` that the pixel has without the lens' light.
        """
        half = snr**2 / (2 * self.time)
        peak = half + math.hypot(half, snr * self.background)
        share = (peak / self.time) / (peak / snr) ** 2
        return Noise(
            snr=snr,
            poisson_share=share,
            peak=peak,
            without_light=True,
            correlation=self.noise_length,
        )


HST_ACS = Instrument(
    pixel_scale=0.05,
    detector_scale=0.05,
    psf_fwhm=(0.07, 0.10),
    psf_kinds=("pupil",),
    zero_point=25.94,
    sky=22.0,
    read_noise=4.2,
    gain=2.0,
    exposures=4,
    exposure=550.0,
    noise_length=0.4,
    pupil=Pupil(
        diameter=2.4,
        band=(0.70, 0.95),
        obscuration=0.33,
        vane_width=0.0264,
        wavefront=0.04,
        figure=0.025,
    ),
)
"""Hubble, ACS/WFC, F814W, one orbit: scale, gain and read noise (3.75 to 5.65) [H], zero point
[S], sky and exposures [c]."""

HST_WFC3 = Instrument(
    pixel_scale=0.065,
    detector_scale=0.13,
    psf_fwhm=(0.14, 0.16),
    psf_kinds=("pupil",),
    zero_point=25.946,
    sky=22.3,
    read_noise=12.0,
    gain=2.5,
    exposures=4,
    exposure=600.0,
    noise_length=0.7,
    pupil=Pupil(
        diameter=2.4,
        band=(1.40, 1.69),
        obscuration=0.36,
        vane_width=0.05,
        wavefront=0.04,
        figure=0.025,
    ),
)
"""Hubble, WFC3/IR, F160W, one orbit, drizzled to half pixels: detector's scale [H], zero point [Z]
(25.96 in [L]), sky and gain [L], read noise (of a whole ramp), final scale and exposures [c]."""

JWST_NIRCAM = Instrument(
    pixel_scale=0.03,
    detector_scale=0.031,
    psf_fwhm=(0.045, 0.06),
    psf_kinds=("pupil",),
    zero_point=28.02,
    sky=22.0,
    read_noise=15.77,
    gain=2.05,
    exposures=8,
    exposure=257.0,
    noise_length=0.5,
    pupil=Pupil(
        diameter=6.6,
        band=(1.33, 1.67),
        vanes=(90.0, 240.0, 300.0),
        vane_width=0.1,
        segment=1.32,
        gap=0.007,
        wavefront=0.06,
        figure=0.03,
    ),
)
"""Webb, NIRCam, F150W, as in COSMOS-Web: detector's scale [H], zero point, read noise, gain and
exposures [L], sky (0.25 MJy/sr, zodiacal light) and final scale [c]."""

EUCLID_VIS = Instrument(
    pixel_scale=0.1,
    detector_scale=0.1,
    psf_fwhm=(0.13, 0.17),
    psf_kinds=("pupil",),
    zero_point=25.72,
    sky=22.3,
    read_noise=4.2,
    gain=3.4,
    exposures=4,
    exposure=565.0,
    noise_length=0.4,
    pupil=Pupil(
        diameter=1.2,
        band=(0.55, 0.90),
        obscuration=0.33,
        vanes=(90.0, 210.0, 330.0),
        vane_width=0.012,
        wavefront=0.025,
        figure=0.015,
    ),
)
"""Euclid, VIS, wide survey: scale, gain, exposures and read noise below 4.4 [H]; zero point, sky
and read noise [L]."""

RUBIN_LSST = Instrument(
    pixel_scale=0.2,
    detector_scale=0.2,
    psf_fwhm=(0.6, 0.9),
    psf_kinds=("moffat",),
    zero_point=27.79,
    sky=20.48,
    read_noise=8.8,
    gain=2.3,
    exposures=230,
    exposure=30.0,
    noise_length=0.5,
)
"""Rubin, i, ten years stacked: scale, zero point, sky and exposures (the 460 x 15 s of [L] as 230
x 30 s) [L], gain [H], read noise [c] (below 10)."""

INSTRUMENTS = {
    "hst_acs": HST_ACS,
    "hst_wfc3": HST_WFC3,
    "jwst_nircam": JWST_NIRCAM,
    "euclid_vis": EUCLID_VIS,
    "rubin_lsst": RUBIN_LSST,
}
"""The instruments by name."""
