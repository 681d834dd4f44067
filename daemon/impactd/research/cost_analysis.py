r"""Costs after the trade, computed from published costs, minutes and plans of fills and orders.

Signs are those of the service: a positive cost is money lost.  A markout is the
reverse: positive where the price went the fill's way.

- `delay_cost`: ``sign * (arrival - decision) * order_qty``.  The decision price
  is the mid of the first plan, the arrival price that of the order's beginning.
  With it and the fees, the total is Perold's implementation shortfall from the
  decision on:

  .. math:: total = delay + spread + impact + timing + opportunity + fees .

- `markout_Nm_bps`: ``sign * (later - px) / px``, where `later` is the
  time-weighted mid of the minute that begins N minutes after the fill's own;
  `markout_close_bps` takes the last minute of the fill's session, once that
  has ended.
- `spread_capture`: ``sign * (mid - px) / half_spread``: 1 for a fill at the near
  touch, -1 at the far one.
- `pwp`: participation-weighted price, the minutes' mid weighted by continuous
  volume, from the order's first minute until the market had traded
  ``filled / rate``; null where it never did.
- `vwap_without_own`: the market's VWAP without the order's own fills, if all of
  them were printed.
- `modified_z`: ``0.6745 (x - median) / MAD`` of a fill's cost in basis points
  (Iglewicz and Hoaglin 1993); beyond 3.5 a fill is an outlier.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
import pandas as pd

from impactd.core.base.settings import SECOND_NS
from impactd.research.currencies import Rates, converted, multipliers
from impactd.research.errors import MALFORMED, MISSING_COLUMNS, ValidationError
from impactd.research.response import BookMinutes
from impactd.research.tca import UNREADABLE, Costs, published, read_tca

#: Horizons of markouts, minutes.
MARKOUTS: Final = (1, 5, 30)

#: A modified z-score beyond it is an outlier (Iglewicz and Hoaglin 1993).
OUTLIER: Final = 3.5

#: Parts of an order's cost, which sum to its total.
PARTS: Final = ("delay_cost", "spread_cost", "impact_cost", "timing_cost", "opportunity_cost", "fees")

#: Keys of a summary that are no text.
_KEYS: Final = ("hour", "urgency")
#: Columns of fills and orders that are money.
_MONEY: Final = (*PARTS, "total", "cost", "fee", "notional", "decision_value", "shortfall")

_TIME: Final = "datetime64[ns, UTC]"
_MINUTE: Final = pd.Timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Fees:
    """Fees of a symbol's fills, currency; negative: a rebate."""

    #: Per share. A fill that does not state which it was pays the larger one.
    taker: float = 0.0
    maker: float = 0.0
    #: Of the value.
    bps: float = 0.0


Schedule = dict[str, Fees]


class Analysis(NamedTuple):
    """Fills and orders with all measures; the fills' `outlier` states which of them are."""

    fills: pd.DataFrame
    orders: pd.DataFrame


def read_fees(path: Path) -> Schedule:
    """Read a schedule of fees: a TOML table for each pattern of symbols; the first that fits holds.

    A pattern with ``@``, such as ``["*@XNAS"]``, is of a symbol at the venue that a fill states; others, such as
    ``["*"]``, are of a symbol wherever it traded.

    Raises
    ------
    ValidationError
        1001 if it cannot be read, or has an unknown name.
    """
    known = {field.name for field in fields(Fees)}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        schedule = {
            pattern: Fees(**{name: float(value) for name, value in of.items()}) for pattern, of in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        remedy = f'give a table such as ["*"] with numbers for {", ".join(sorted(known))}'
        raise ValidationError(MALFORMED, f"fees: {path}: {error}", remedy) from error
    return schedule


def analyse(
    costs: Costs,
    minutes: pd.DataFrame,
    plans: pd.DataFrame,
    *,
    fees: Schedule | None = None,
    rate: float = 0.1,
    rates: Rates | None = None,
) -> Analysis:
    """Return all measures.

    Parameters
    ----------
    costs : Costs
        As `impactd.read_tca` gives them.
    minutes : DataFrame
        `symbol`, `minute` (UTC), `mid`, `volume_continuous` of each closed minute, sorted by minute.
    plans : DataFrame
        `cl_ord_id`, `as_of`, `mid`, `start` of each order's first plan; `start` is when the order may work.
        `urgency`, optional, is that of its latest plan.
    fees : mapping, optional
        Patterns of symbols and their fees.
    rate : float
        Participation of the participation-weighted price.
    rates : Rates, optional
        Converts all money to one currency.

    Raises
    ------
    ValidationError
        1001 for a currency without a rate.
    """
    fills = _fills(costs, minutes, fees or {})
    orders = _orders(costs.orders, fills, minutes, plans, rate)
    if rates is not None:
        fills, orders = converted(fills, _MONEY, rates), converted(orders, _MONEY, rates)
    known = plans.set_index("cl_ord_id").get("urgency", pd.Series(dtype=float))
    return Analysis(*(table.assign(urgency=table["cl_ord_id"].map(known).astype(float)) for table in (fills, orders)))


class Results(NamedTuple):
    """What `analyse` needs of a directory of results."""

    costs: Costs
    minutes: pd.DataFrame
    plans: pd.DataFrame
    #: Minutes of symbols with fills, with what their books cost.
    books: dict[str, BookMinutes]


def read_results(directory: Path) -> Results:
    """Read costs, minutes and first plans from what a replay, or a capture with outputs, has written.

    Raises
    ------
    ValidationError
        1001 if one of tca.jsonl, estimates.jsonl and plans.jsonl is missing or is something else.
    """
    paths = {name: found_in(directory, name) for name in ("tca", "estimates", "plans")}
    costs = read_tca(paths["tca"])
    plans: dict[str, tuple[Any, ...]] = {}
    urgencies: dict[str, float | None] = {}
    minutes: list[tuple[Any, ...]] = []
    books: dict[str, BookMinutes] = {}
    filled = set(costs.fills["symbol"]) if len(costs.fills) else set()
    try:
        for record in published(paths["estimates"]):
            name, mid = record["symbol"], record["mid"]
            if record["side"] == "buy":
                minutes.append((name, record["minute"], mid, record["volume_continuous"]))
            if name in filled and mid is not None and record.get("venue") is None:
                if name not in books:
                    books[name] = BookMinutes(int(record["interval_s"]) * SECOND_NS)
                books[name].take(record)
        for record in published(paths["plans"]):
            start = record["start"][0] if record["start"] else None
            name = record["cl_ord_id"]
            plans.setdefault(name, (name, record["as_of"], record["mid"], start))
            urgencies[name] = record.get("urgency")
    except UNREADABLE as error:
        remedy = "give the directory of a replay, or of a capture with --outputs"
        raise ValidationError(MALFORMED, f"results: {directory}: {error!r}", remedy) from error
    made = pd.DataFrame(minutes, columns=["symbol", "minute", "mid", "volume_continuous"])
    made["minute"] = pd.to_datetime(pd.to_numeric(made["minute"]), unit="ns", utc=True)
    first = pd.DataFrame(list(plans.values()), columns=["cl_ord_id", "as_of", "mid", "start"])
    first["urgency"] = first["cl_ord_id"].map(urgencies).astype(float)
    for name in ("as_of", "start"):
        first[name] = pd.to_datetime(pd.to_numeric(first[name]).astype("Int64"), unit="ns", utc=True)
    return Results(costs, made.astype({"mid": float, "volume_continuous": float}).sort_values("minute"), first, books)


def found_in(directory: Path, name: str) -> Path:
    """Return the file of a topic's messages in a directory of results.

    Raises
    ------
    ValidationError
        1001 if it has none.
    """
    for path in (directory / f"{name}.jsonl", directory / f"{name}.jsonl.gz"):
        if path.exists():
            return path
    remedy = "give the directory of a replay, or of a capture with --outputs"
    raise ValidationError(MALFORMED, f"results: {directory} has no {name}.jsonl", remedy)


def summary(table: pd.DataFrame, by: Sequence[str], zone: str = "UTC") -> pd.DataFrame:
    """Return orders or fills by their keys: counts, sums of money, and averages weighted by value.

    `hour` and `date`, local to `zone`, are keys of both, besides their columns.
    """
    is_orders = "order_qty" in table
    at = table["as_of" if is_orders else "ts_event"].dt.tz_convert(zone)
    table = table.assign(hour=at.dt.hour, date=at.dt.date.astype(str))
    for key in by:
        if key not in table:
            other = table.select_dtypes(exclude=["number", "bool", "datetimetz", "datetime"])
            texts = [str(name) for name in other if table[name].notna().any() or name == "currency"]
            known = ", ".join(sorted({*texts, *(name for name in _KEYS if name in table)}))
            raise ValidationError(MISSING_COLUMNS, f"by: {key} is no column", f"give one of {known}")
    sums = (*PARTS, "total") if is_orders else ("spread_cost", "impact_cost", "timing_cost", "cost", "fee")
    rates = [name for name in map(str, table) if name.endswith("_bps") or name == "spread_capture"]
    keys = table[list(by)].drop_duplicates().sort_values(list(by)).reset_index(drop=True)
    group = table.groupby(list(by), sort=True, dropna=False).ngroup()
    size = group.groupby(group).size()
    value = table["notional"]

    def added(values: pd.Series) -> pd.Series:
        return values.groupby(group).sum(min_count=1)

    found = {"count": size}
    for name in ("notional", *sums):  # one unknown part makes a sum unknown
        found[name] = added(table[name]).where(table[name].notna().groupby(group).all())
    for name in rates:
        weight = added(value.where(table[name].notna()))
        found[name] = added(table[name] * value) / weight.where(weight > 0)
    return pd.concat([keys, pd.DataFrame(found)], axis=1)


def _sign(side: pd.Series) -> pd.Series:
    return side.map({"buy": 1.0, "sell": -1.0}).astype(float)


def _fills(costs: Costs, minutes: pd.DataFrame, fees: Schedule) -> pd.DataFrame:
    fills = costs.fills[costs.fills["qty"] > 0].reset_index(drop=True) if "qty" in costs.fills else costs.fills
    if fills.empty:
        return fills.assign(fee=pd.Series(dtype=float), outlier=pd.Series(dtype=bool))
    sign = _sign(fills["side"])
    px = fills["px"].astype(float)
    notional = px.abs() * fills["qty"] * multipliers(fills)
    positive = px.where(px > 0)
    own = fills["ts_event"].dt.floor("min")
    found: dict[str, pd.Series] = {"notional": notional}
    mids = minutes.set_index(["symbol", "minute"])["mid"]
    for ahead in MARKOUTS:
        at = pd.MultiIndex.from_arrays([fills["symbol"], own + ahead * _MINUTE])
        later = pd.Series(mids.reindex(at).to_numpy(dtype=float), index=fills.index)
        found[f"markout_{ahead}m_bps"] = sign * (later - px) / positive * 1e4
    found["markout_close_bps"] = sign * (_closes(fills, minutes, costs.days) - px) / positive * 1e4
    half = fills["half_spread"].astype(float)
    found["spread_capture"] = (sign * (fills["mid"].astype(float) - px) / half).where(half > 0)
    found["fee"] = _fee(fills, notional, fees)
    cost_bps = fills["arrival_bps"].astype(float)
    middle = cost_bps.median()
    spread = (cost_bps - middle).abs().median()
    found["modified_z"] = 0.6745 * (cost_bps - middle) / (spread if spread > 0 else np.nan)
    return fills.assign(**found, outlier=found["modified_z"].abs() > OUTLIER)


def _closes(fills: pd.DataFrame, minutes: pd.DataFrame, days: pd.DataFrame) -> pd.Series:
    """Return the last mid of each fill's session; NaN while it has not ended."""
    if days.empty:
        return pd.Series(np.nan, index=fills.index)
    # Times may be of another unit in frames of one's own, and are matched by their type.
    opens = days[["symbol", "day"]].astype({"day": _TIME}).drop_duplicates().sort_values("day")
    known = minutes.dropna(subset=["mid"]).astype({"minute": _TIME})
    placed = pd.merge_asof(known, opens, left_on="minute", right_on="day", by="symbol")
    last = placed.dropna(subset=["day"]).groupby(["symbol", "day"])["mid"].last()
    mine = fills[["symbol", "ts_event"]].astype({"ts_event": _TIME}).rename_axis("row").reset_index()
    mine = pd.merge_asof(mine.sort_values("ts_event"), opens, left_on="ts_event", right_on="day", by="symbol")
    at = pd.MultiIndex.from_arrays([mine["symbol"], mine["day"]])
    closes = pd.Series(last.reindex(at).to_numpy(dtype=float), index=mine["row"])
    return closes.reindex(fills.index)


def _fee(fills: pd.DataFrame, notional: pd.Series, fees: Schedule) -> pd.Series:
    def of(place: str) -> Fees:
        symbol, _, venue = place.rpartition("@")
        for pattern, fee in fees.items():
            if fnmatchcase(place, pattern) if "@" in pattern and venue else fnmatchcase(symbol, pattern):
                return fee
        return Fees()

    venue = fills["venue"].fillna("").astype(str) if "venue" in fills else ""
    place = fills["symbol"] + "@" + venue
    by_place = {one: of(one) for one in place.unique()}
    taker, maker, bps = (
        place.map({one: getattr(fee, name) for one, fee in by_place.items()}).astype(float)
        for name in ("taker", "maker", "bps")
    )
    unsaid = taker.where(taker > maker, maker)
    per_share = unsaid.where(fills["liquidity"] != "taker", taker).where(fills["liquidity"] != "maker", maker)
    return per_share * fills["qty"] + bps * 1e-4 * notional


def _orders(
    orders: pd.DataFrame, fills: pd.DataFrame, minutes: pd.DataFrame, plans: pd.DataFrame, rate: float
) -> pd.DataFrame:
    if orders.empty:
        return orders
    sign = _sign(orders["side"])
    first = plans.set_index("cl_ord_id").reindex(orders["cl_ord_id"])
    first.index = orders.index
    arrival = orders["arrival_px"].astype(float)
    decision = first["mid"].astype(float)
    own = fills.groupby("cl_ord_id")
    # Unknown where a quantity counts as filled without a report.
    traded = (orders["avg_px"].astype(float) * orders["cum_qty"]).where(orders["cum_qty"] > 0, 0.0)
    points = multipliers(orders)
    found = {
        "notional": traded.abs() * points,
        "decision_px": decision,
        "delay_cost": sign * (arrival - decision) * orders["order_qty"] * points + 0.0,
        "decision_value": decision * orders["order_qty"] * points,
        "fees": orders["cl_ord_id"].map(own["fee"].sum()).fillna(0.0).where(traded.notna()),
    }
    orders = orders.assign(**found)
    orders["total"] = sum((orders[part].astype(float) for part in PARTS[1:]), orders[PARTS[0]].astype(float))
    decided = orders["decision_value"]
    orders["total_bps"] = orders["total"] / decided.where(decided > 0) * 1e4
    # Results of before it was published have no volume.
    volume = orders.get("market_volume", pd.Series(np.nan, index=orders.index)).astype(float)
    vwap = orders["market_vwap"].astype(float)
    without = volume - orders["cum_qty"]
    orders["vwap_without_own"] = ((vwap * volume - traded) / without).where(without > 0)
    by_symbol = {symbol: _Day.of(mine) for symbol, mine in minutes.dropna().groupby("symbol")}
    orders["pwp"] = [
        _pwp(by_symbol.get(symbol), start, filled / rate)
        for symbol, start, filled in zip(orders["symbol"], first["start"], orders["cum_qty"], strict=True)
    ]
    price = orders["avg_px"].astype(float)
    for name in ("pwp", "vwap_without_own"):
        orders[f"{name}_bps"] = sign * (price - orders[name]) / orders[name].where(orders[name] > 0) * 1e4
    return orders


class _Day(NamedTuple):
    """The minutes of a symbol: when each begins, its mid and its continuous volume."""

    minute: np.ndarray[Any, Any]
    mid: np.ndarray[Any, Any]
    volume: np.ndarray[Any, Any]

    @classmethod
    def of(cls, minutes: pd.DataFrame) -> Self:
        columns = (minutes["mid"].to_numpy(dtype=float), minutes["volume_continuous"].to_numpy(dtype=float))
        return cls(minutes["minute"].astype(_TIME).to_numpy(dtype="datetime64[ns]"), *columns)


def _pwp(day: _Day | None, start: pd.Timestamp, wanted: float) -> float:
    """Return the average mid over the first `wanted` shares of continuous volume; NaN where there are not as many."""
    if day is None or not wanted > 0 or pd.isna(start):
        return float("nan")
    first = int(np.searchsorted(day.minute, start.floor("min").to_datetime64()))
    mid, volume = day.mid[first:], day.volume[first:]
    before = np.concatenate(([0.0], np.cumsum(volume)))
    if before[-1] < wanted:
        return float("nan")
    taken = np.clip(wanted - before[:-1], 0.0, volume)
    return float(taken @ mid / wanted)
