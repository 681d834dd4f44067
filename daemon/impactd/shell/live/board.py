"""The live page's content, folded from published messages.

Rules:

- the values are those of the topics: an estimate, model or plan is kept as the
  bytes that were published and shown as they are;
- everything is bounded: minutes and orders beyond a limit are forgotten, the
  oldest first;
- messages may come again (a backfill overlaps with what follows it): folding
  one twice changes nothing.

Computed here, and in no message: the saving so far (`impactd.shell.live.saving`), the sums
over an order's fills, and the slope of a minute's measured curve.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson

from impactd.core.base.topics import Topic
from impactd.shell.live.saving import SECOND_NS, Curve, FillPaid, Point, saving, twap_path

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

#: From this share of a minute on, a size counts as held in it.
HELD: Final = 0.95

#: What a fill's costs are made of.
PARTS: Final = ("spread_cost", "impact_cost", "timing_cost", "cost")


@dataclass(slots=True)
class SideBoard:
    """One symbol and side."""

    estimate: bytes | None = None
    model: bytes | None = None
    #: Minute to what was measured in it: sizes and price per share.
    curves: dict[int, Curve] = field(default_factory=dict)
    recent: deque[bytes] = field(default_factory=lambda: deque(maxlen=RECENT))
    #: minute, mid, half-spread, largest size that was held, continuous volume, slope of the curve.
    measured: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=CURVES))
    #: as_of, half-spread, beta, alpha, eta, delta and the standard errors of the half-spread and of the slope.
    fitted: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=CURVES))


@dataclass(slots=True)
class OrderBoard:
    """One parent order: its first plan with a schedule, its latest, and the path of what was executed."""

    latest: bytes
    plan: Message
    first: Message
    path: deque[Point] = field(default_factory=lambda: deque(maxlen=PATH))


@dataclass(slots=True)
class CostBoard:
    """What one order's fills have cost, the latest of each, and what is said of it since it has ended."""

    fills: dict[str, Message] = field(default_factory=dict)
    ended: bytes | None = None


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
    """

    def __init__(self) -> None:
        self.sides: dict[tuple[str, str], SideBoard] = {}
        self.orders: dict[str, OrderBoard] = {}
        self.costs: dict[str, CostBoard] = {}
        #: Every id of an order's chain to its first.
        self._ids: dict[str, str] = {}
        self.alerts: deque[bytes] = deque(maxlen=ALERTS)
        self.version = 0

    def take(self, topic: Topic, value: bytes) -> None:
        """Fold one published record in; what is no message of ours is left alone."""
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
                self._plan(value, message)
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
        if side.measured and minute <= side.measured[-1][0]:
            return
        side.estimate = value
        side.recent.append(value)
        side.curves[minute] = (message["sizes"], message["slippage"])
        if len(side.curves) > CURVES:
            del side.curves[next(iter(side.curves))]
        cells = zip(message["sizes"], message["slippage"], message["coverage"], strict=True)
        held = [(q, g, share) for q, g, share in cells if g is not None and share >= HELD]
        most = held[-1][0] if held else None
        volume = message["volume_continuous"]
        side.measured.append((minute, message["mid"], message["half_spread"], most, volume, slope(held)))

    def _model(self, value: bytes, message: Message) -> None:
        side, as_of = self._side(message), int(message["as_of"])
        if side.fitted and as_of <= side.fitted[-1][0]:
            return
        side.model = value
        terms = [message.get(name) for name in ("half_spread", "beta", "alpha", "eta", "delta")]
        se = message.get("se") or {}
        side.fitted.append((as_of, *terms, se.get("half_spread"), se.get("beta", se.get("eta"))))

    def _plan(self, value: bytes, message: Message) -> None:
        name = message["cl_ord_id"]
        known = self.orders.get(name)
        if known is None:
            if len(self.orders) >= MAX_ORDERS:
                gone = self.orders.pop(next(iter(self.orders)))
                for cl_ord_id in _ids_of(gone.plan):
                    self._ids.pop(cl_ord_id, None)
            known = self.orders[name] = OrderBoard(value, message, message)
        elif message["plan_version"] < known.plan["plan_version"]:
            if message["start"] and (not known.first["start"] or message["plan_version"] < known.first["plan_version"]):
                # Read after a later one: plans.latest comes before the history.
                known.first = message
            known.path.append(_point(message))
            return
        known.latest, known.plan = value, message
        self._ids |= dict.fromkeys(_ids_of(message), str(name))
        if not known.first["start"]:
            known.first = message
        known.path.append(_point(message))

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
        known.fills[message["exec_id"]] = message
        if len(known.fills) > FILLS:
            del known.fills[next(iter(known.fills))]

    # What is shown

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
        """Return an order's first and latest plan, its path and its saving so far; None if no order has the id."""
        order = self.find(cl_ord_id)
        if order is None:
            return None
        name = order.plan["cl_ord_id"]
        path = sorted(set(order.path))
        return {
            "cl_ord_id": name,
            "plan": orjson.Fragment(order.latest),
            "first": order.first,
            "path": [list(point) for point in path],
            "saving": self._saving(order, path),
            "costs": _costs(self.costs.get(name)),
        }

    def _saving(self, order: OrderBoard, path: Sequence[Point]) -> dict[str, Any]:
        side = self.sides.get((order.plan["symbol"], order.plan["side"]))
        costs = self.costs.get(order.plan["cl_ord_id"])
        twap = twap_path(order.first, path)
        found = saving(
            twap,
            path,
            {} if side is None else side.curves,
            () if costs is None else map(_paid, costs.fills.values()),
            _interval(order.plan),
        )
        arrival = None if costs is None else next((fill["arrival_px"] for fill in costs.fills.values()), None)
        in_bps = None if found.saved is None or not arrival else 1e4 * found.saved / (found.qty * arrival)
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


def _ids_of(plan: Message) -> Sequence[str]:
    """Return every id of an order's chain."""
    return plan.get("cl_ord_ids") or (plan["cl_ord_id"],)


def _paid(fill: Message) -> FillPaid:
    known = fill["mid"] is not None and fill["spread_cost"] is not None and fill["impact_cost"] is not None
    over_mid = fill["spread_cost"] + fill["impact_cost"] if known else None
    return FillPaid(int(fill["ts_event"]), float(fill["qty"]), over_mid)


def _costs(costs: CostBoard | None) -> dict[str, Any] | None:
    """Return the sums over an order's fills, and what was said at its end."""
    if costs is None:
        return None
    fills = [fill for fill in costs.fills.values() if fill["qty"]]
    # A sum with an unknown part is unknown.
    known = {part: all(fill[part] is not None for fill in fills) for part in PARTS}
    sums = {part: math.fsum(fill[part] for fill in fills) if known[part] else None for part in PARTS}
    ended = _fragment(costs.ended)
    return {"fills": len(fills), "qty": math.fsum(fill["qty"] for fill in fills)} | sums | {"ended": ended}


def _history(board: SideBoard) -> dict[str, Any]:
    measured, fitted = list(zip(*board.measured, strict=True)), list(zip(*board.fitted, strict=True))
    return {
        "estimates": [orjson.Fragment(value) for value in board.recent],
        "model": _fragment(board.model),
        "measured": dict(
            zip(("minute", "mid", "half_spread", "held_qty", "volume", "slope"), measured or [()] * 6, strict=True)
        ),
        "fitted": dict(
            zip(
                ("as_of", "half_spread", "beta", "alpha", "eta", "delta", "se_half_spread", "se_slope"),
                fitted or [()] * 8,
                strict=True,
            )
        ),
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
