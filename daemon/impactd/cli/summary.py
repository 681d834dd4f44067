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

from impactd.shell.view import clock_text, number

WIDE: Final = 160

SAVING_NOTE: Final = (
    "Costs as expected by the first fitted model, for what was left then, and TWAP's by the same model."
)

if TYPE_CHECKING:
    from impactd.shell.replay import ReplaySummary
    from impactd.shell.tally import OrderSummary


def write_summary(summary: ReplaySummary, *, as_json: bool) -> None:
    """Write `summary` to standard output, its warnings to standard error."""
    if as_json:
        click.echo(orjson.dumps(dataclasses.asdict(summary), option=orjson.OPT_INDENT_2).decode())
        return
    # A file or pipe has no width of its own.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    for name, value in _facts(summary):
        console.print(f"[bold]{name:<10}[/bold] {value}")
    if summary.orders:
        console.print(orders_table(summary.orders))
        console.print(SAVING_NOTE, style="dim")
    for warning in summary.warnings:
        click.echo(f"warning: {warning}", err=True)


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


def orders_table(orders: tuple[OrderSummary, ...]) -> Table:
    """Return one row an order, and the total of what is priced."""
    table = Table(box=None, pad_edge=False, show_footer=len(orders) > 1)
    costs = [(o.expected_cost, o.twap_cost) for o in orders]
    ours = sum(own for own, twap in costs if own is not None and twap is not None)
    theirs = sum(twap for own, twap in costs if own is not None and twap is not None)
    columns = (
        ("order", "left", "together"),
        ("side", "left", ""),
        ("status", "left", ""),
        ("quantity", "right", ""),
        ("filled", "right", ""),
        ("shortfall", "right", ""),
        ("plans", "right", f"{sum(o.plans for o in orders):,}"),
        ("expected", "right", number(ours)),
        ("TWAP", "right", number(theirs)),
        ("saving", "right", number(theirs - ours)),
        ("of mid", "right", ""),
    )
    for name, justify, footer in columns:
        table.add_column(name, justify="left" if justify == "left" else "right", footer=footer, no_wrap=True)
    for o in orders:
        saving = None if o.expected_cost is None or o.twap_cost is None else o.twap_cost - o.expected_cost
        table.add_row(
            f"{o.cl_ord_id} {o.symbol}",
            o.side,
            o.status,
            f"{o.order_qty:,}",
            f"{o.cum_qty:,}",
            f"{o.shortfall_qty:,}",
            f"{o.plans:,}",
            number(o.expected_cost),
            number(o.twap_cost),
            number(saving),
            number(o.saving_bps, 2, " bp"),
        )
    return table
