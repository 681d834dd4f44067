"""Progress on standard error, on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a progress bar; nothing is shown unless `shown`."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  # only where it is wanted
    from rich.progress import Progress  # noqa: PLC0415  # as above

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda n: bar.advance(task, n)
        bar.update(task, completed=total)
