"""How books have responded to fills (`impactd.core.tca.response`), as a table by symbol and lag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from impactd.core.base.settings import SECOND_NS, CoreSettings
from impactd.core.tca.response import (
    OF_BOOKS,
    Curve,
    Lags,
    Panel,
    Series,
    held,
    panel,
    respond,
)
from impactd.research.backtest.days import read_tapes
from impactd.research.cost_analysis import found_in
from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.tca import UNREADABLE, published

#: The row of all symbols together.
ALL: Final = "all"

_SIDES: Final = ("buy", "sell")


@dataclass(slots=True)
class _Minutes:
    """One symbol's minutes, as published."""

    interval_ns: int
    mid: dict[int, float] = field(default_factory=dict)
    half_spread: dict[int, float] = field(default_factory=dict)
    curves: tuple[dict[int, Curve], dict[int, Curve]] = field(default_factory=lambda: ({}, {}))
    held: list[float] = field(default_factory=list)

    @property
    def size(self) -> float | None:
        """The median of the largest sizes that the minutes held; None where none was held."""
        return float(np.median(self.held)) if self.held else None

    def series(self, size: float) -> Series:
        at = np.array(sorted(self.mid), np.int64)
        mid, half = (np.array([values[t] for t in at.tolist()], np.float64) for values in (self.mid, self.half_spread))
        return Series.of_minutes(at, mid, half, self.curves, size, self.interval_ns)


def responses(
    fills: pd.DataFrame,
    results: Path,
    data: Sequence[Path] = (),
    *,
    symbol: str | None = None,
    codec: str | None = None,
    since: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """Return the response of the mid, the spread and both sides' depth to fills, by symbol and for all.

    Parameters
    ----------
    fills : DataFrame
        As `impactd.read_tca` gives them; busted ones have `qty` 0.
    results : Path
        Directory with ``estimates.jsonl``: the minutes, and the size whose walk measures depth.
    data : sequence of Path
        Recorded books, for lags of seconds; without them lags are minutes.
    since : Timestamp, optional
        Only fills from then on count; earlier ones keep their surroundings out of the controls.

    Returns
    -------
    DataFrame
        `symbol`, `lag_s`, `events`, `blocks`, `overlapping`, each measure in basis points and its standard error
        (``_se``), `text`: why there is none.

    Raises
    ------
    ValidationError
        1001 for a file that cannot be read.
    """
    fills = fills[fills["qty"] > 0] if len(fills) else fills
    names = sorted(fills["symbol"].unique()) if len(fills) else []
    minutes = _minutes(results, set(names))
    sizes = {name: of.size for name, of in minutes.items()}
    if data:
        lags = OF_BOOKS
        tapes = {tape.symbol: tape for tape in read_tapes(data, CoreSettings(), codec=codec, symbol=symbol)}
        if names and tapes.keys().isdisjoint(names):
            what = f"data: it has books of {', '.join(sorted(tapes))}, and fills are of {', '.join(names)}"
            raise ValidationError(MALFORMED, what, "name files of symbols with fills, or their symbol")
        series = {
            name: Series.of_books(tapes[name].prevailing, size)
            for name, size in sizes.items()
            if size and name in tapes
        }
    else:
        lags = Lags.of_intervals(max((of.interval_ns for of in minutes.values()), default=60 * SECOND_NS))
        series = {name: of.series(size) for name, of in minutes.items() if (size := of.size)}
    panels: dict[str, Panel] = {}
    for name in names:
        if name in series:
            mine = fills[fills["symbol"] == name]
            at = mine["ts_event"].astype("datetime64[ns, UTC]").astype(np.int64).to_numpy()
            sign = np.where(mine["side"] == "buy", 1, -1)
            counted = np.ones(len(at), np.bool_) if since is None else at >= since.value
            panels[name] = panel(series[name], at, sign, lags, counted)
    found = {name: respond([one], lags) for name, one in panels.items()}
    if len(found) != 1:
        found = {ALL: respond(list(panels.values()), lags)} | found
    return pd.concat([pd.DataFrame({"symbol": name, **of.columns()}) for name, of in found.items()], ignore_index=True)


def _minutes(results: Path, names: set[str]) -> dict[str, _Minutes]:
    path = found_in(results, "estimates")
    found: dict[str, _Minutes] = {}
    try:
        for record in published(path):
            if record["symbol"] not in names or record.get("venue") is not None or record["mid"] is None:
                continue
            name, side, at = record["symbol"], _SIDES.index(record["side"]), int(record["minute"])
            of = found.setdefault(name, _Minutes(int(record["interval_s"]) * SECOND_NS))
            of.mid[at], of.half_spread[at] = float(record["mid"]), float(record["half_spread"])
            of.curves[side][at] = record["sizes"], record["slippage"]
            of.held += [q for q, _, _ in held(record["sizes"], record["slippage"], record["coverage"])[-1:]]
    except UNREADABLE as error:
        remedy = "give the directory of a replay, or of a capture with --outputs"
        raise ValidationError(MALFORMED, f"results: {path}: {error!r}", remedy) from error
    return found
