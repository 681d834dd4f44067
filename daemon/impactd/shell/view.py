"""A live view of what the service publishes, for a person at a terminal.

`Scene` folds published messages (as on the topics) into what the view
shows; `render` draws it with rich, `plain_lines` writes it as text where
there is no terminal.  Nothing here depends on where messages come from.

Colours are blue and orange, which most colour-blind people distinguish, and
no meaning depends on colour alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from impactd.core.base.topics import Topic
from impactd.shell.printable import printable_values

Message = Mapping[str, Any]

BARS: Final = " ▁▂▃▄▅▆▇█"
_COLOUR: Final = {"buy": "bright_blue", "sell": "orange3"}
_ENDED: Final = frozenset({"done", "expired", "canceled", "rejected"})
_PROFILE_WIDTH: Final = 12
_FILLED_WIDTH: Final = 6
_CURVE_WIDTH: Final = 10


@dataclass(slots=True)
class OrderScene:
    """One parent order: the first plan that it got, the latest, and how many there were."""

    first: Message
    latest: Message
    versions: int = 1

    @property
    def ended(self) -> bool:
        """Whether no further schedule will come."""
        return self.latest["status"] in _ENDED

    @property
    def done_share(self) -> float:
        """Share of the order's quantity that is filled, in [0, 1]."""
        quantity = float(self.latest["order_qty"])
        return min(1.0, float(self.latest["cum_qty"]) / quantity) if quantity else 0.0


@dataclass(slots=True)
class Scene:
    """What has been published so far."""

    estimates: dict[tuple[str, str], Message] = field(default_factory=dict)
    models: dict[tuple[str, str], Message] = field(default_factory=dict)
    orders: dict[str, OrderScene] = field(default_factory=dict)
    alerts: deque[Message] = field(default_factory=lambda: deque(maxlen=2))
    counts: Counter[Topic] = field(default_factory=Counter)
    #: Fills whose cost was published; a revised one counts again.
    fills: int = 0
    #: End of the last closed minute, ns.
    clock: int = 0
    #: What has to come before anything further is to be seen.
    waits_for: str | None = None

    def take(self, topic: Topic, message: Message) -> None:
        """Fold one published message in."""
        self.counts[topic] += 1
        message = printable_values(message)
        match topic:
            case Topic.ESTIMATES:
                self.estimates[message["symbol"], message["side"]] = message
                self.clock = max(self.clock, int(message["minute"]) + int(message["interval_s"]) * 1_000_000_000)
            case Topic.MODELS:
                self.models[message["symbol"], message["side"]] = message
            case Topic.PLANS:
                self._take_plan(message)
            case Topic.ALERTS:
                self.alerts.append(message)
            case Topic.TCA:
                self.fills += message["type"] == "fill_cost"
            case _:
                pass

    def _take_plan(self, plan: Message) -> None:
        known = self.orders.get(plan["cl_ord_id"])
        if known is None:
            self.orders[plan["cl_ord_id"]] = OrderScene(plan, plan)
            return
        if known.first["expected_cost"] is None:
            known.first = plan
        known.latest = plan
        known.versions += 1


def bars(values: Sequence[float | None], top: float | None = None) -> str:
    """Return one bar per value, scaled to the largest or to `top`; a dot where there is no value."""
    limit = max((v for v in values if v is not None), default=0.0) if top is None else top
    if limit <= 0:
        return "".join("·" if v is None else BARS[1] for v in values)
    return "".join("·" if v is None else BARS[max(1, min(8, round(8 * v / limit)))] for v in values)


def profile(plan: Message, width: int = _PROFILE_WIDTH) -> str:
    """Return the schedule as bars over its horizon, each the mean quantity of its part."""
    quantities = [float(q) for q in plan["qty"]]
    if not quantities:
        return ""
    width = min(width, len(quantities))
    edges = [len(quantities) * k // width for k in range(width + 1)]
    return bars([sum(quantities[a:b]) / (b - a) for a, b in pairwise(edges)])


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """Return a figure for people: thousands apart, a dash for none, and no minus before a zero."""
    return "-" if value is None else f"{value:z,.{digits}f}{unit}"


def saving_text(plan: Message) -> str:
    """Return what a plan is expected to save against TWAP of the same quantity: currency, and basis points of mid."""
    cost, twap = plan["expected_cost"], plan["twap_cost"]
    if cost is None or twap is None:
        return "-"
    return f"{number(twap - cost)} ({number(plan['saving_bps'], 2, ' bp')})"


def in_bps(value: float | None, mid: float | None) -> float | None:
    """Return a price difference in basis points of mid."""
    return None if value is None or mid is None or mid <= 0.0 else value / mid * 1e4


def clock_text(ns: int, zone: str = "UTC") -> str:
    """Return an event time for people, in their market's time zone."""
    if not ns:
        return "--:--"
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def render(scene: Scene, title: str, zone: str = "UTC") -> RenderableType:
    """Return the whole view; it fits 80 columns.

    Parameters
    ----------
    title : str
        The heading, such as the broker and the speed.
    """
    head = Text.assemble(
        (clock_text(scene.clock, zone), "bold"),
        f" {zone}   minutes {scene.counts[Topic.ESTIMATES]:,}   plans {scene.counts[Topic.PLANS]:,}   "
        f"fills {scene.fills:,}",
    )
    parts: list[RenderableType] = [head, _market(scene), _orders(scene)]
    parts += [Text(f"! {alert['kind']}: {alert['text']}", style="orange3") for alert in scene.alerts]
    if scene.waits_for is not None:
        parts.append(Text(f"waiting for {scene.waits_for}", style="bold"))
    return Panel(Group(*parts), title=title, title_align="left")


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, title=title, expand=True)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _market(scene: Scene) -> Table:
    table = _table(
        "last closed minute: what a market order pays over mid",
        ("symbol", "side", "by size"),
        ("mid", "half-spread", "largest", "R²"),
    )
    for (symbol, side), estimate in sorted(scene.estimates.items()):
        mid, sizes = estimate["mid"], estimate["sizes"]
        curve = [in_bps(value, mid) for value in estimate["slippage"]]
        seen = [(size, value) for size, value in zip(sizes, curve, strict=True) if value is not None]
        model = scene.models.get((symbol, side))
        table.add_row(
            symbol,
            Text(side, style=_COLOUR[side]),
            Text(bars(curve[:: max(1, -(-len(curve) // _CURVE_WIDTH))]), style=_COLOUR[side]),
            number(mid, 3),
            number(in_bps(estimate["half_spread"], mid), 1, " bp"),
            f"{seen[-1][0]:,.0f}: {seen[-1][1]:.1f} bp" if seen else "-",
            "-" if model is None else "prior" if model["prior"] else number(model["r2"], 2),
        )
    return table


def _orders(scene: Scene) -> Table:
    table = _table(
        "orders: the plan for what is left, and what it costs over mid",
        ("order", "side", "filled", "plan"),
        ("left", "next", "expected", "TWAP"),
    )
    for name, order in sorted(scene.orders.items()):
        plan, side = order.latest, order.latest["side"]
        full = round(_FILLED_WIDTH * order.done_share)
        table.add_row(
            f"{name} {plan['symbol']}",
            Text(side, style=_COLOUR[side]),
            "█" * full + "░" * (_FILLED_WIDTH - full) + f" {order.done_share:4.0%}",
            Text(profile(plan) if plan["qty"] else plan["status"], style=_COLOUR[side]),
            number(float(plan["leaves_qty"]), 0),
            number(float(plan["qty"][0]), 0) if plan["qty"] else "-",
            number(plan["expected_cost"], 0),
            number(plan["twap_cost"], 0),
        )
    return table


def plain_lines(scene: Scene, zone: str = "UTC") -> list[str]:
    """Return one line per order, and one for the market where there is no order."""
    at = clock_text(scene.clock, zone)
    lines = []
    for name, order in sorted(scene.orders.items()):
        plan = order.latest
        ahead = ""
        # Without a schedule there is nothing to expect.
        if plan["qty"]:
            ahead = (
                f"next minute {number(float(plan['qty'][0]), 0)}, "
                f"expected cost {number(plan['expected_cost'], 0)} against TWAP's {number(plan['twap_cost'], 0)} "
                f"(expected saving {saving_text(plan)}), "
            )
        lines.append(
            f"{at}  {name} {plan['side']} {plan['symbol']} {plan['status']}: {order.done_share:.0%} filled, "
            f"{number(float(plan['leaves_qty']), 0)} left, {ahead}plan {plan['plan_version']}"
        )
    if not lines:
        lines.append(f"{at}  estimates: {scene.counts[Topic.ESTIMATES]:,}, models: {scene.counts[Topic.MODELS]:,}")
    return lines
