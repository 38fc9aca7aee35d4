"""Shapes of what is given: a map on other pixels broadcasts, or is cut, to a wrong image."""

from torch import Tensor


def check_shape(name: str, values: Tensor, shape: tuple[int | None, ...], what: str) -> None:
    """Checks the shape of a tensor behind its batch.

    Arguments:
        name: What it is called.
        values: The tensor.
        shape: The shape that it must have behind its first dimension; ``None`` is any number.
        what: Whose pixels those are, or what the numbers are.

    Raises:
        ValueError: If it has another.
    """
    found = tuple(values.shape[1:])
    if len(found) != len(shape) or any(
        n is not None and n != m for n, m in zip(shape, found, strict=True)
    ):
        said = ", ".join("C" if n is None else str(n) for n in shape)
        raise ValueError(
            f"{name} must have shape (B, {said}), {what}, got {tuple(values.shape)}; give it so, "
            "or make the simulator for what it is"
        )
