"""``impactd sensitivity``: the saving over ranges of size, horizon, risk aversion and participation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from impactd.cli.common import Data, FiniteRange, directory_option, example, settings_options, write_json
from impactd.cli.hours import hours_options, orders_bar, range_s, session_settings
from impactd.cli.shard import known, shard_option, work
from impactd.cli.study import records, show_table, study, study_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from impactd.research.sensitivity_shards import Sensitivity


@click.command(
    "sensitivity",
    epilog=example(
        "impactd sensitivity",
        "impactd sensitivity --data FROG_2025-04-03_mbp10.csv.gz --shares 1000 --shares 20000",
        "impactd sensitivity --data 'days/*.csv.gz' --shard 1/8 --out results",
    ),
)
@study_options
@click.option(
    "--shares",
    type=FiniteRange(0, min_open=True),
    multiple=True,
    help="Total shares; may be repeated.  [default: 50,000 to 200,000]",
)
@shard_option("of the files")
@directory_option("With --shard, directory of the results.")
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
    shard: tuple[int, int] | None,
    out: Path | None,
) -> None:
    """Show how cost and saving depend on the order.

    First by model and total, in hindsight. With a line through the origin the
    relative saving is the same for every total; with other curves it is not.
    Then, on recorded days, the saving of the service's own schedules by size,
    horizon, risk aversion and participation, walking forward.
    """
    if (shard is None) != (out is None):
        raise click.UsageError("--shard and --out: give both, or none of them.")
    with study():
        from impactd.research.backtest.report import inputs
        from impactd.research.backtest.windows import Question
        from impactd.research.compare import TOTALS
        from impactd.research.sensitivity_shards import Asked, worked
        from impactd.research.shards import parquet

        core, traded = session_settings(config, sets, tz, session, data)
        from_s, to_s = range_s(begin, end)
        with orders_bar() as start:
            asked = Asked(
                data.paths,
                core,
                Question(from_s=from_s, to_s=to_s),
                tuple(shares) or TOTALS,
                intervals,
                side,
                seed,
                traded.rule,
                traded.text,
                data.codec,
                data.symbol,
                os.cpu_count() or 1,
                start,
            )
            if shard is not None and out is not None:
                parquet()
                whole = asked.whole(known(core, inputs(data.paths)))
                work(shard, whole, out, lambda todo: worked(asked, todo))
                return
            found = asked.all()
    show(found, traded.text if data.paths else None, as_json=as_json)


def show(found: Sequence[Sensitivity], hours: str | None, *, as_json: bool) -> None:
    """Write the tables, for people or as JSON."""
    walked = {one.name: one.walked for one in found if one.walked is not None}
    failed = {one.name: one.failed for one in found if one.failed is not None}
    if as_json:
        tables = {one.name: records(one.hindsight) for one in found}
        write_json({**tables, "backtest": {name: records(table) for name, table in walked.items()}, "failed": failed})
        return
    if hours is not None:
        click.echo(f"hours  {hours}\n")
    for one in found:
        show_table(f"Sensitivity to total shares: {one.name}", one.hindsight)
    for name, table in walked.items():
        show_table(f"Walking forward: {name}", table)
    for name, why in failed.items():
        click.echo(f"{name}: not walked forward: {why}")
