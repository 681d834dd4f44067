"""How a symbol's books have responded to an order's fills, by the minute, from what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from impactd.core.base.session import Session
from impactd.core.inputs.ticks import Float, Int
from impactd.core.tca.response import Curve, Lags, Series, panel, respond


class Fill(NamedTuple):
    """A fill of the symbol: ns, +1 for a buy and -1 for a sell, and whether its response is asked for."""

    at: int
    sign: int
    counted: bool


class Minutes(NamedTuple):
    """A symbol's minutes as published; `curves` of both sides by minute, `held` the largest sizes that minutes held."""

    minute: Int
    mid: Float
    half_spread: Float
    curves: Sequence[Mapping[int, Curve]]
    held: Float


def response(minutes: Minutes, fills: Sequence[Fill], interval_ns: int, session: Session) -> dict[str, Any]:
    """Return the response by name, ready for JSON; null where too little was seen, with the reason in ``text``."""
    lags = Lags.of_intervals(interval_ns)
    held = minutes.held[np.isfinite(minutes.held)]
    panels = []
    if len(held) and any(fill.counted for fill in fills):
        size = float(np.median(held))
        series = Series.of_minutes(minutes.minute, minutes.mid, minutes.half_spread, minutes.curves, size, interval_ns)
        at = np.array([fill.at for fill in fills], np.int64)
        sign = np.array([fill.sign for fill in fills], np.int64)
        counted = np.array([fill.counted for fill in fills], np.bool_)
        panels = [panel(series, at, sign, lags, counted, session)]
    columns = respond(panels, lags).columns()
    return {name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in columns.items()}
