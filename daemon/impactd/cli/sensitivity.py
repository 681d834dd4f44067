"""``impactd sensitivity``: the saving over a range of sizes."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import example
from impactd.cli.study import days_of, records, show_table, study, study_options, write_json


@click.command(
    "sensitivity",
    epilog=example(
        "impactd sensitivity", "impactd sensitivity --data FROG_2025-04-03_mbp10.csv.gz --shares 1000 --shares 20000"
    ),
)
@study_options
@click.option(
    "--shares",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    help="Total shares; may be repeated.  [default: 50,000 to 200,000]",
)
def command(
    *,
    data: tuple[Path, ...],
    more: tuple[Path, ...],
    symbol: str | None,
    codec: str | None,
    seed: int,
    side: str,
    intervals: int,
    as_json: bool,
    shares: tuple[float, ...],
) -> None:
    """Show how cost and saving depend on the total, by model.

    Savings are hindsight figures. Linear through the origin, the saving is
    the same for every total; other curves say more.
    """
    with study():
        from impactd.research.compare import TOTALS, sensitivity

        days = days_of([*data, *more], seed, codec, symbol)
        tables = {day.name: sensitivity(day.slippage, shares or TOTALS, intervals, side=side) for day in days}
    if as_json:
        write_json({name: records(table) for name, table in tables.items()})
        return
    for name, table in tables.items():
        show_table(f"Sensitivity to total shares: {name}", table)
