"""What is seen of a lens before any fit of its mass, as the options of a reconstruction say."""

from collections.abc import Callable

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
    scene = observe(frame_of(fitted), lens_light=light, tick=tick)
    if scene.growth > 1:
        notes.append(
            f"noise of the sky is correlated: over a PSF it scatters {scene.growth:.2f} times as"
            " much as white noise, and is fitted as so large"
        )
    return fitted, scene, (*notes, *describe_neighbours(scene.neighbours, fitted))
