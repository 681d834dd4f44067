"""A replay's summary, for people and for machines."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click
import orjson
from rich.console import Console
from rich.table import Table

from impactd.shell.printable import printable
from impactd.shell.view import clock_text, number

WIDE: Final = 160

#: Orders whose answers are written out; of more, the table alone is shown.
MAX_ANSWERS: Final = 20

PRICE_NOTE: Final = """\
Costs are over mid, with basis points of the value at the arrival price: expected by the first plan that had a price,
then of the executed quantity, and of the same quantity at an even pace (TWAP), both at the books of each interval.
Saved is against TWAP, and only for reported fills: fills that are assumed as scheduled prove no saving."""

if TYPE_CHECKING:
    from impactd.shell.replay import ReplaySummary
    from impactd.shell.tally import OrderSummary


def write_summary(summary: ReplaySummary, hours: str, *, as_json: bool) -> None:
    """Write `summary` and the hours of its session to standard output, its warnings to standard error."""
    if as_json:
        fields = {"hours": hours} | dataclasses.asdict(summary)
        click.echo(orjson.dumps(fields, option=orjson.OPT_INDENT_2).decode())
        return
    # A file or pipe has no width of its own.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    for name, value in [*_facts(summary)[:1], ("hours", hours), *_facts(summary)[1:]]:
        console.print(f"[bold]{name:<10}[/bold] {value}")
    if summary.orders:
        show_orders(console, summary.orders)
    for warning in summary.warnings:
        click.echo(printable(f"warning: {warning}"), err=True)


def _facts(s: ReplaySummary) -> list[tuple[str, str]]:
    span = f"{clock_text(s.first_ns or 0)} to {clock_text(s.last_ns or 0)} UTC"
    rate = s.ticks / s.seconds if s.seconds > 0 else 0.0
    facts = [
        ("ticks", f"{s.ticks:,} ({s.books:,} books, {s.trades:,} trades), {span}"),
        ("rejected", counts(s.rejected)),
        ("refused", counts(s.refused)),
        ("minutes", f"{s.minutes:,} closed, {s.models:,} models refitted, {s.late:,} late ticks"),
        ("plans", f"{s.plans:,} for {len(s.orders):,} orders"),
        ("alerts", counts(s.alerts)),
    ]
    if s.skipped_unknown:
        facts.append(("skipped", f"{s.skipped_unknown:,} messages of an unknown type"))
    facts += [
        ("time", f"{s.seconds:.2f} s, {rate:,.0f} ticks/s"),
        ("written", f"{', '.join(s.files)} in {s.directory}"),
    ]
    return facts


def counts(reasons: Mapping[str, int]) -> str:
    """Return counts by reason, the total first."""
    if not reasons:
        return "none"
    return f"{sum(reasons.values()):,} ({', '.join(f'{reason} {n:,}' for reason, n in reasons.items())})"


def show_orders(console: Console, orders: tuple[OrderSummary, ...]) -> None:
    """Write the orders: a table, what its columns mean, and then what became of each in words."""
    console.print(orders_table(orders))
    console.print(PRICE_NOTE, style="dim")
    for order in orders[:MAX_ANSWERS]:
        console.print()
        for line in answer(order):
            console.print(line, soft_wrap=True)
    if len(orders) > MAX_ANSWERS:
        console.print(f"\n{len(orders) - MAX_ANSWERS:,} more orders are in the table")


def orders_table(orders: tuple[OrderSummary, ...]) -> Table:
    """Return one row per order."""
    table = Table(box=None, pad_edge=False)
    columns = (
        *((name, "left") for name in ("order", "side", "status")),
        *((name, "right") for name in ("quantity", "filled", "shortfall", "plans")),
        *((name, "right") for name in ("expected", "bps", "cost", "bps", "TWAP", "bps", "saved", "bps")),
    )
    for name, justify in columns:
        table.add_column(name, justify="left" if justify == "left" else "right", no_wrap=True)
    for o in orders:
        prices = (
            (o.expected_cost, o.expected_bps),
            (o.cost, o.cost_bps),
            (o.twap_cost, o.twap_bps),
            (o.saved, o.saved_bps),
        )
        table.add_row(
            f"{o.cl_ord_id} {o.symbol}",
            o.side,
            o.status,
            f"{o.order_qty:,}",
            f"{o.cum_qty:,}",
            f"{o.shortfall_qty:,}",
            f"{o.plans:,}",
            *(text for cost, bps in prices for text in (number(cost), number(bps, 2))),
        )
    return table


def answer(o: OrderSummary) -> list[str]:
    """Return what became of an order, in words."""
    done = {"buy": "bought", "sell": "sold"}[o.side]
    filled = f"{o.cum_qty:,}" if o.cum_qty else "nothing"
    assumed = ", if each plan fills as scheduled" if o.fills == "scheduled" and o.cum_qty else ""
    by = f" ({', '.join(o.shortfall_limits)})" if o.shortfall_limits else ""
    left = "was not traded before its window ended" if o.status == "expired" else "cannot be placed within its limits"
    short = f"; {o.shortfall_qty:,} {left}{by}" if o.shortfall_qty else ""
    status = "active when the data end" if o.status == "active" else o.status
    status += f": {o.text}" if o.text else ""
    lines = [f"{o.cl_ord_id}: {done} {filled} of {o.order_qty:,} {o.symbol} ({status}){assumed}{short}."]
    if not o.cum_qty:
        return [*lines, *_expectation(o)]
    if o.cost is None:
        lines.append(
            "  Cost unknown: a part has no book: a fill without a mid, an auction, a slice, or an empty interval."
        )
    else:
        where = "at the books of each minute" if o.fills == "scheduled" else "by its fills"
        lines.append(f"  Cost {_money(o.cost, o.cost_bps)} {where}{_beyond(o)}.")
    if o.twap_cost is not None:
        lines.append(f"  TWAP of the same {o.cum_qty:,}: {_money(o.twap_cost, o.twap_bps)}.")
    if o.saved is not None:
        lines.append(f"  Saved {_money(o.saved, o.saved_bps)} against it.")
    return [*lines, *_expectation(o)]


def _expectation(o: OrderSummary) -> list[str]:
    if o.expected_cost is None or o.expected_qty is None:
        return ["  No plan had a price."]
    band, held = "", ""
    if o.band_95 is not None:
        low, high = o.band_95
        band = f", 95% band {number(low)} to {number(high)}"
        if o.cost is not None and o.expected_qty == o.cum_qty:
            held = ": the cost is inside" if low <= o.cost <= high else ": the cost is outside"
    said = f"{o.expected_qty:,} at {clock_text(o.expected_as_of or 0)} UTC, {_money(o.expected_cost, o.expected_bps)}"
    return [f"  First plan with a price: {said}{band}{held}; TWAP by the same model {number(o.expected_twap_cost)}."]


def _beyond(o: OrderSummary) -> str:
    if not o.beyond_depth_qty or o.beyond_depth_qty < 0.5:
        return ""
    return f" ({o.beyond_depth_qty:,.0f} of it beyond what the books showed, at their own slope)"


def _money(cost: float, bps: float | None) -> str:
    return f"{number(cost)} ({number(bps, 2, ' bps')})"
