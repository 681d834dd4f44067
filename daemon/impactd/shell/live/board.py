"""The live page's content, folded from published messages.

Rules:

- the values are those of the topics: an estimate, model or plan is kept as the
  bytes that were published and shown as they are;
- everything is bounded: minutes and orders beyond a limit are forgotten, the
  oldest first; what a day keeps for each minute is in arrays, so that 500
  symbols and 1,000 orders stay below 500 MB;
- messages may come again (a backfill overlaps with what follows it): folding
  one twice changes nothing.

Computed here, and in no message: the saving so far (`impactd.shell.live.saving`), the sums
over an order's fills, and the slope of a minute's measured curve.
"""

from __future__ import annotations

import math
import struct
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from impactd.core.base.session import Sessions
from impactd.core.base.settings import SECOND_NS, CoreSettings
from impactd.core.base.topics import Topic
from impactd.core.tca.response import Curve, held
from impactd.shell.live.response import Fill, Minutes, response
from impactd.shell.live.saving import FillPaid, Point, saving, twap_path

Message = Mapping[str, Any]

#: Minutes of which whole curves are kept, a symbol and side; a day of 24 hours, for the savings of its orders.
CURVES: Final = 1_440

#: Minutes whose measured curves are sent.
RECENT: Final = 10

#: Symbols, orders and alerts that are kept.
MAX_SYMBOLS: Final = 2_000
MAX_ORDERS: Final = 2_000
ALERTS: Final = 100

#: Points of an order's path, and its fills.
PATH: Final = 3_000
FILLS: Final = 10_000

#: What a fill's costs are made of.
PARTS: Final = ("spread_cost", "impact_cost", "timing_cost")


#: Fields of a plan that its list of orders does not need: a thousand schedules would be ten megabytes.
SCHEDULE: Final = ("start", "qty", "cap", "certificate", "model")


class Columns:
    """Columns of numbers, ascending by the first, at most so many rows; None is kept as NaN.

    Parameters
    ----------
    codes : mapping of str to str
        Name of each column to its type in `array`; the first orders the rows.
    most : int
        Rows; the first ones go.
    """

    def __init__(self, codes: Mapping[str, str], most: int) -> None:
        self.columns: dict[str, array[Any]] = {name: array(code) for name, code in codes.items()}
        self._key = next(iter(self.columns.values()))
        self._most = most

    def add(self, *row: Any) -> bool:
        """Add a row that is behind the last one; return whether it is."""
        if self._key and row[0] <= self._key[-1]:
            return False
        self.insert(*row)
        return True

    def find(self, key: int) -> int | None:
        """Return where the row of a key is, or None."""
        at = bisect_left(self._key, key)
        return at if at < len(self._key) and self._key[at] == key else None

    def insert(self, *row: Any) -> None:
        """Add a row, whose key is not there yet, at its place."""
        at = bisect_left(self._key, row[0])
        for column, value in zip(self.columns.values(), row, strict=True):
            column.insert(at, math.nan if value is None else value)
        if len(self._key) > self._most:
            for column in self.columns.values():
                del column[0]

    def shown(self) -> dict[str, Any]:
        """Return each column by its name; JSON has null for NaN."""
        return {name: column.tolist() for name, column in self.columns.items()}


def _over_time(time: str, *names: str) -> Columns:
    """Return columns over times (ns), of a day at most."""
    return Columns({time: "q", **dict.fromkeys(names, "d")}, CURVES)


@dataclass(slots=True)
class SideBoard:
    """One symbol and side."""

    estimate: bytes | None = None
    model: bytes | None = None
    #: The last estimate in short: minute, interval_s, mid, half-spread, largest size that was held.
    last: Mapping[str, Any] | None = None
    #: Minute to the price per share of each size, NaN for None; sizes with the first minute that has them.
    curves: dict[int, array[float]] = field(default_factory=dict)
    sizes: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    recent: deque[bytes] = field(default_factory=lambda: deque(maxlen=RECENT))
    measured: Columns = field(
        default_factory=lambda: _over_time("minute", "mid", "half_spread", "held_qty", "volume", "slope")
    )
    fitted: Columns = field(
        default_factory=lambda: _over_time(
            "as_of", "half_spread", "beta", "alpha", "eta", "delta", "se_half_spread", "se_slope"
        )
    )

    def curves_from(self, ts: int) -> dict[int, Curve]:
        """Return the measured curves of the minutes from `ts` (ns) on."""
        found: dict[int, Curve] = {}
        since = [minute for minute, _ in self.sizes]
        for minute, prices in self.curves.items():
            if minute >= ts:
                sizes = self.sizes[bisect_left(since, minute + 1) - 1][1]
                found[minute] = (sizes, [None if math.isnan(g) else g for g in prices])
        return found


class Plans:
    """The plans of an order, ascending by version, at most `PATH`: when, why, what was executed, and its record."""

    def __init__(self) -> None:
        self._rows = Columns(_PLAN, PATH)

    def put(self, version: int, point: Point, why: tuple[str, str], place: tuple[int, int] | None) -> None:
        """Add a plan, or the place of one that is known; `why` has its reason and its status."""
        at = self._rows.find(version)
        if at is None:
            # -1: it cannot be read again.
            self._rows.insert(version, *point, _WHYS.setdefault(why, len(_WHYS)), *(place or (-1, -1)))
        elif place is not None:
            columns = self._rows.columns
            columns["partition"][at], columns["offset"][at] = place

    def path(self) -> list[Point]:
        """Return what was executed when each plan was made, ascending by time."""
        return sorted(map(Point, *(self._rows.columns[name] for name in Point._fields)))

    def place(self, version: int) -> tuple[int, int] | None:
        """Return partition and offset of a plan; None where it is not known."""
        at, columns = self._rows.find(version), self._rows.columns
        if at is None or columns["partition"][at] < 0:
            return None
        return columns["partition"][at], columns["offset"][at]

    def shown(self) -> list[list[Any]]:
        """Return version, as_of (ns), reason and status of each."""
        whys, columns = list(_WHYS), self._rows.columns
        rows = zip(columns["version"], columns["as_of"], columns["why"], strict=True)
        return [[version, as_of, *whys[why]] for version, as_of, why in rows]


#: Columns of `Plans`: the version, a `Point`, why it was made (`_WHYS`), and its record.
_PLAN: Final = {
    "version": "q",
    "as_of": "q",
    "order_qty": "d",
    "cum_qty": "d",
    "shortfall_qty": "d",
    "end": "q",
    "why": "H",
    "partition": "i",
    "offset": "q",
}

#: Reason and status of plans, each pair kept once.
_WHYS: Final[dict[tuple[str, str], int]] = {}


@dataclass(slots=True)
class OrderBoard:
    """One parent order: its first plan with a schedule, its latest two, and the path of what was executed."""

    latest: bytes
    head: Message
    first: bytes
    first_version: int
    #: Whether the first plan has a schedule.
    scheduled: bool
    previous: bytes | None = None
    plans: Plans = field(default_factory=Plans)
    #: What the response to its fills was computed from, and the response.
    response: tuple[Any, dict[str, Any]] | None = None

    @property
    def version(self) -> int:
        """`plan_version` of the latest plan."""
        return int(self.head["plan_version"])


class FillRow(NamedTuple):
    """What is kept of a fill's costs; None where it is unknown."""

    ts_event: int
    qty: float
    px: float
    mid: float | None
    arrival_px: float | None
    spread_cost: float | None
    impact_cost: float | None
    timing_cost: float | None
    cost: float | None

    def pack(self) -> bytes:
        """Return the row in a third of the memory."""
        return _ROW.pack(self.ts_event, *(math.nan if value is None else value for value in self[1:]))

    @classmethod
    def unpack(cls, row: bytes) -> FillRow:
        """Return a packed row."""
        ts_event, qty, px, *rest = _ROW.unpack(row)
        return cls(ts_event, qty, px, *(None if math.isnan(value) else value for value in rest))


_ROW: Final = struct.Struct("<q8d")


@dataclass(slots=True)
class CostBoard:
    """What one order's fills have cost, the latest of each, and what was published at its end."""

    #: By exec_id, packed.
    packed: dict[str, bytes] = field(default_factory=dict)
    ended: bytes | None = None
    #: Cost against the arrival price, bps; NaN until it is computed again.
    bps: float | None = None

    @property
    def fills(self) -> list[FillRow]:
        """The latest record of each fill."""
        return list(map(FillRow.unpack, self.packed.values()))


class Board:
    """Everything that is shown.

    Attributes
    ----------
    sides : dict of (str, str) to SideBoard
        By symbol and side.
    costs : dict of str to CostBoard
        By order; their topic may be read before its plans.
    version : int
        Grows with every message.

    Parameters
    ----------
    settings : CoreSettings, optional
        Whose sessions decide in which zone half hours are.
    """

    def __init__(self, settings: CoreSettings | None = None) -> None:
        self._sessions = Sessions(settings or CoreSettings())
        self.sides: dict[tuple[str, str], SideBoard] = {}
        self.orders: dict[str, OrderBoard] = {}
        self.costs: dict[str, CostBoard] = {}
        #: Every id of an order's chain to its first.
        self._ids: dict[str, str] = {}
        self.alerts: deque[bytes] = deque(maxlen=ALERTS)
        self.version = 0

    def take(self, topic: Topic, value: bytes, place: tuple[int, int] | None = None) -> None:
        """Fold one published record in; what is no message of ours is left alone.

        Parameters
        ----------
        place : tuple of int, optional
            Partition and offset of the record.
        """
        try:
            message = orjson.loads(value)
        except orjson.JSONDecodeError:
            return
        if not isinstance(message, dict):
            return
        self.version += 1
        match topic:
            case Topic.ESTIMATES:
                self._estimate(value, message)
            case Topic.MODELS:
                self._model(value, message)
            case Topic.PLANS | Topic.PLANS_LATEST:
                self._plan(value, message, place if topic is Topic.PLANS else None)
            case Topic.TCA:
                self._cost(value, message)
            case Topic.ALERTS:
                if value not in self.alerts:
                    self.alerts.append(value)
            case _:
                pass

    def _side(self, message: Message) -> SideBoard:
        key = (message["symbol"], message["side"])
        if key not in self.sides and len(self.sides) >= 2 * MAX_SYMBOLS:
            del self.sides[next(iter(self.sides))]
        return self.sides.setdefault(key, SideBoard())

    def _estimate(self, value: bytes, message: Message) -> None:
        side, minute = self._side(message), int(message["minute"])
        cells = held(message["sizes"], message["slippage"], message["coverage"])
        most = cells[-1][0] if cells else None
        row = (message["mid"], message["half_spread"], most, message["volume_continuous"], slope(cells))
        if not side.measured.add(minute, *row):
            return
        side.estimate = value
        short = {name: message[name] for name in ("minute", "interval_s", "mid", "half_spread")}
        side.last = short | {"held_qty": most}
        side.recent.append(value)
        sizes = tuple(message["sizes"])
        if not side.sizes or side.sizes[-1][1] != sizes:
            side.sizes.append((minute, sizes))
        side.curves[minute] = array("d", [math.nan if g is None else g for g in message["slippage"]])
        if len(side.curves) > CURVES:
            oldest = next(iter(side.curves))
            del side.curves[oldest]
            if len(side.sizes) > 1 and side.sizes[1][0] <= oldest:
                del side.sizes[0]

    def _model(self, value: bytes, message: Message) -> None:
        side = self._side(message)
        terms = [message.get(name) for name in ("half_spread", "beta", "alpha", "eta", "delta")]
        se = message.get("se") or {}
        row = (*terms, se.get("half_spread"), se.get("beta", se.get("eta")))
        if side.fitted.add(int(message["as_of"]), *row):
            side.model = value

    def _plan(self, value: bytes, message: Message, place: tuple[int, int] | None) -> None:
        name, version = str(message["cl_ord_id"]), int(message["plan_version"])
        known, head = self.orders.get(name), _head(message)
        if known is None:
            if len(self.orders) >= MAX_ORDERS:
                gone = self.orders.pop(next(iter(self.orders)))
                for cl_ord_id in _ids_of(gone.head):
                    self._ids.pop(cl_ord_id, None)
            known = self.orders[name] = OrderBoard(value, head, value, version, bool(message["start"]))
        elif version > known.version:
            known.previous = known.latest
        if version >= known.version:
            known.latest, known.head = value, head
            self._ids |= dict.fromkeys(_ids_of(message), name)
        elif version == known.version - 1:
            # Read after a later one: plans.latest comes before the history.
            known.previous = value
        if message["start"] and (not known.scheduled or version < known.first_version):
            known.first, known.first_version, known.scheduled = value, version, True
        known.plans.put(version, _point(message), (message["reason"], message["status"]), place)

    def _cost(self, value: bytes, message: Message) -> None:
        if message["type"] == "day_cost":
            return
        name = message["cl_ord_id"]
        if name not in self.costs and len(self.costs) >= MAX_ORDERS:
            del self.costs[next(iter(self.costs))]
        known = self.costs.setdefault(name, CostBoard())
        if message["type"] == "order_cost":
            known.ended = value
            return
        known.bps = math.nan
        known.packed[message["exec_id"]] = FillRow(*(message[field] for field in FillRow._fields)).pack()
        if len(known.packed) > FILLS:
            del known.packed[next(iter(known.packed))]

    # What is shown

    def heads(self) -> dict[str, Any]:
        """Return what the lists show: each symbol's last minute in short, each order's plan without its schedule."""
        symbols: dict[str, dict[str, Any]] = {}
        for (symbol, side), board in sorted(self.sides.items()):
            symbols.setdefault(symbol, {"symbol": symbol, "buy": None, "sell": None})[side] = board.last
        orders = [self._head_of(name, order) for name, order in sorted(self.orders.items())]
        return {"symbols": list(symbols.values()), "orders": orders}

    def _head_of(self, name: str, order: OrderBoard) -> Message:
        costs = self.costs.get(name)
        if costs is not None and costs.bps is not None and math.isnan(costs.bps):
            costs.bps = _arrival_bps(costs.fills, order.head)
        return {**order.head, "cost_bps": None if costs is None else costs.bps}

    def symbols(self) -> list[dict[str, Any]]:
        """Return each symbol's last estimate and model, by side, as they were published."""
        found: dict[str, dict[str, Any]] = {}
        for (symbol, side), board in sorted(self.sides.items()):
            entry = found.setdefault(symbol, {"symbol": symbol, "buy": None, "sell": None})
            entry[side] = {"estimate": _fragment(board.estimate), "model": _fragment(board.model)}
        return list(found.values())

    def symbol(self, symbol: str) -> dict[str, Any] | None:
        """Return the last curves of a symbol and its coefficients over the day; None where nothing is known."""
        sides = {side: self.sides.get((symbol, side)) for side in ("buy", "sell")}
        if not any(sides.values()):
            return None
        return {"symbol": symbol} | {side: None if b is None else _history(b) for side, b in sides.items()}

    def plans(self) -> list[orjson.Fragment]:
        """Return each order's latest plan, as it was published."""
        return [orjson.Fragment(order.latest) for _, order in sorted(self.orders.items())]

    def find(self, cl_ord_id: str) -> OrderBoard | None:
        """Return the order that has this id in its chain, or None."""
        return self.orders.get(self._ids.get(cl_ord_id, cl_ord_id))

    def order(self, cl_ord_id: str) -> dict[str, Any] | None:
        """Return an order's first plan and latest two, its path and its saving so far; None if no order has the id."""
        order = self.find(cl_ord_id)
        if order is None:
            return None
        name, first = order.head["cl_ord_id"], orjson.loads(order.first)
        path = order.plans.path()
        costs = self.costs.get(name)
        fills = [] if costs is None else costs.fills
        return {
            "cl_ord_id": name,
            "plan": orjson.Fragment(order.latest),
            "previous": _fragment(order.previous),
            "first": first,
            "path": [list(point) for point in path],
            "plans": order.plans.shown(),
            "saving": self._saving(order, first, path, fills),
            "costs": None if costs is None else _costs(fills, order.head) | {"ended": _fragment(costs.ended)},
            "fills": _fills_by_minute(fills, _interval(order.head)),
            "arrival_px": _arrival(fills),
            "response": self._response(order, name),
        }

    def _response(self, order: OrderBoard, name: str) -> dict[str, Any]:
        """Return the response of the symbol's books to an order's fills, computed again when fills or minutes come."""
        symbol, interval = order.head["symbol"], _interval(order.head)
        fills = [
            Fill(fill.ts_event, 1 if of.head["side"] == "buy" else -1, other == name)
            for other, of in self.orders.items()
            if of.head["symbol"] == symbol and other in self.costs
            for fill in self.costs[other].fills
            if fill.qty
        ]
        buy, sell = (self.sides.get((symbol, side), SideBoard()) for side in ("buy", "sell"))
        seen = len(fills), sum(fill.counted for fill in fills), buy.last and buy.last["minute"], len(sell.curves)
        if order.response is None or order.response[0] != seen:
            columns = buy.measured.columns
            most = np.array([*columns["held_qty"], *sell.measured.columns["held_qty"]])
            minute, mid, half_spread = (np.array(columns[one]) for one in ("minute", "mid", "half_spread"))
            curves = buy.curves_from(0), sell.curves_from(0)
            minutes = Minutes(minute, mid, half_spread, curves, most)
            order.response = seen, response(minutes, fills, interval, self._sessions.of(symbol))
        return order.response[1]

    def _saving(
        self, order: OrderBoard, first: Message, path: Sequence[Point], fills: Sequence[FillRow]
    ) -> dict[str, Any]:
        side = self.sides.get((order.head["symbol"], order.head["side"]))
        twap = twap_path(first, path)
        interval, multiplier = _interval(order.head), float(first.get("multiplier", 1.0))
        found = saving(
            twap,
            path,
            {} if side is None or not twap else side.curves_from(twap[0][0] - interval),
            map(_paid, fills),
            interval,
            multiplier,
        )
        arrival, in_bps = _arrival(fills), None
        if found.saved is not None and arrival is not None and arrival > 0.0:
            in_bps = 1e4 * found.saved / (found.qty * arrival * multiplier)
        return asdict(found) | {"saved_bps": in_bps, "twap": twap}


def slope(held: Sequence[tuple[float, float, float]]) -> float | None:
    """Return the weighted least squares slope of (size, price per share, weight); None for fewer than two sizes."""
    if len(held) < 2:
        return None
    total = math.fsum(w for _, _, w in held)
    mean_q = math.fsum(w * q for q, _, w in held) / total
    mean_g = math.fsum(w * g for _, g, w in held) / total
    over = math.fsum(w * (q - mean_q) * (g - mean_g) for q, g, w in held)
    return over / math.fsum(w * (q - mean_q) ** 2 for q, _, w in held)


def _head(plan: Message) -> Message:
    """Return a plan without its schedule, with the number of its intervals and of those at their cap."""
    caps = zip(plan["qty"], plan["cap"], strict=True)
    capped = sum(cap is not None and 0 < cap <= qty for qty, cap in caps)
    rest = {name: value for name, value in plan.items() if name not in SCHEDULE}
    rest["prior"] = bool((plan.get("model") or {}).get("prior"))
    return rest | {"intervals": len(plan["start"]), "capped": capped}


def _ids_of(plan: Message) -> Sequence[str]:
    """Return every id of an order's chain."""
    return plan.get("cl_ord_ids") or (plan["cl_ord_id"],)


def _paid(fill: FillRow) -> FillPaid:
    known = fill.mid is not None and fill.spread_cost is not None and fill.impact_cost is not None
    over_mid = fill.spread_cost + fill.impact_cost if known else None  # type: ignore[operator]  # known says so
    return FillPaid(fill.ts_event, fill.qty, over_mid)


def _arrival(fills: Iterable[FillRow]) -> float | None:
    return next((fill.arrival_px for fill in fills), None)


def _arrival_bps(fills: Iterable[FillRow], head: Message) -> float | None:
    """Return the fills' cost against the arrival price in bps of what was filled; None where it is unknown."""
    kept = [fill for fill in fills if fill.qty]
    arrival = _arrival(kept)
    if not arrival:
        return None
    sign = 1.0 if head["side"] == "buy" else -1.0
    qty = math.fsum(fill.qty for fill in kept)
    return 1e4 * sign * (math.fsum(fill.qty * fill.px for fill in kept) / (qty * arrival) - 1.0)


def _fills_by_minute(fills: Iterable[FillRow], interval_ns: int) -> list[list[float]]:
    """Return the average price and the quantity of an order's fills by minute: [minute (ns), price, shares]."""
    found: dict[int, tuple[float, float]] = {}
    for fill in fills:
        minute = fill.ts_event // interval_ns * interval_ns
        value, qty = found.get(minute, (0.0, 0.0))
        found[minute] = value + fill.qty * fill.px, qty + fill.qty
    return [[minute, value / qty, qty] for minute, (value, qty) in sorted(found.items()) if qty]


def _costs(every: Sequence[FillRow], head: Message) -> dict[str, Any]:
    """Return the sums over an order's fills."""
    fills = [fill for fill in every if fill.qty]
    sums = {part: _sum(getattr(fill, part) for fill in fills) for part in PARTS}
    # The parts in this order, as on `impactd.tca`: they add up to the last bit. Without a mid only the whole is known.
    known = None not in sums.values()
    cost = sum(sums[part] or 0.0 for part in PARTS) if known else _sum(fill.cost for fill in fills)
    found = {"fills": len(fills), "qty": math.fsum(fill.qty for fill in fills)} | sums | {"cost": cost}
    return found | {"arrival_bps": _arrival_bps(fills, head)}


def _sum(values: Iterable[float | None]) -> float | None:
    """Return a sum; one with an unknown part is unknown."""
    known: list[float] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return math.fsum(known)


def _history(board: SideBoard) -> dict[str, Any]:
    return {
        "estimates": [orjson.Fragment(value) for value in board.recent],
        "model": _fragment(board.model),
        "measured": board.measured.shown(),
        "fitted": board.fitted.shown(),
    }


def _fragment(value: bytes | None) -> orjson.Fragment | None:
    return None if value is None else orjson.Fragment(value)


def _point(plan: Message) -> Point:
    start = plan["start"]
    end = int(start[-1]) // _interval(plan) * _interval(plan) + _interval(plan) if start else 0
    order_qty, cum_qty, shortfall_qty = (float(plan[name]) for name in ("order_qty", "cum_qty", "shortfall_qty"))
    return Point(int(plan["as_of"]), order_qty, cum_qty, shortfall_qty, end)


def _interval(plan: Message) -> int:
    return int(plan["interval_s"]) * SECOND_NS
