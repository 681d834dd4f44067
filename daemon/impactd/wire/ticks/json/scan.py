"""The compiled scanner of our JSON ticks, seen from Python.

It joins a batch into one buffer, unless it is one, runs the pass of `impactd.wire.ticks.json.kernel`
over it, gives the pass what it stops for, and hands back the rows with the
records that were left over.

The table of symbols and the width of the level arrays are caches: what they
hold decides how fast a record is taken, never what becomes of it.  A scanner
belongs to one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from impactd.core.inputs.columns import Values
from impactd.core.inputs.ticks import Float, Int
from impactd.wire.codec import Limits
from impactd.wire.rows import RowColumns, Rows
from impactd.wire.ticks.json.kernel import (
    AGGRESSOR,
    ASK_PX,
    ASK_SZ,
    BID_PX,
    BID_SZ,
    DONE,
    FLAGS,
    KIND,
    MORE_ROWS,
    N_ASK,
    N_BID,
    NEW_SYMBOL,
    RECORD,
    SYMBOL,
    TS_EVENT,
    TS_RECV,
    scan,
)
from impactd.wire.ticks.scanning.symbols import SymbolCache
from impactd.wire.times import UNITS


class Scanner:
    """Scans batches of JSON ticks.

    Parameters
    ----------
    limits : Limits
        What exceeds them is left over, for the reference to refuse.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._width = min(10, limits.max_levels)
        self._cache = SymbolCache()

    def scan(self, values: Sequence[bytes]) -> tuple[Rows, list[int]]:
        """Scan one batch; return the rows that are sure, and the indices of the records that are left."""
        n = len(values)
        if self._cache.is_full:
            self._cache.forget()
        joined = values if isinstance(values, Values) else _joined(values)
        data = joined.data
        buf = np.frombuffer(data, np.uint8)
        unsure = np.zeros(n, np.bool_)
        ints, levels, prints = _blank(n, self._width)
        record = rows = n_local = 0
        while True:
            status, record, rows, n_local, at = scan(
                buf,
                joined.start,
                joined.stop,
                self._limits.max_message_bytes,
                UNITS[self._limits.time_unit],
                record,
                rows,
                n_local,
                ints,
                levels,
                prints,
                self._cache.table,
                unsure,
            )
            if status == DONE:
                break
            width = levels.shape[2]
            if status == NEW_SYMBOL:
                given = self._cache.remember(data[at : data.index(b'"', at)])
            elif status == MORE_ROWS:
                ints, levels, prints = _grown(ints, levels, prints, 2 * len(ints) + 16, width, rows)
                given = True
            else:
                given = width < self._limits.max_levels
                if given:
                    wider = min(2 * width + 1, self._limits.max_levels)
                    ints, levels, prints = _grown(ints, levels, prints, len(ints), wider, rows)
            if not given:
                unsure[record] = True
                record += 1
        symbols = self._cache.end_batch(n_local)
        return self._finish(ints[:rows], levels, prints[:rows], symbols), np.flatnonzero(unsure).tolist()

    def _finish(self, ints: Int, levels: Float, prints: Float, symbols: tuple[str, ...]) -> Rows:
        columns = RowColumns(
            record=ints[:, RECORD].copy(),
            symbol=ints[:, SYMBOL].astype(np.int32),
            kind=ints[:, KIND].astype(np.uint8),
            flags=ints[:, FLAGS].astype(np.uint8),
            ts_event=ints[:, TS_EVENT].copy(),
            ts_recv=ints[:, TS_RECV].copy(),
            bid_px=levels[BID_PX],
            bid_sz=levels[BID_SZ],
            ask_px=levels[ASK_PX],
            ask_sz=levels[ASK_SZ],
            n_bid=ints[:, N_BID].astype(np.int32),
            n_ask=ints[:, N_ASK].astype(np.int32),
            px=prints[:, 0].copy(),
            qty=prints[:, 1].copy(),
            aggressor=ints[:, AGGRESSOR].astype(np.int8),
            publisher=np.zeros(len(ints), np.int64),
            instrument=np.zeros(len(ints), np.int64),
        )
        rows = columns.rows(symbols, len(ints))
        self._width = max(rows.batch.n_levels, 1)
        return rows


def _joined(values: Sequence[bytes]) -> Values:
    n = len(values)
    start = np.zeros(n + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, n) + 1, out=start[1:])
    return Values(b"\0".join([*values, b""]), start[:-1], start[1:] - 1)


def _blank(n: int, width: int) -> tuple[Int, Float, Float]:
    return np.empty((n, AGGRESSOR + 1), np.int64), np.empty((ASK_SZ + 1, n, width)), np.empty((n, 2))


def _grown(ints: Int, levels: Float, prints: Float, n: int, width: int, rows: int) -> tuple[Int, Float, Float]:
    """Return larger arrays with the first `rows` rows of the given ones."""
    more_ints, more_levels, more_prints = _blank(n, width)
    more_ints[:rows] = ints[:rows]
    more_prints[:rows] = prints[:rows]
    more_levels[:, :rows, : levels.shape[2]] = levels[:, :rows]
    more_levels[:, :rows, levels.shape[2] :] = np.nan
    return more_ints, more_levels, more_prints
