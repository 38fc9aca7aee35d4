"""Networks that read the lens off an image: off the dirty one, and off what others made of it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..lensed.judging import Machine
from ..lensed.lenses import Draws
from ..lensed.reader import Reader
from .clean import clean
from .skies import shown, sky_scene

DIRTY, CLEAN, SKY = "dirty image", "CLEAN, restored", "true sky"


class Readers(nn.Module):
    """Creates a reader for each kind of image; all are trained on the same lenses.

    Arguments:
        size: Pixels of a side of the images.
        machines: Machines that look for the sky, by name; they are not trained here.
        stop: Where CLEAN stops.
    """

    def __init__(self, size: int, machines: Mapping[str, Machine], stop: float):
        super().__init__()
        self.machines, self.stop = machines, stop
        self.kinds = (DIRTY, CLEAN, *machines, SKY)
        self.readers = nn.ModuleList(Reader(size, maps=2) for _ in self.kinds)

    def forward(self, draws: Draws) -> dict[str, Tensor]:
        """Reads the lenses off each kind of image, (B, 7) by its name."""
        images = images_of(draws, self.machines, self.stop)
        pairs = zip(self.kinds, self.readers, strict=True)
        return {kind: reader(shown(draws, images[kind])) for kind, reader in pairs}


@torch.no_grad()
def images_of(draws: Draws, machines: Mapping[str, Machine], stop: float) -> dict[str, Tensor]:
    """Makes the images that are read, (B, 1, n, n) by their name."""
    scene = sky_scene(draws)
    return {
        DIRTY: draws["image"],
        CLEAN: clean(scene, stop=stop).restored,
        **{name: machine.states(scene)[-1] for name, machine in machines.items()},
        SKY: scene.truth,
    }
