r"""The square that the network looks at: an image about the lens, in units of half its side.

Ray tracing knows no scale and no direction. So any frame is put on a square of ``SIDE`` pixels
about the place where the lens is expected, turned and mirrored at will, and lengths are told in
half sides :math:`s`. With the angle :math:`\varphi` and the mirror :math:`m = \pm 1`, the point
:math:`(u, v)` of the square shows the point

.. math:: \theta = c + s \, R_\varphi (u, m v)

of the sky, so that an ellipticity or shear :math:`\epsilon` is seen as :math:`\epsilon
e^{-2i\varphi}`, and then conjugated where :math:`m = -1`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 64
"""Pixels of a side of the square."""

SLOPE = 2.0
"""Slope of the guesses: an image hardly knows it, and the search begins with it."""

SOFT = 2.0
"""Signal over noise at which the first map turns from linear to logarithmic."""


@dataclass(frozen=True)
class Look:
    """Creates the squares of B images.

    Arguments:
        center: Where the lens is expected [arcsec, or pixel], with shape (B, 2).
        half: Half the sides, with shape (B).
        angle: Angles [rad], with shape (B).
        mirror: 1, or -1 where the square is mirrored, with shape (B).
    """

    center: Tensor
    half: Tensor
    angle: Tensor
    mirror: Tensor

    def repeated(self, times: int) -> "Look":
        """Returns each of the squares so many times, one after the other."""
        names = ("center", "half", "angle", "mirror")
        return Look(*(getattr(self, name).repeat_interleave(times, 0) for name in names))

    def maps(
        self, image: Tensor, sigma: Tensor, mask: Tensor, peak: Tensor, *, spacing: float
    ) -> Tensor:
        """Puts images on the squares.

        Arguments:
            image, sigma, mask: Arcs, noise, and 1 where a pixel is used, with shape (B, 1, H, W).
            peak: Brightness of the arcs, with shape (B).
            spacing: Side of a pixel, in the unit of ``half``.

        Returns:
            Signal over noise, compressed; brightness relative to the peak; and what is used; with
            shape (B, 3, SIDE, SIDE).
        """
        h, w = image.shape[-2:]
        step = (torch.arange(SIDE, device=image.device, dtype=image.dtype) + 0.5) * 2 / SIDE - 1
        v, u = torch.meshgrid(step, step, indexing="ij")
        v = v * self.mirror[:, None, None]
        cos, sin = (f(self.angle)[:, None, None] for f in (torch.cos, torch.sin))
        half, (cx, cy) = self.half[:, None, None], self.center[:, :, None, None].unbind(1)
        x, y = cx + half * (cos * u - sin * v), cy + half * (sin * u + cos * v)
        # from -1 to 1 between the outer edges
        places = torch.stack([x * 2 / (w * spacing), y * 2 / (h * spacing)], -1)
        signal = torch.arcsinh(image / sigma / SOFT) / SOFT
        light = (image / peak[:, None, None, None]).clamp(-0.5, 1.5)
        shown = torch.cat([signal * mask, light * mask, mask], 1)
        return F.grid_sample(shown, places.to(shown), align_corners=False)

    def seen(self, p: Tensor) -> Tensor:
        r"""Tells macro-models (B, 8) as the squares show them.

        Returns:
            :math:`\log(\theta_E / s)`, ellipticity, centre and shear, with shape (B, 7).
        """
        center = (p[:, 3:5] - self.center) / self.half[:, None]
        return torch.cat(
            [
                (p[:, :1] - self.half.log()[:, None]),
                self._mirrored(_turned(p[:, 1:3], -2 * self.angle)),
                self._mirrored(_turned(center, -self.angle)),
                self._mirrored(_turned(p[:, 5:7], -2 * self.angle)),
            ],
            1,
        )

    def told(self, numbers: Tensor) -> Tensor:
        """Turns what :meth:`seen` returns back into macro-models (B, 8), of slope ``SLOPE``."""
        e, c, g = (self._mirrored(numbers[:, i : i + 2]) for i in (1, 3, 5))
        return torch.cat(
            [
                numbers[:, :1] + self.half.log()[:, None],
                _turned(e, 2 * self.angle),
                self.center + self.half[:, None] * _turned(c, self.angle),
                _turned(g, 2 * self.angle),
                torch.full_like(numbers[:, :1], SLOPE),
            ],
            1,
        )

    def _mirrored(self, pairs: Tensor) -> Tensor:
        return torch.stack([pairs[:, 0], pairs[:, 1] * self.mirror], 1)


def _turned(pairs: Tensor, angle: Tensor) -> Tensor:
    """Turns pairs (B, 2) counter-clockwise by angles (B)."""
    (x, y), cos, sin = pairs.unbind(1), angle.cos(), angle.sin()
    return torch.stack([cos * x - sin * y, sin * x + cos * y], 1)
