"""What is seen of a lens before any fit of its mass, as the options of a reconstruction say."""

from collections.abc import Callable

from ..errors import InputError
from ..io.observation import Observation
from .framing import cut, frame_of, observe
from .neighbours import describe_neighbours
from .options import ReconstructOptions
from .scene import Scene


def scene_of(
    observation: Observation,
    options: ReconstructOptions,
    *,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Observation, Scene, tuple[str, ...]]:
    """Cuts an observation out as options say, and finds what :func:`observe` finds.

    Arguments:
        observation: The observation.
        options: Options of the reconstruction.
        tick: Called after every round of the lens light's fit.

    Returns:
        The observation as it is fitted, the scene, and what was decided, a line each.

    Raises:
        InputError: If the observation or an option cannot be used.
    """
    light = options.lens_light != "none"
    fitted, notes = cut(
        observation,
        center=options.center,
        size=options.size,
        bin=options.bin,
        lens_light=light,
        tick=tick,
    )
    frame, scale = frame_of(fitted), fitted.pixel_scale
    asked, most = options.source_fov, max(fitted.shape) * scale
    # within what the message rounds
    if asked is not None and not 0.99 * scale <= asked <= 1.01 * most:
        raise InputError(
            f"--source-fov: must be between {scale:.3g}, a pixel, and {most:.3g} arcsec, the side "
            f"of the fitted frame, found {asked:g}"
        )
    # a Gaussian has the sum of squares of a block 1.5 FWHM wide
    known = fitted.growth(max(1, round(1.5 * frame.fwhm / frame.grid.spacing)))
    scene = observe(frame, lens_light=light, growth=known, tick=tick)
    if scene.growth > 1:
        notes.append(
            f"correlated noise is fitted as {scene.growth:.2f} times as large: so much more than"
            " white noise it scatters over a PSF"
        )
    return fitted, scene, (*notes, *describe_neighbours(scene.neighbours, fitted))
