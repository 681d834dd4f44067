"""``impactd sensitivity``: the saving over ranges of size, horizon, risk aversion and participation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from impactd.cli.common import Data, FiniteRange, example, settings_options, write_json
from impactd.cli.hours import hours_options, orders_bar, range_s, session_settings
from impactd.cli.study import days_of, records, show_table, study, study_options

if TYPE_CHECKING:
    import pandas as pd

    from impactd.core.base.settings import CoreSettings


@click.command(
    "sensitivity",
    epilog=example(
        "impactd sensitivity", "impactd sensitivity --data FROG_2025-04-03_mbp10.csv.gz --shares 1000 --shares 20000"
    ),
)
@study_options
@click.option(
    "--shares",
    type=FiniteRange(0, min_open=True),
    multiple=True,
    help="Total shares; may be repeated.  [default: 50,000 to 200,000]",
)
@hours_options
@settings_options
def command(
    *,
    data: Data,
    seed: int,
    side: str,
    intervals: int,
    as_json: bool,
    shares: tuple[float, ...],
    begin: str,
    end: str,
    tz: str | None,
    session: str | None,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Show how cost and saving depend on the order.

    First by model and total, in hindsight. With a line through the origin the
    relative saving is the same for every total; with other curves it is not.
    Then, on recorded days, the saving of the service's own schedules by size,
    horizon, risk aversion and participation, walking forward.
    """
    with study():
        from impactd.research.compare import TOTALS, sensitivity

        core, traded = session_settings(config, sets, tz, session, data)
        days = days_of(data, seed, traded)
        tables = {day.name: sensitivity(day.slippage, shares or TOTALS, intervals, side=side) for day in days}
        walked, failed = _walked(data, core, begin, end)
    if as_json:
        backtests = {name: records(table) for name, table in walked.items()}
        write_json(
            {**{name: records(table) for name, table in tables.items()}, "backtest": backtests, "failed": failed}
        )
        return
    if data.paths:
        click.echo(f"hours  {traded.text}\n")
    for name, table in tables.items():
        show_table(f"Sensitivity to total shares: {name}", table)
    for name, table in walked.items():
        show_table(f"Walking forward: {name}", table)
    for name, why in failed.items():
        click.echo(f"{name}: not walked forward: {why}")


def _walked(data: Data, core: CoreSettings, begin: str, end: str) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Return a table for each recorded file, and why some have none."""
    from impactd.research.backtest.sensitivity import sensitivity
    from impactd.research.backtest.windows import Question
    from impactd.research.errors import ValidationError

    from_s, to_s = range_s(begin, end)
    question = Question(from_s=from_s, to_s=to_s)
    tables: dict[str, pd.DataFrame] = {}
    failed: dict[str, str] = {}
    for path in data.paths:
        try:
            with orders_bar() as start:
                tables[path.name] = sensitivity(
                    path, core, question, codec=data.codec, symbol=data.symbol, workers=os.cpu_count() or 1, begin=start
                )
        except ValidationError as error:
            failed[path.name] = str(error)
    return tables, failed
