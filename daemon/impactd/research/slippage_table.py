"""Tables of slippage, and the books behind them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from impactd.core.base.settings import BookSettings
from impactd.core.books.grid import DEPTH_SHARE, whole_lot
from impactd.core.inputs.ticks import Float, Int
from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.frames import Books, iter_books, numbers
from impactd.research.progress import progress

_SIDES: Final = np.array(["buy", "sell"], dtype=object)


@dataclass(frozen=True, slots=True, eq=False)
class Walked:
    """Slippage of consecutive times; arrays of shape (n, 2, n_sizes)."""

    time: pd.Index[Any]
    sizes: Float
    slippage: Float
    coverage: Float
    lower_bound: Float
    half_spread: Float
    mid: Float

    def table(self) -> pd.DataFrame:
        """Return a row a (time, side, size)."""
        n, n_sizes = len(self.time), len(self.sizes)
        rows = 2 * n_sizes
        return pd.DataFrame(
            {
                "time": self.time.repeat(rows),
                "side": np.tile(np.repeat(_SIDES, n_sizes), n),
                "size": np.tile(self.sizes, 2 * n),
                "slippage": self.slippage.ravel(),
                "coverage": self.coverage.ravel(),
                "lower_bound": self.lower_bound.ravel(),
                "half_spread": np.repeat(self.half_spread, rows),
                "mid": np.repeat(self.mid, rows),
            }
        )


class Parts:
    """A table's books, read again in parts each time they are asked for."""

    def __init__(self, table: pd.DataFrame, limit_bytes: int, rejected: dict[str, int], *, shown: bool) -> None:
        self._table, self._limit, self._rejected, self._shown = table, limit_bytes, rejected, shown

    def __iter__(self) -> Iterator[Books]:
        self._rejected.clear()
        with progress("walking books", len(self._table), shown=self._shown) as step:
            for books in iter_books(self._table, self._limit):
                for reason, count in books.rejected.items():
                    self._rejected[reason] = self._rejected.get(reason, 0) + count
                yield books
                step(len(books) * 2 * books.bid_px.shape[1])


def checked_sizes(trade_sizes: Iterable[float]) -> Float:
    """Return trade sizes ascending, each once."""
    sizes = np.unique(numbers(pd.Series(list(trade_sizes)), "trade_sizes"))
    if not len(sizes) or not (np.isfinite(sizes).all() and (sizes > 0.0).all()):
        raise ValidationError(MALFORMED, "trade_sizes: needs positive, finite sizes", "give shares, or leave it out")
    return sizes


def default_sizes(parts: Iterable[Books]) -> Float | None:
    """Return sixteen equal steps up to `DEPTH_SHARE` of the mean visible depth, in whole shares where all sizes are."""
    total, count, whole = 0.0, 0, True
    for books in parts:
        depths = books.depths()
        total += float(depths.sum())
        count += len(depths)
        whole = whole and whole_lot(books.bid_sz, books.ask_sz) is not None
    if not count:
        return None
    n_sizes = BookSettings().n_sizes
    sizes = np.arange(1, n_sizes + 1, dtype=np.float64) * (DEPTH_SHARE * total / count / n_sizes)
    return np.unique(np.maximum(np.round(sizes), 1.0)) if whole else sizes


def joined(parts: list[Walked]) -> pd.DataFrame:
    """Return many small parts, each with sizes of its own, as one table."""
    rows: Int = np.array([2 * len(part.sizes) for part in parts], np.int64)
    return pd.DataFrame(
        {
            "time": parts[0].time.append([part.time for part in parts[1:]]).repeat(rows),
            "side": np.concatenate([np.repeat(_SIDES, len(part.sizes)) for part in parts]),
            "size": np.concatenate([np.tile(part.sizes, 2) for part in parts]),
            "slippage": np.concatenate([part.slippage.ravel() for part in parts]),
            "coverage": np.concatenate([part.coverage.ravel() for part in parts]),
            "lower_bound": np.concatenate([part.lower_bound.ravel() for part in parts]),
            "half_spread": np.repeat(np.concatenate([part.half_spread for part in parts]), rows),
            "mid": np.repeat(np.concatenate([part.mid for part in parts]), rows),
        }
    )
