"""Progress bars: for people at a terminal, and for nobody else."""

from tqdm import tqdm


def progress(label: str, *, total: int | None = None, enabled: bool = True) -> tqdm:
    """Creates a progress bar on the standard error; close it, or use it in a ``with`` statement.

    It appears after a second, leaves nothing behind, and stays off where the standard error is not
    a terminal (batch jobs, notebooks, pipes).

    Arguments:
        label: What is being done.
        total: Number of steps, each announced by ``.update()``, if it is known.
        enabled: ``False`` (``--quiet``) for no bar at all.
    """
    # None asks tqdm to look at the stream
    return tqdm(desc=label, total=total, delay=1, leave=False, disable=None if enabled else True)
