"""``impactd compare``: strategies and models side by side, on recorded and on generated days."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import example
from impactd.cli.study import days_of, records, show_table, study, study_options, write_json


@click.command(
    "compare",
    epilog=example("impactd compare", "impactd compare --data FROG_2025-04-03_mbp10.csv.gz --shares 50000 --json"),
)
@study_options
@click.option("--shares", type=click.FloatRange(0, min_open=True), default=100_000.0, show_default=True)
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="Seconds for a solver."
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
    shares: float,
    timeout: float,
) -> None:
    """Compare strategies and models on recorded days and on a generated one.

    Savings are hindsight figures. A solver that fails, runs out of time or is
    not installed has its row, with what it said.
    """
    with study():
        from impactd.research.compare import compare_days
        from impactd.research.options import OptimizerConfig

        days = days_of([*data, *more], seed, codec, symbol)
        config = OptimizerConfig(timeout_seconds=timeout)
        result = compare_days(days, shares, intervals, side=side, config=config)
    if as_json:
        tables = {"strategies": result.strategies, "models": result.models, "differences": result.differences}
        write_json({**{name: records(table) for name, table in tables.items()}, "chosen": result.chosen})
        return
    for day in days:
        for title, table in (("Strategies", result.strategies), ("Models", result.models)):
            show_table(f"{title}: {day.name}", table[table["day"] == day.name].drop(columns="day"))
        click.echo(f"Least error out of sample: {result.chosen[day.name]}\n")
    if len(result.differences):
        show_table("Recorded less generated, improvement over equal parts", result.differences)
