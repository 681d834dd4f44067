"""What there is to see, folded from published messages.

Rules:

- the values are those of the topics: an estimate, model or plan is kept as the
  bytes that were published and shown as they are;
- everything is bounded: minutes and orders beyond a limit are forgotten, the
  oldest first;
- messages may come again (a backfill overlaps with what follows it): folding
  one twice changes nothing.

The saving so far is the one figure that is not in a message.  For each closed
minute it prices what the order has executed, and what TWAP would have, on the
curve that was measured in that minute; sizes between two of the grid are
interpolated, sizes beyond it cost the last one's price.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from impactd.core.messages import Topic

Message = Mapping[str, Any]

#: Minutes of which whole curves are kept, a symbol and side; a day of 24 hours, for the savings of its orders.
CURVES: Final = 1_440

#: Minutes whose measured curves are sent.
RECENT: Final = 10

#: Symbols, orders and alerts that are kept.
MAX_SYMBOLS: Final = 2_000
MAX_ORDERS: Final = 2_000
ALERTS: Final = 100

#: Points of an order's path.
PATH: Final = 3_000

SECOND_NS: Final = 1_000_000_000


@dataclass(slots=True)
class SideBoard:
    """One symbol and side."""

    estimate: bytes | None = None
    model: bytes | None = None
    #: Minute to what was measured in it: sizes and price per share.
    curves: dict[int, tuple[Sequence[float], Sequence[float | None]]] = field(default_factory=dict)
    recent: deque[bytes] = field(default_factory=lambda: deque(maxlen=RECENT))
    #: minute, mid, half-spread, largest size that was always held, continuous volume.
    measured: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=CURVES))
    #: as_of, half-spread, beta, alpha, eta, delta and the standard errors of the half-spread and of the slope.
    fitted: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=CURVES))


@dataclass(slots=True)
class OrderBoard:
    """One parent order: its first plan with a schedule, its latest, and the path of what was executed."""

    latest: bytes
    plan: Message
    first: Message
    #: as_of, order_qty, cum_qty, shortfall_qty, end of the plan.
    path: deque[tuple[int, float, float, float, int]] = field(default_factory=lambda: deque(maxlen=PATH))


class Board:
    """Everything that is shown.

    Attributes
    ----------
    sides : dict of (str, str) to SideBoard
        By symbol and side.
    orders : dict of str to OrderBoard
    alerts : deque of bytes
    version : int
        Grows with every message.
    """

    def __init__(self) -> None:
        self.sides: dict[tuple[str, str], SideBoard] = {}
        self.orders: dict[str, OrderBoard] = {}
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
        held = [size for size, share in zip(message["sizes"], message["coverage"], strict=True) if share >= 0.95]
        volume = message["volume_continuous"]
        side.measured.append((minute, message["mid"], message["half_spread"], held[-1] if held else None, volume))

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
                del self.orders[next(iter(self.orders))]
            known = self.orders[name] = OrderBoard(value, message, message)
        elif message["plan_version"] < known.plan["plan_version"]:
            if message["start"] and (not known.first["start"] or message["plan_version"] < known.first["plan_version"]):
                # Read after a later one: plans.latest comes before the history.
                known.first = message
            known.path.append(_point(message))
            return
        known.latest, known.plan = value, message
        if not known.first["start"]:
            known.first = message
        known.path.append(_point(message))

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

    def order(self, name: str) -> dict[str, Any] | None:
        """Return an order's first and latest plan, its path, and its saving so far; None where it is not known."""
        order = self.orders.get(name)
        if order is None:
            return None
        path = sorted(set(order.path))
        return {
            "cl_ord_id": name,
            "plan": orjson.Fragment(order.latest),
            "first": order.first,
            "path": [list(point) for point in path],
            "saving": self._saving(order, path),
        }

    def _saving(self, order: OrderBoard, path: Sequence[tuple[int, float, float, float, int]]) -> dict[str, Any]:
        side = self.sides.get((order.plan["symbol"], order.plan["side"]))
        twap = twap_path(order.first, path)
        cost = even = 0.0
        minutes = unpriced = 0
        interval_ns = int(order.plan["interval_s"]) * SECOND_NS
        times = [point[0] for point in path]
        first = twap[0][0] if twap else 0
        for minute, (sizes, slippage) in side.curves.items() if side is not None and twap else ():
            end = minute + interval_ns
            if end <= first or end > path[-1][0] + interval_ns // 2:
                continue
            ours = _cum_at(path, times, end) - _cum_at(path, times, minute)
            theirs = _on(twap, end) - _on(twap, minute)
            mine, other = price(sizes, slippage, ours), price(sizes, slippage, theirs)
            if mine is None or other is None:
                unpriced += 1
                continue
            minutes += 1
            cost += ours * mine
            even += theirs * other
        return {"cost": cost, "twap_cost": even, "minutes": minutes, "unpriced": unpriced, "twap": twap}


def twap_path(first: Message, path: Sequence[tuple[int, float, float, float, int]]) -> list[tuple[int, float]]:
    """Return the knots (ns, shares) of an even pace; an amended quantity or window bends it from then on."""
    if not first["start"]:
        return []
    knots = [(int(first["start"][0]), 0.0)]
    quantity = float(first["order_qty"])
    end = int(first["start"][-1]) + int(first["interval_s"]) * SECOND_NS
    for as_of, order_qty, _, _, until in path:
        if as_of > knots[0][0] and (order_qty != quantity or (until and until != end)):
            knots.append((as_of, _toward(knots[-1], (end, quantity), as_of)))
            quantity, end = order_qty, until or end
    return [*knots, (end, quantity)] if end > knots[-1][0] else knots


def price(sizes: Sequence[float], slippage: Sequence[float | None], quantity: float) -> float | None:
    """Return the measured price per share of a quantity; None where nothing was measured."""
    seen = [(size, g) for size, g in zip(sizes, slippage, strict=True) if g is not None]
    if not seen:
        return None
    quantity = abs(quantity)
    place = bisect_left(seen, (quantity, 0.0))
    if place in {0, len(seen)}:
        return seen[min(place, len(seen) - 1)][1]
    (low, g_low), (high, g_high) = seen[place - 1], seen[place]
    return g_low + (g_high - g_low) * (quantity - low) / (high - low)


def _history(board: SideBoard) -> dict[str, Any]:
    measured, fitted = list(zip(*board.measured, strict=True)), list(zip(*board.fitted, strict=True))
    return {
        "estimates": [orjson.Fragment(value) for value in board.recent],
        "model": _fragment(board.model),
        "measured": dict(
            zip(("minute", "mid", "half_spread", "held_qty", "volume"), measured or [()] * 5, strict=True)
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


def _point(plan: Message) -> tuple[int, float, float, float, int]:
    start = plan["start"]
    end = int(start[-1]) // _interval(plan) * _interval(plan) + _interval(plan) if start else 0
    return int(plan["as_of"]), float(plan["order_qty"]), float(plan["cum_qty"]), float(plan["shortfall_qty"]), end


def _interval(plan: Message) -> int:
    return int(plan["interval_s"]) * SECOND_NS


def _toward(start: tuple[int, float], end: tuple[int, float], at: int) -> float:
    share = (at - start[0]) / max(end[0] - start[0], 1)
    return start[1] + (end[1] - start[1]) * min(max(share, 0.0), 1.0)


def _on(knots: Sequence[tuple[int, float]], at: int) -> float:
    if at <= knots[0][0]:
        return 0.0
    place = bisect_left(knots, (at, -1.0))
    return knots[-1][1] if place == len(knots) else _toward(knots[place - 1], knots[place], at)


def _cum_at(path: Sequence[tuple[int, float, float, float, int]], times: Sequence[int], at: int) -> float:
    """Return what was executed by a time, of the last plan up to then."""
    place = bisect_left(times, at + 1)
    return path[place - 1][2] if place else 0.0
