"""What an order would cost, on recorded days: the service's estimate as a function."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from impactd.config.calendars import calendar
from impactd.core.base.settings import CoreSettings
from impactd.core.planning.estimate import NoEstimateError
from impactd.research.errors import MALFORMED, ValidationError
from impactd.shell.estimate import QuestionError, engine_at, question
from impactd.shell.lines import InputFileError
from impactd.wire.codec import Limits


def estimate(
    data: str | Path | Sequence[str | Path],
    *,
    symbol: str,
    side: str,
    qty: float,
    start: Any,
    end: Any,
    session: str = "24/7",
    max_cost_bps: float | None = None,
    settings: CoreSettings | None = None,
    **terms: Any,
) -> dict[str, Any]:
    """Return what an order would cost, with what recorded days had shown when it begins.

    Parameters
    ----------
    data : path or sequence of paths
        Recorded days in any format that `impactd replay` reads.
    side : str
        'buy' or 'sell'.
    qty : float
        Shares.
    start, end : datetime, str or int
        The window; datetimes and ISO texts need a zone, integers are UTC ns.
    session : str
        Calendar, such as 'XNYS', where no `settings` are given.
    max_cost_bps : float, optional
        Also find the largest quantity within this cost.
    **terms
        Further instructions of an order, such as `participation_rate`.

    Returns
    -------
    dict
        ``schedules`` (impactd's plan, TWAP, VWAP and POV with cost, bands, split and timing risk), ``auctions``,
        ``frontier`` by urgency, ``volume_share``, ``largest_qty``, ``doubts``; see
        `impactd.core.planning.estimate.CostEstimate`.

    Raises
    ------
    ValidationError
        1001 if a file or a field cannot be used, or there is no data on the symbol.
    """
    begin, until = _ns(start, "start"), _ns(end, "end")
    fields = {"symbol": symbol, "side": side, "order_qty": qty, "start": begin, "end": until, **terms}
    if max_cost_bps is not None:
        fields["max_cost_bps"] = max_cost_bps
    paths = [Path(data)] if isinstance(data, str | Path) else [Path(path) for path in data]
    try:
        core = settings or CoreSettings(session=calendar(session).rule)
        core = dataclasses.replace(core, apply="in_event_time")
        asked = question(orjson.dumps(fields), begin, Limits())
        return engine_at(paths, core, begin, symbol=None).estimate(*asked).as_fields()
    except (NoEstimateError, QuestionError, InputFileError, ValueError) as error:
        raise ValidationError(MALFORMED, str(error), "correct what is named") from error


def _ns(value: Any, name: str) -> int:
    if isinstance(value, int):
        return value
    at = pd.Timestamp(value)
    if at.tzinfo is None:
        raise ValidationError(MALFORMED, f"{name}: {value} has no zone", "give one, such as 2025-04-03T10:00-04:00")
    return int(at.as_unit("ns").value)
