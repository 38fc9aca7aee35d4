"""Images that are not there: positions that are NaN, where sources differ in their number.

What is computed of NaN is NaN, and that nobody uses it does not help its derivatives: zero times
NaN is NaN, in every parameter that all images share. So the middle of the frame stands for them
before anything is computed.
"""

import torch
from torch import Tensor


def replaced(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Puts images that are not there at (0, 0).

    Arguments:
        x, y: Positions [arcsec], with shape (*), NaN where there is none.

    Returns:
        Where they are missing, and the positions, each with shape (*).
    """
    missing = x.isnan() | y.isnan()
    return missing, torch.where(missing, 0.0, x), torch.where(missing, 0.0, y)
