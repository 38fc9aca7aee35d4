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
            f"{name} must have shape (B, {said}), {what}, got {tuple(values.shape)}; give it so"
        )


def check_pixels(name: str, values: Tensor, shape: tuple[int, int], what: str) -> None:
    """Checks the last two dimensions of a tensor.

    Arguments:
        name: What it is called.
        values: The tensor.
        shape: Numbers of rows and columns that it must have.
        what: Whose pixels those are.

    Raises:
        ValueError: If it has others.
    """
    if tuple(values.shape[-2:]) != shape:
        raise ValueError(
            f"{name} must have {shape[0]} x {shape[1]} pixels, {what}, got shape "
            f"{tuple(values.shape)}; give it so"
        )
