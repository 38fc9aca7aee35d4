"""Progress bars: for people at a terminal, and for nobody else."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

from tqdm import tqdm


def progress(
    label: str, *, total: int | None = None, initial: int = 0, enabled: bool = True
) -> tqdm:
    """Creates a progress bar on the standard error; close it, or use it in a ``with`` statement.

    It appears after a second, leaves nothing behind, and stays off where the standard error is not
    a terminal (batch jobs, notebooks, pipes).

    Arguments:
        label: What is being done.
        total: Number of steps, each announced by ``.update()``, if it is known.
        initial: Number of those that were made before.
        enabled: ``False`` (``--quiet``) for no bar at all.
    """
    # None asks tqdm to look at the stream
    return tqdm(
        desc=label,
        total=total,
        initial=initial,
        delay=1,
        leave=False,
        disable=None if enabled else True,
    )


class Stages:
    """Creates a bar that names what is being done, and keeps the time of every stage.

    The name of a stage is shown when it begins, before any work. Use it in a ``with`` statement.

    Arguments:
        shares: Stages in their order, each with its part of the bar, as long as it usually takes.
        enabled: ``False`` (``--quiet``) for no bar at all.
    """

    def __init__(self, shares: Mapping[str, float], *, enabled: bool = True):
        self.shares = shares
        self.seconds: dict[str, float] = {}
        self._bar = tqdm(
            total=sum(shares.values()),
            bar_format="{desc}{percentage:3.0f}%|{bar}| {elapsed}",
            leave=False,
            disable=None if enabled else True,
        )

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @contextmanager
    def __call__(self, name: str, *, parts: int = 1) -> Iterator[Callable[[], None]]:
        """Opens the context of a stage, and times it.

        Arguments:
            name: One of ``shares``.
            parts: Parts that are announced within it; more than that do not move the bar.

        Yields:
            What announces a part that is done.
        """
        names, share = list(self.shares), self.shares[name]
        end = sum(self.shares[n] for n in names[: names.index(name) + 1])

        def move(to: float) -> None:
            self._bar.update(max(0.0, min(to, end) - self._bar.n))

        move(end - share)  # past what was left out
        self._bar.set_description(name)
        start = perf_counter()
        yield lambda: move(self._bar.n + share / parts)
        move(end)
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start
