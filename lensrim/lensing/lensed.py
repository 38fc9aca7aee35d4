r"""The surface brightness of analytic light behind analytic mass, as one function of autograd.

.. math:: I = S(\theta - \alpha(\theta)) \, ,

with :math:`\alpha` a sum of deflections and :math:`S` a sum of lights, all of which have a
shortcut (:mod:`~lensrim.lensing.shortcut`). Observing is left to autograd, so that the PSF may be
one per sample, be changed, or be differentiated.
"""

from typing import Any

import torch
from torch import Tensor

from .by_hand import like, plain_slopes, save, saved, shortcut_is_open, wants_plain
from .shortcut import Parameter, Rules, members_of


def lensed_brightness(light: object, mass: object, theta: Tensor) -> Tensor | None:
    r"""Computes :math:`I` where there is a shortcut all the way, and a gradient may be wanted.

    Arguments:
        light: Light profile.
        mass: Mass model.
        theta: Positions of the rays [arcsec], with shape :math:`(2, kH, kW)`.

    Returns:
        The surface brightness, with shape :math:`(kH, kW)`; ``None`` if it is to be computed the
        plain way, as it is where the rays themselves are differentiated.
    """
    if theta.requires_grad or not torch.is_grad_enabled() or not shortcut_is_open(*theta):
        return None
    deflection, brightness = (Rules.of(members_of(m), theta.dtype) for m in (mass, light))
    if deflection is None or brightness is None:
        return None
    parameters = *deflection.parameters, *brightness.parameters
    return Lensed.apply(theta, deflection, brightness, *parameters)


class Lensed(torch.autograd.Function):
    r"""Computes :math:`I`, with shape :math:`(kH, kW)`.

    Its inputs are the rays :math:`\theta`, with shape :math:`(2, kH, kW)`, that are constant; the
    functions of the deflection and of the light; and their parameters, those of the deflection
    first.
    """

    @staticmethod
    def forward(
        ctx: Any, theta: Tensor, mass: Rules, light: Rules, *parameters: Parameter
    ) -> Tensor:
        alpha, kept = mass.values(*theta.unbind())
        brightness, kept_light = light.values(*torch.sub(theta, alpha, out=alpha).unbind())
        # The rays may be changed after the call; those relative to a centre stand for them.
        ctx.rules, ctx.shape, ctx.count = (mass, light), theta.shape, len(kept)
        save(ctx, parameters, *kept, *kept_light)
        return brightness

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        mass, light = ctx.rules
        parameters, *kept = saved(ctx)
        nothing, first = (None,) * 3, len(mass.parameters)
        if wants_plain(grads[0]):
            theta = mass.positions(kept[0], ctx.shape)

            def image(*given: Parameter) -> Tensor:
                beta = theta - mass.plain(*theta, given[:first])
                return light.plain(*beta, given[first:])

            needed = ctx.needs_input_grad[3:]
            return *nothing, *plain_slopes(image, parameters, grads[0], needed)
        to_beta, of_light = light.slopes(grads[0], kept[ctx.count :], (True, True))
        assert to_beta is not None
        _, of_mass = mass.slopes(to_beta, kept[: ctx.count], (False, True))
        numbers = [-n for n in of_mass] + of_light
        return *nothing, *like(parameters, numbers, to_beta)
