"""The protocol of a source, and the registry of sources: the one place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol, runtime_checkable

import pandas as pd

from impactd.core.base.registry import Registry, UnknownNameError
from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.sources.fields import Record


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


SOURCES: Final[Registry[Callable[[], Source]]] = Registry(
    "source",
    "impactd.sources",
    {
        "bloomberg": "impactd.research.sources.bloomberg:BloombergSource",
        "lseg": "impactd.research.sources.lseg:LsegSource",
        "polygon": "impactd.research.sources.polygon:PolygonSource",
    },
)


def source_names() -> list[str]:
    """Return the names of all sources that are installed."""
    return sorted(SOURCES.names())


def source(name: str) -> Source:
    """Return a source by its name."""
    try:
        made = SOURCES.get(name)()
    except UnknownNameError as error:
        raise ValidationError(MALFORMED, str(error), "or install its package") from error
    except (ImportError, TypeError) as error:
        raise ValidationError(MALFORMED, f"source {name}: {error}", "repair or remove its package") from error
    if not isinstance(made, Source):
        raise ValidationError(MALFORMED, f"source {name} has no books and fetch", "see impactd.research.sources.Source")
    return made
