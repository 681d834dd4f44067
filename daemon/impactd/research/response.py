"""How books have responded to fills (`impactd.core.tca.response`), as a table by symbol and lag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from impactd.core.base.session import Sessions
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
from impactd.research.errors import MALFORMED, ValidationError

#: The row of all symbols together.
ALL: Final = "all"

_SIDES: Final = ("buy", "sell")


@dataclass(slots=True)
class BookMinutes:
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

    def take(self, record: Mapping[str, Any]) -> None:
        """Take in an estimate of a symbol's side, as published."""
        side, at = _SIDES.index(record["side"]), int(record["minute"])
        self.mid[at], self.half_spread[at] = float(record["mid"]), float(record["half_spread"])
        self.curves[side][at] = record["sizes"], record["slippage"]
        self.held += [q for q, _, _ in held(record["sizes"], record["slippage"], record["coverage"])[-1:]]

    def series(self, size: float) -> Series:
        """Return the minutes in order, with what `size` cost in each."""
        at = np.array(sorted(self.mid), np.int64)
        mid, half = (np.array([values[t] for t in at.tolist()], np.float64) for values in (self.mid, self.half_spread))
        return Series.of_minutes(at, mid, half, self.curves, size, self.interval_ns)


def responses(
    fills: pd.DataFrame,
    minutes: Mapping[str, BookMinutes],
    data: Sequence[Path] = (),
    *,
    settings: CoreSettings | None = None,
    symbol: str | None = None,
    codec: str | None = None,
    since: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """Return the response of the mid, the spread and both sides' depth to fills, by symbol and for all.

    Parameters
    ----------
    fills : DataFrame
        As `impactd.read_tca` gives them; busted ones have `qty` 0.
    minutes : mapping of str to BookMinutes
        By symbol; they decide the size whose walk measures depth.
    data : sequence of Path
        Recorded books, for lags of seconds; without them lags are minutes.
    settings : CoreSettings, optional
        Sessions, in whose zones half hours are, and the checks of books; UTC by default.
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
        1001 for recorded books that cannot be read, or of none of the symbols.
    """
    fills = fills[fills["qty"] > 0] if len(fills) else fills
    names = sorted(fills["symbol"].unique()) if len(fills) else []
    core = settings or CoreSettings()
    sessions = Sessions(core)
    sizes = {name: of.size for name, of in minutes.items()}
    if data:
        lags = OF_BOOKS
        tapes = {tape.symbol: tape for tape in read_tapes(data, core, codec=codec, symbol=symbol)}
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
            panels[name] = panel(series[name], at, sign, lags, counted, sessions.of(name))
    found = {name: respond([one], lags) for name, one in panels.items()}
    if len(found) != 1:
        found = {ALL: respond(list(panels.values()), lags)} | found
    return pd.concat([pd.DataFrame({"symbol": name, **of.columns()}) for name, of in found.items()], ignore_index=True)
