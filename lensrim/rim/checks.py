"""What a machine's user may have got wrong: networks, what they return, starts and encodings."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .layout import Layout
from .preconditioning import Preconditioner
from .starts import Start

NEEDED = ("dims", "maps_in", "vectors_in", "maps_out", "vectors_out", "init_hidden")
"""What a network must have beside its call."""


def check_network(network: Any) -> None:
    """Checks that something can be a network of a machine.

    Raises:
        ValueError: If it lacks what :class:`~lensrim.rim.networks.Network` asks for.
    """
    if isinstance(network, type):
        found = f"the class {network.__name__}"
    elif missing := [name for name in NEEDED if not hasattr(network, name)]:
        found = f"a {type(network).__name__} without {', '.join(missing)}"
    else:
        return
    raise ValueError(
        f"the network must be a Network of lensrim.rim, with {', '.join(NEEDED)}, got {found}; "
        "wrap it as notebooks/rim.md does"
    )


def check_use(dims: int, layout: Layout) -> None:
    """Checks that something comes of what a network sees.

    Raises:
        ValueError: If no field is its to move.
    """
    sizes = layout.sizes(dims)
    if sizes["maps_out"] + sizes["vectors_out"] == 0:
        raise ValueError(
            "every network must have fields to move, or nothing comes of what it sees: that of "
            f"{dims} dimensions has no map, and vectors are moved by that of {layout.mover}; "
            "leave one of them out, or make another map of what it sees, such as by an encoder"
        )


def check_encodings(precondition: Any) -> None:
    """Checks that something is a sequence of encodings of the score.

    Raises:
        ValueError: If it is not.
    """
    listed = isinstance(precondition, Sequence) and not isinstance(precondition, str)
    for each in precondition if listed else [precondition]:
        if not listed or isinstance(each, type) or not isinstance(each, Preconditioner):
            raise ValueError(
                "precondition must be a sequence of encodings, such as (Raw(), Adam()), got "
                f"{each!r}{'' if listed else ' alone'}"
            )


def check_start(start: Any) -> None:
    """Checks that something is a state, or a way to make one.

    Raises:
        ValueError: If it is not.
    """
    way = isinstance(start, Start) and not isinstance(start, type)
    if not (way or isinstance(start, Mapping)):
        raise ValueError(
            "the start must be a mapping of free variables by field, or a Start such as Zeros(), "
            f"got a {type(start).__name__}; give {{name: x}}, or ApproximateInverse(function)"
        )


def like_state(name: str, score: Tensor, x: Tensor) -> Tensor:
    """Returns the score of a field in the precision of its state, which must not be less.

    Raises:
        ValueError: If it is, or the score is on another device.
    """
    less = torch.promote_types(score.dtype, x.dtype) != x.dtype
    if less or score.device != x.device:
        raise ValueError(
            f"the score of {name} must have the precision and the device of the state, {x.dtype} "
            f"on {x.device}, got {score.dtype} on {score.device}: convert it"
        )
    return score.to(x.dtype)


def parts_of(found: Any) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Returns what a network returned.

    Raises:
        ValueError: If it is not maps, vectors and a memory.
    """
    match found:
        case (Tensor() as maps, Tensor() as vectors, tuple() | list() as memory):
            if all(isinstance(h, Tensor) for h in memory):
                return maps, vectors, tuple(memory)
    several = isinstance(found, tuple | list)
    said = [type(each).__name__ for each in found] if several else type(found).__name__
    raise ValueError(
        "the network must return maps, vectors and its memory, a tuple of tensors, got "
        f"{said}; return maps, vectors.new_zeros(len(vectors), 0) and () where there are none"
    )


def check_output(network: Any, given: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor]) -> None:
    """Checks the shapes of the maps and the vectors that a network returned.

    Others would broadcast, or be cut.

    Arguments:
        network: The network.
        given: The maps and vectors that it was called with.
        found: Those that it returned.

    Raises:
        ValueError: If they are not those that it says.
    """
    batch, size = len(given[1]), given[0].shape[2:]
    wanted = {
        "maps": (batch, network.maps_out, *size) if network.maps_out else None,
        "vectors": (batch, network.vectors_out) if network.vectors_out else None,
    }
    for (name, shape), each in zip(wanted.items(), found, strict=True):
        if shape is not None and tuple(each.shape) != shape:
            raise ValueError(
                f"the network must return {name} with shape {shape}, by its {name}_out and what "
                f"it was given, got {tuple(each.shape)}"
            )
