"""What FITS headers and JSON can hold."""

import os
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy import ndarray
from torch import Tensor


def card(value: Any, comment: str) -> tuple[Any, str]:
    """Returns the value and comment of a card, the comment cut to what fits."""
    # 80 characters hold the keyword, "= ", a value of at least 20 with quotes doubled, and " / "
    width = len(value) + value.count("'") + 2 if isinstance(value, str) else 20
    room = 67 - max(20, width)
    return value, ascii_only(comment)[: max(room, 0)]


def ascii_only(text: str) -> str:
    """Writes out what a FITS header cannot hold."""
    text = text.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else " " for c in text)


def plain(value: Any) -> Any:
    """Reduces numbers, arrays and containers to what JSON holds; the not finite to ``None``."""
    if isinstance(value, np.generic | ndarray | Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return None if isinstance(value, float) and not isfinite(value) else value
