"""How the steps of a machine are computed, which changes what they cost but not what they mean."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .checks import parts_of
from .fields import Aux, ScoreFn, State
from .networks import Hidden, Network
from .problem import check_pair


@dataclass(frozen=True)
class Unroll:
    r"""Creates a way to compute the steps.

    Arguments:
        checkpoint: Whether the network is computed once more in back-propagation, in the place of
            keeping its inner values: memory grows by the inputs, the outputs and the hidden memory
            of a step alone, for one more evaluation of each. The gradient is the same.
        truncate: Steps after which the gradient of what follows is cut off from what was before,
            the loss of each step from the network's part in all earlier blocks of so many; 0 for
            never. All steps still stay in memory until the loss is differentiated.
        through_score: Whether the score is part of the gradient, :math:`\partial x_{t+1} /
            \partial x_t` with the curvature of :math:`\log p`; otherwise it is a constant. It
            takes a score function that can be differentiated: those of
            :mod:`lensrim.rim.problem` of functions that can be differentiated twice.
        autocast: Whether the network computes in bfloat16, under torch's autocast. State, scores,
            memories and weights keep their precision. No scaling of the loss is needed.

    Raises:
        ValueError: If ``truncate`` is negative.
    """

    checkpoint: bool = False
    truncate: int = 0
    through_score: bool = False
    autocast: bool = False

    def __post_init__(self):
        if self.truncate < 0:
            raise ValueError(f"truncate must be 0 or a number of steps, got {self.truncate}")

    def cuts(self, step: int) -> bool:
        """Tells whether the gradient is cut off before a step."""
        return bool(self.truncate) and step > 0 and step % self.truncate == 0

    def call(
        self, network: Network, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        """Calls a network; what it returns has the precision of the vectors, but for memories
        that are no floating numbers.

        Raises:
            ValueError: If it returns something else than maps, vectors and a memory.
        """

        def run(*given: Tensor) -> tuple[Tensor, Tensor, Hidden]:
            with self.precision(vectors):
                moved, numbers, after = parts_of(network(given[0], given[1], tuple(given[2:])))
            # A counter of the network's own stays a whole number.
            kept = tuple(h.to(vectors) if h.is_floating_point() else h for h in after)
            return moved.to(vectors), numbers.to(vectors), kept

        if self.checkpoint and torch.is_grad_enabled():
            # The reentrant kind gives wrong gradients where processes share them.
            return checkpoint(run, maps, vectors, *hidden, use_reentrant=False)  # pyright: ignore
        return run(maps, vectors, *hidden)

    def encode(self, encoder: Callable[[Tensor], Tensor], observation: Tensor) -> Tensor:
        """Calls an encoder of observations."""
        with self.precision(observation):
            out = encoder(observation)
        return out if out.dtype == torch.float64 else out.float()

    def precision(self, like: Tensor) -> torch.autocast | nullcontext:
        """The context in which networks compute."""
        if not self.autocast:
            return nullcontext()
        return torch.autocast(like.device.type, torch.bfloat16)

    def score(self, score_fn: ScoreFn, state: State) -> tuple[State, Aux]:
        """Takes the score of a state, never in less than the state's own precision.

        Raises:
            ValueError: If the function does not return two mappings, or a score that cannot be
                differentiated where that is asked for.
        """
        if torch.is_inference_mode_enabled():
            # A score may be a derivative, and there is none in this mode, nor of its tensors.
            with torch.inference_mode(False), torch.no_grad():
                return self.score(score_fn, {name: x.clone() for name, x in state.items()})
        through = self.through_score and torch.is_grad_enabled()
        given = dict(state) if through else {name: x.detach() for name, x in state.items()}
        device = next(iter(state.values())).device.type
        # Not every kind of device has an autocast that could be on.
        has_one = torch.amp.autocast_mode.is_autocast_available(device)
        outside = torch.autocast(device, enabled=False) if has_one else nullcontext()
        with torch.enable_grad(), outside:
            score, aux = check_pair(score_fn(given))
        if through:
            varies = any(x.requires_grad for x in given.values())
            if varies and not any(x.requires_grad for x in score.values()):
                raise ValueError(
                    "through_score=True needs a score that can be differentiated, got one without "
                    "a graph; make it with create_graph=True, or leave through_score out"
                )
            return score, aux
        return (
            {name: x.detach() for name, x in score.items()},
            {name: x.detach() for name, x in aux.items()},
        )
