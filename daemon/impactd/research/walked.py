"""What a schedule costs at the books of a recorded day, as replay and backtest price it.

The definition is `impactd.core.books.interval_cost`: in each interval the quantity walks the books that prevailed,
weighted by time, once.  A schedule of the batch API, priced here, has the cost that ``impactd replay`` gives for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from impactd.core.base.settings import BookSettings
from impactd.core.base.topics import SIDES
from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.core.inputs.ticks import Float, Int, TickBatch
from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.fitted import SIDES as SIDE_NAMES
from impactd.research.frames import COLUMNS, MAX_LEVELS, iter_books, numbers, require_columns, times_ns
from impactd.research.minutes import as_batch

#: Bytes of work at a time, while a table is turned into books.
_PART_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Walks:
    """The books of one recorded day."""

    prevailing: Prevailing
    interval_ns: int

    @classmethod
    def of(cls, table: pd.DataFrame, interval: str | pd.Timedelta = "1min", books: BookSettings | None = None) -> Walks:
        """Return the books of a table in the long form, one symbol."""
        require_columns(table, COLUMNS, "orderbook_data")
        try:
            interval_ns = pd.Timedelta(interval).value
        except (ValueError, TypeError) as error:
            text = f"interval: {interval!r} is not a duration"
            raise ValidationError(MALFORMED, text, 'give one such as "1min"') from error
        settings = replace(books or BookSettings(), interval_ns=interval_ns, max_levels=MAX_LEVELS)
        parts: list[TickBatch] = []
        for part in iter_books(table, _PART_BYTES):
            parts.append(as_batch(part, sum(map(len, parts))))
        return cls(Prevailing.of(TickBatch.concat(parts), settings), interval_ns)

    def costs(self, starts: Int, qty: Float, side: str) -> tuple[Float, Float]:
        """Return cost over mid, currency, and shares beyond the visible depth, of walks by interval.

        Parameters
        ----------
        starts : ndarray of int64, shape (n,)
            Starts of intervals, ns.
        qty : ndarray of float64, shape (n,)
            Shares.

        Returns
        -------
        cost, beyond : ndarray of float64, shape (n,)
            NaN for a quantity in an interval without a book.
        """
        if side not in SIDE_NAMES:
            raise ValidationError(MALFORMED, f"side: {side!r} is none", f"give one of {', '.join(SIDE_NAMES)}")
        first = int(starts.min())
        n = (int(starts.max()) - first) // self.interval_ns + 1
        intervals = Intervals.of(self.prevailing, first, n, self.interval_ns)
        return intervals.costs(SIDES.index(side), (starts - first) // self.interval_ns, qty)


def realised_cost(
    orderbook_data: pd.DataFrame,
    schedule: Mapping[Any, float] | pd.Series[float],
    *,
    side: str = "buy",
    interval: str | pd.Timedelta = "1min",
    books: BookSettings | None = None,
) -> dict[str, Any]:
    """Return what a schedule would have cost at recorded books.

    Parameters
    ----------
    orderbook_data : DataFrame
        Long form, one symbol.
    schedule : Series or mapping
        Shares by start of an interval (times as in `orderbook_data`: datetimes, ISO texts or whole nanoseconds).
    side : str
        'buy' or 'sell'.
    books : BookSettings, optional
        Further rules of the service, such as `max_book_age_ns`.

    Returns
    -------
    dict
        ``cost`` (currency over mid; NaN where an interval that trades has no book), ``cost_bps`` (of the value at
        ``arrival_px``, the mid at the first interval), ``qty`` (shares), ``beyond_depth_qty`` (shares that no book
        showed, priced on with the book's own slope), ``by_interval`` (Series of the cost by start).

    Raises
    ------
    ValidationError
        1001 malformed input, 1002 missing columns.

    Examples
    --------
    >>> times = pd.to_datetime(["2025-04-03 13:30", "2025-04-03 13:31"], utc=True)
    >>> books = pd.DataFrame({"time": times.repeat(2), "side": ["bid", "ask"] * 2, "price": [9.9, 10.1, 9.8, 10.2],
    ...                       "size": 500.0, "level": 0})
    >>> found = realised_cost(books, {"2025-04-03 13:30": 100.0, "2025-04-03 13:31": 50.0})
    >>> round(found["cost"], 6), round(found["cost_bps"], 6), found["arrival_px"]
    (20.0, 133.333333, 10.0)
    """
    table = pd.Series(schedule, dtype=np.float64) if not isinstance(schedule, pd.Series) else schedule
    qty = numbers(table, "schedule")
    if not len(qty) or not (np.isfinite(qty).all() and (qty >= 0.0).all()):
        raise ValidationError(MALFORMED, "schedule: needs shares of 0 or more", "give one for each interval")
    walks = Walks.of(orderbook_data, interval, books)
    starts = times_ns(pd.Series(table.index), "schedule")
    if np.any(starts % walks.interval_ns):
        raise ValidationError(MALFORMED, "schedule: holds times that start no interval", f"give whole {interval}")
    cost, beyond = walks.costs(starts, qty, side)
    total, arrival = float(cost.sum()), walks.prevailing.mid_from(int(starts.min()))
    value = float(qty.sum()) * (arrival or 0.0)
    return {
        "cost": total,
        "cost_bps": 1e4 * total / value if value > 0.0 else np.nan,
        "qty": float(qty.sum()),
        "arrival_px": arrival,
        "beyond_depth_qty": float(beyond.sum()),
        "by_interval": pd.Series(cost, index=table.index, name="cost"),
    }
