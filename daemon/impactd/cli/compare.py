"""``impactd compare``: strategies and models side by side, on recorded and on generated days."""

from __future__ import annotations

import click

from impactd.cli.common import example, write_json
from impactd.cli.hours import hours
from impactd.cli.study import Asked, days_of, records, schedule_options, show_table, study


@click.command(
    "compare",
    epilog=example("impactd compare", "impactd compare --data FROG_2025-04-03_mbp10.csv.gz --shares 50000 --json"),
)
@schedule_options
def command(
    *,
    asked: Asked,
) -> None:
    """Compare strategies and models on recorded days and on a generated one.

    Savings are hindsight figures. A solver that fails, times out or is not
    installed is listed with its message.
    """
    with study():
        from impactd.research.compare import answer, compare_days
        from impactd.research.differences import of_schedule
        from impactd.research.options import OptimizerConfig

        traded = hours(None, asked.tz, asked.session, asked.data)
        days = days_of(asked.data, asked.seed, traded)
        config = OptimizerConfig(timeout_seconds=asked.timeout)
        result = compare_days(days, asked.shares, asked.intervals, side=asked.side, config=config)
        minutes = max(day.slippage["time"].nunique() for day in days)
        apart = of_schedule(n_fitted=minutes, n_intervals=asked.intervals, intercept=False)
    if asked.as_json:
        tables = {"strategies": result.strategies, "models": result.models, "differences": result.differences}
        found = {name: records(table) for name, table in tables.items()}
        write_json({"hours": traded.text, **found, "chosen": result.chosen, "differences_by_name": apart})
        return
    if asked.data.paths:
        click.echo(f"hours  {traded.text}\n")
    for day in days:
        for title, table in (("Strategies", result.strategies), ("Models", result.models)):
            show_table(f"{title}: {day.name}", table[table["day"] == day.name].drop(columns="day"))
        click.echo(f"Least error out of sample: {result.chosen[day.name]}\n")
    if len(result.differences):
        show_table("Recorded less generated, improvement over equal parts", result.differences)
    click.echo(
        "Why costs by a model (total_impact) differ from those of a replay (walked_cost is priced at the books):"
    )
    for name, text in apart.items():
        click.echo(f"  {name}: {text}")
    click.echo()
    for day in days:
        table = result.strategies[result.strategies["day"] == day.name]
        click.echo(f"{day.name}: {answer(table, asked.shares, asked.intervals, asked.side)}")
