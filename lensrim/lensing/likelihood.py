r"""Log-likelihood of an image, and its gradient (the score) in the variables of a fit.

.. math:: \log p(y | x) = -\frac{1}{2} \sum_p \left(\frac{y_p - F(x)_p}{\sigma_p}\right)^2
          - \sum_p \log \sqrt{2 \pi} \sigma_p \, ,

over the used pixels. A *state* is a mapping of named plain tensors, with the batch first:

================= ===================================================== ======================
``source``        surface brightness :math:`s`                          :math:`(B, 1, n, n)`
``log_kappa``     :math:`\log_{10} \kappa`, or ``kappa`` for itself     :math:`(B, 1, H, W)`
``shear``         :math:`(\gamma_1, \gamma_2)`, optional                :math:`(B, 2)`
``source_center`` offset of the source grid [arcsec], optional          :math:`(B, 2)`
================= ===================================================== ======================
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .noise import GaussianNoise
from .simulator import Simulator

State = Mapping[str, Tensor]
Aux = Mapping[str, Tensor]
ScoreFn = Callable[[State], tuple[State, Aux]]

VARIABLES = ("source", "log_kappa", "kappa", "shear", "source_center")


def log_likelihood(
    model: Tensor, image: Tensor, sigma: Tensor, mask: Tensor | None = None
) -> Tensor:
    r"""Computes :math:`\log p(y | x)`, with shape :math:`(B)`.

    Arguments:
        model: Noise-free images :math:`F(x)`, with shape :math:`(B, 1, H, W)`.
        image: Observed images :math:`y`, with shape :math:`(B, 1, H, W)`.
        sigma: Standard deviations :math:`\sigma`, of a shape that broadcasts to that of the
            images.
        mask: Pixels that are used (1 = used, 0 = ignored), like ``sigma``.
    """
    return GaussianNoise(sigma, mask).log_prob(model, image)


def simulate(simulator: Simulator, state: State) -> Tensor:
    r"""Computes :math:`F(x)` for a state.

    Raises:
        ValueError: If the state has an unknown variable, or not exactly one of ``kappa`` and
            ``log_kappa``, or no source.
    """
    unknown = sorted(set(state) - set(VARIABLES))
    if unknown:
        raise ValueError(f"a state has the variables {VARIABLES}, got {unknown}")
    if "source" not in state or ("kappa" in state) == ("log_kappa" in state):
        raise ValueError(
            f"a state needs source and either kappa or log_kappa, got {sorted(state)}"
        )
    kappa = state["kappa"] if "kappa" in state else (state["log_kappa"] * math.log(10)).exp()
    return simulator(state["source"], kappa, state.get("shear"), state.get("source_center"))


def score(
    simulator: Simulator,
    image: Tensor,
    sigma: Tensor,
    mask: Tensor | None = None,
    *,
    create_graph: bool = False,
) -> ScoreFn:
    r"""Creates the function :math:`x \mapsto \nabla_x \log p(y | x)`.

    Arguments:
        simulator: Forward model :math:`F`.
        image: Observed images :math:`y`, with shape :math:`(B, 1, H, W)`.
        sigma: Standard deviations :math:`\sigma`, of a shape that broadcasts to that of the
            images.
        mask: Pixels that are used (1 = used, 0 = ignored), like ``sigma``.
        create_graph: Whether the score can itself be differentiated; otherwise it is a constant.

    Returns:
        A function of a state. It returns the gradient, a mapping with the same names and shapes,
        and the maps that it met on the way: ``residual`` :math:`(y - F(x)) / \sigma` (zero on
        ignored pixels) and ``model`` :math:`F(x)`. Samples of a batch do not know each other.
    """
    noise = GaussianNoise(sigma, mask)

    def score_fn(state: State) -> tuple[State, Aux]:
        with torch.enable_grad():
            # A view of each tensor, so that the caller's own graph is neither walked nor marked.
            x = {
                name: value.view_as(value)
                if create_graph and value.requires_grad
                else value.detach().requires_grad_()
                for name, value in state.items()
            }
            model = simulate(simulator, x)
            residual = noise.residual(model, image)
            energy = 0.5 * residual.square().sum()
            gradient = torch.autograd.grad(-energy, list(x.values()), create_graph=create_graph)
        if not create_graph:
            model, residual = model.detach(), residual.detach()
        return dict(zip(x, gradient, strict=True)), {"residual": residual, "model": model}

    return score_fn
