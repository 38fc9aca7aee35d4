"""Shapes of what is given: a map on other pixels broadcasts, or is cut, to a wrong image."""

from torch import Tensor


def check_shape(name: str, values: Tensor, shape: tuple[int, ...], what: str) -> None:
    """Checks the shape of a tensor behind its batch.

    Arguments:
        name: What it is called.
        values: The tensor.
        shape: The shape that it must have behind its first dimension.
        what: Whose pixels those are, or what the numbers are.

    Raises:
        ValueError: If it has another.
    """
    if values.ndim != len(shape) + 1 or tuple(values.shape[1:]) != shape:
        raise ValueError(
            f"{name} must have shape (B, {', '.join(map(str, shape))}), {what}, got "
            f"{tuple(values.shape)}; give it so, or make the simulator for what it is"
        )
