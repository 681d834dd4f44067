"""``impactd report``: a study as HTML and Markdown."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import Data, directory_option, example, write_json
from impactd.cli.hours import hours, session_options
from impactd.cli.study import days_of, schedule_options, study, study_options


@click.command(
    "report",
    epilog=example(
        "impactd report --out report", "impactd report --data FROG_2025-04-03_mbp10.csv.gz --shares 20000 --out report"
    ),
)
@study_options
@session_options
@schedule_options
@directory_option("Directory of the report.", required=True)
def command(
    *,
    data: Data,
    seed: int,
    side: str,
    intervals: int,
    as_json: bool,
    shares: float,
    timeout: float,
    session: str | None,
    tz: str | None,
    out: Path,
) -> None:
    """Write a report on models and strategies, as HTML and Markdown.

    Recorded days come first, then a generated one. The same inputs
    give the same bytes.
    """
    with study():
        from impactd.research.options import OptimizerConfig
        from impactd.research.report import make_report, write_report

        traded = hours(None, tz, session, data)
        days = days_of(data, seed, traded)
        report = make_report(days, shares, intervals, side=side, config=OptimizerConfig(timeout_seconds=timeout))
        written = write_report(report, out)
    if as_json:
        found = [
            {"day": day.name, "model": day.chosen, "answer": day.answer, "failed": list(day.failed)}
            for day in report.days
        ]
        write_json({"hours": traded.text, "days": found, "files": [str(path) for path in written]})
        return
    if data.paths:
        click.echo(f"hours  {traded.text}")
    for day in report.days:
        click.echo(f"{day.name}: {day.answer}")
        click.echo(f"{day.name}: {day.chosen} has the least error out of sample; {len(day.failed)} failed or left out")
    click.echo(f"wrote {', '.join(path.name for path in written if path.suffix != '.svg')} to {out}")
