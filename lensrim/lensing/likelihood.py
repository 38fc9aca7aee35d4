r"""Log-likelihood of an image, and its gradient (the score) in the variables of a fit.

.. math:: \log p(y | x) = -\frac{1}{2} \sum_p \left(\frac{y_p - F(x)_p}{\sigma_p}\right)^2
          - \sum_p \log \sqrt{2 \pi} \sigma_p \, ,

over the used pixels, or that of any other :class:`~lensrim.lensing.noise.Noise`, the one of
visibilities included. A *state* is a mapping of named plain tensors, with the batch first:

================= ===================================================== ======================
``source``        surface brightness :math:`s`                          :math:`(B, 1, n, n)`
``log_kappa``     :math:`\log_{10} \kappa`, or ``kappa`` for itself     :math:`(B, 1, H, W)`
``shear``         :math:`(\gamma_1, \gamma_2)`, optional                :math:`(B, 2)`
``source_center`` offset of the source grid [arcsec], optional          :math:`(B, 2)`
================= ===================================================== ======================
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .noise import GaussianNoise, Noise
from .simulator import Simulator

State = Mapping[str, Tensor]
Aux = Mapping[str, Tensor]
ScoreFn = Callable[[State], tuple[State, Aux]]

VARIABLES = ("source", "log_kappa", "kappa", "shear", "source_center")


def log_likelihood(
    model: Tensor, image: Tensor, sigma: Tensor | Noise, mask: Tensor | None = None
) -> Tensor:
    r"""Computes :math:`\log p(y | x)`, with shape :math:`(B)`.

    What simulated the images is not known here; whether the noise is meant for it says
    :meth:`Noise.check`, which :func:`score` calls.

    Arguments:
        model: Noise-free images :math:`F(x)`, with shape :math:`(B, 1, H, W)`.
        image: Observed images :math:`y`, with shape :math:`(B, 1, H, W)`, or visibilities, with
            shape :math:`(B, N)`.
        sigma: Standard deviations :math:`\sigma`, of a shape that broadcasts to that of the
            images, or any noise model; for visibilities a
            :class:`~lensrim.lensing.noise.VisibilityNoise`.
        mask: Pixels that are used (1 = used, 0 = ignored), like ``sigma``; a noise model has its
            own.

    Raises:
        ValueError: As :func:`noise_of`.
    """
    return noise_of(sigma, mask).log_prob(model, image)


def noise_of(sigma: Tensor | Noise, mask: Tensor | None = None) -> Noise:
    """Returns a noise model as it is, or makes one of independent Gaussians.

    Raises:
        ValueError: If there is a mask beside a noise model, or as :class:`GaussianNoise`.
        TypeError: If it is neither a tensor nor a noise model.
    """
    if isinstance(sigma, Tensor):
        return GaussianNoise(sigma, mask)
    if not isinstance(sigma, Noise):
        raise TypeError(
            f"sigma must be a tensor or a noise model, got a {type(sigma).__name__}; make it a "
            "tensor by torch.as_tensor(sigma)"
        )
    if mask is not None:
        raise ValueError(
            f"a noise model has its own mask, got another beside a {type(sigma).__name__}; "
            "give the mask to the noise model"
        )
    return sigma


@dataclass(frozen=True)
class Setting:
    r"""Holds what is known of each sample of a batch beside its state.

    Arguments:
        arc: Weights of pixels with sum 1, with shape :math:`(B, 1, H, W)`: the source grid stays
            centred on the weighted mean of the traced rays (beside ``source_center``), so that a
            constant deflection, which no image knows, changes nothing.
        scale: Factors by which the source grid is larger than that of the simulator, with shape
            :math:`(B)`.
        beyond: Deflection of the mass beyond the map, as in :meth:`Simulator.kappa_rays`.
    """

    arc: Tensor | None = None
    scale: Tensor | None = None
    beyond: Tensor | None = None


def simulate(simulator: Simulator, state: State, setting: Setting = Setting()) -> Tensor:
    r"""Computes :math:`F(x)` for a state.

    Raises:
        ValueError: If the state has an unknown variable, or not exactly one of ``kappa`` and
            ``log_kappa``, or no source.
    """
    rays, center = rays_of(simulator, state, setting)
    return simulator.trace(state["source"], rays, center)


def rays_of(
    simulator: Simulator, state: State, setting: Setting = Setting()
) -> tuple[Tensor, Tensor | None]:
    r"""Traces the rays of a state.

    Returns:
        Their positions in the source plane, with shape :math:`(B, 2, kH, kW)`, and the centre of
        the source grid, with shape :math:`(B, 2)`, where it is not zero; both divided by the
        setting's ``scale``.

    Raises:
        ValueError: As :func:`simulate`.
    """
    unknown = sorted(set(state) - set(VARIABLES))
    if unknown:
        raise ValueError(f"a state has the variables {VARIABLES}, got {unknown}")
    if "source" not in state or ("kappa" in state) == ("log_kappa" in state):
        raise ValueError(
            f"a state needs source and either kappa or log_kappa, got {sorted(state)}"
        )
    kappa = state["kappa"] if "kappa" in state else (state["log_kappa"] * math.log(10)).exp()
    rays = simulator.kappa_rays(kappa, state.get("shear"), setting.beyond)
    center = state.get("source_center")
    if setting.arc is not None:
        mean = (pixels_of(rays, simulator.subsample) * setting.arc).sum((-2, -1))
        center = mean if center is None else center + mean
    if setting.scale is not None:
        rays = rays / setting.scale[:, None, None, None]
        center = None if center is None else center / setting.scale[:, None]
    return rays, center


def pixels_of(rays: Tensor, k: int) -> Tensor:
    """Averages values at k x k rays a pixel over the pixels."""
    return rays.unflatten(-1, (-1, k)).unflatten(-3, (-1, k)).mean((-3, -1))


def score(
    simulator: Simulator,
    image: Tensor,
    sigma: Tensor | Noise,
    mask: Tensor | None = None,
    *,
    setting: Setting = Setting(),
    create_graph: bool = False,
) -> ScoreFn:
    r"""Creates the function :math:`x \mapsto \nabla_x \log p(y | x)`.

    Arguments:
        simulator: Forward model :math:`F`; for visibilities without a PSF, and with the grid and
            ``subsample`` of the interferometer.
        image: Observed images :math:`y`, with shape :math:`(B, 1, H, W)`, or visibilities, with
            shape :math:`(B, N)`.
        sigma: Standard deviations :math:`\sigma`, of a shape that broadcasts to that of the
            images, or any noise model; for visibilities a
            :class:`~lensrim.lensing.noise.VisibilityNoise`.
        mask: Pixels that are used (1 = used, 0 = ignored), like ``sigma``; a noise model has its
            own.
        setting: What else is known of each sample.
        create_graph: Whether the score can itself be differentiated; otherwise it is a constant.

    Returns:
        A function of a state. It returns the gradient, a mapping with the same names and shapes,
        and the maps that it met on the way: ``residual`` :math:`(y - F(x)) / \sigma` (zero on
        ignored pixels; whitened by the noise model; of visibilities the dirty image of the
        residual in units of its noise), ``model`` :math:`F(x)`, ``pull``, the score of the rays'
        positions in the source grid, summed over each pixel, with shape :math:`(B, 2, H, W)`, and
        ``information``, the sum of the precision, :math:`1 / \sigma^2`, of the pixels that see a
        pixel of the source, with its shape; and ``log_prob``, :math:`\log p(y | x)` itself, with
        shape :math:`(B)`. Samples of a batch do not know each other.

    Raises:
        ValueError: As :func:`noise_of`, or if the noise is not that of what the simulator computes
            (:meth:`Noise.check`); by the function, if it is compiled with ``create_graph``.
    """
    noise = noise_of(sigma, mask)
    noise.check(simulator)

    def value(x: State, *shifts: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        rays, center = rays_of(simulator, x, setting)
        if shifts:
            rays = rays + shifts[0]
        model = simulator.trace(x["source"], rays, center)
        if shifts:
            model = model + shifts[1]
        residual = noise.residual(model, image)
        norm = noise.normalization(model)
        energy = 0.5 * residual.square().sum() + norm.sum()
        return -energy, (rays, model, residual, center, norm)

    def score_fn(state: State) -> tuple[State, Aux]:
        if create_graph and torch.compiler.is_compiling():
            raise ValueError(
                "a score that can be differentiated (create_graph) cannot be compiled: torch "
                "loses terms of its gradient; compile the forward model, or give no create_graph"
            )
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            gradient, pull, slope, parts = _slopes_by_functions(value, state)
        else:
            gradient, pull, slope, parts = _slopes_by_graph(value, state, create_graph)
        rays, model, residual, center, norm = parts
        if not create_graph:
            gradient = {name: each.detach() for name, each in gradient.items()}
            pull, model, residual = pull.detach(), model.detach(), residual.detach()
            norm = norm.detach()
        k = simulator.subsample
        with torch.no_grad():
            precision = noise.precision(model)
            information = simulator.spread(precision, rays, center)
        aux = {
            "residual": noise.residual_map(residual, slope, precision),
            "model": model,
            "pull": k**2 * pixels_of(pull, k),
            "information": information,
            "log_prob": -0.5 * residual.square().flatten(1).sum(1) - norm,
        }
        return gradient, aux

    return score_fn


def _slopes_by_graph(
    value: Callable[..., Any], state: State, create_graph: bool
) -> tuple[State, Tensor, Tensor, tuple[Any, ...]]:
    """Differentiates a function of a state in it, in the rays and in the model that it returns."""
    with torch.enable_grad():
        # A view of each tensor, so that the caller's own graph is neither walked nor marked.
        x = {
            name: given.view_as(given)
            if create_graph and given.requires_grad
            else given.detach().requires_grad_()
            for name, given in state.items()
        }
        total, parts = value(x)
        *gradient, pull, slope = torch.autograd.grad(
            total, [*x.values(), *parts[:2]], create_graph=create_graph
        )
    return dict(zip(x, gradient, strict=True)), pull, slope, parts


def _slopes_by_functions(
    value: Callable[..., Any], state: State
) -> tuple[State, Tensor, Tensor, tuple[Any, ...]]:
    """Does the same inside of ``torch.func`` and the compiler, which see no graph."""
    parts = value(state)[1]
    slopes = torch.func.grad(lambda x, *shifts: value(x, *shifts)[0], argnums=(0, 1, 2))
    gradient, pull, slope = slopes(dict(state), *map(torch.zeros_like, parts[:2]))
    return gradient, pull, slope, parts
