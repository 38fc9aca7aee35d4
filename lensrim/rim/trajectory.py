"""What a machine returns, and what goes from one of its steps to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from .fields import Fields, State, to_physical
from .networks import Hidden
from .preconditioning import Memory


@dataclass(frozen=True)
class Trajectory:
    r"""Holds all steps of a machine.

    Arguments:
        states: States of free variables, the start first: T + 1 of them.
        scores: Scores at the states before each step: T of them, and one more at the last state
            where the call asked for it.
        fields: The fields.
        log_probs: :math:`\log p(y | x_t)` at the same states as the scores, with shape (T, B) or
            (T + 1, B), where the score function tells it; ``None`` where it does not.
    """

    states: Sequence[State]
    scores: Sequence[State]
    fields: Fields
    log_probs: Tensor | None = None

    @property
    def last(self) -> State:
        """The last state, in free variables."""
        return self.states[-1]

    @property
    def values(self) -> list[dict[str, Tensor]]:
        """The physical values of all states, the start first."""
        return [to_physical(state, self.fields) for state in self.states]

    def physical(self, step: int = -1) -> dict[str, Tensor]:
        """Computes the physical values of a step."""
        return to_physical(self.states[step], self.fields)

    def score_norms(self) -> dict[str, Tensor]:
        """Computes the norm of each field's scores, with shape (T, B), or (T + 1, B)."""
        none = {name: x.new_zeros(0, len(x)) for name, x in self.states[0].items()}
        return {
            name: torch.stack([score[name].flatten(1).norm(dim=1) for score in self.scores])
            if self.scores
            else none[name]
            for name in self.fields
        }


@dataclass(frozen=True)
class Progress:
    """Holds what goes from one step to the next.

    Arguments:
        start: Free variables before the first step.
        state: Free variables now.
        memories: Memory of each encoding of the score, by field.
        hiddens: Memories of the networks, by their dimensions.
        observation: The observation as the network sees it, or ``None``.
        conditioning: Numbers that describe the observation, or ``None``.
        step: Number of steps made.
    """

    start: State
    state: State
    memories: Mapping[str, tuple[Memory, ...]]
    hiddens: Mapping[int, Hidden]
    observation: Tensor | None
    conditioning: Tensor | None
    step: int = 0

    @property
    def hidden(self) -> Hidden:
        """The memories of all networks, one after the other."""
        return tuple(chain.from_iterable(self.hiddens.values()))

    def detached(self) -> "Progress":
        """Returns the same without what it was computed from: its gradient ends here.

        The observation and the conditioning are given, and keep theirs.
        """
        return Progress(
            {name: x.detach() for name, x in self.start.items()},
            {name: x.detach() for name, x in self.state.items()},
            {
                name: tuple(tuple(x.detach() for x in memory) for memory in memories)
                for name, memories in self.memories.items()
            },
            {dims: tuple(x.detach() for x in hidden) for dims, hidden in self.hiddens.items()},
            self.observation,
            self.conditioning,
            self.step,
        )
