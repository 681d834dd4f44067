"""What a source is, and how one is found."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol, runtime_checkable

import pandas as pd

from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.sources.fields import Record

#: Entry point group that sources of others are found in.
GROUP: Final = "impactd.sources"


@runtime_checkable
class Source(Protocol):
    """Reads one vendor's records."""

    def books(self, records: Iterable[Record]) -> pd.DataFrame:
        """Return records, in the vendor's shape and order, as books in the long form.

        Returns
        -------
        DataFrame
            time (UTC), side, price, size, level (0 is the best), and ``symbol``
            where the records name several; `Snapshots` makes it.

        Raises
        ------
        ValidationError
            1001 for values that cannot be used, 1002 for fields that are missing.
        """

    def fetch(self, symbol: str, start: pd.Timestamp, end: pd.Timestamp) -> list[Record]:
        """Return all of the vendor's records of [start, end), by its own client.

        Raises
        ------
        ValidationError
            1001 if the client or its credentials are missing, or it fails.
        """


def source_names() -> list[str]:
    """Return the names of all sources that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def source(name: str) -> Source:
    """Return a source by its name.

    Raises
    ------
    ValidationError
        1001 if there is none, or it cannot be loaded.
    """
    found: EntryPoint | None = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        names = ", ".join(source_names())
        raise ValidationError(MALFORMED, f"source: {name!r} is none", f"give one of {names}, or install its package")
    try:
        made = found.load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise ValidationError(
            MALFORMED, f"source: {name} ({found.value}) cannot be loaded: {error}", "mend or remove its package"
        ) from error
    if not isinstance(made, Source):
        raise ValidationError(
            MALFORMED, f"source: {name} ({found.value}) has no books and fetch", "see impactd.research.sources.Source"
        )
    return made
