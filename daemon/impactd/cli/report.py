"""``impactd report``: a study as HTML and Markdown."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import directory_option, example, write_json
from impactd.cli.hours import hours
from impactd.cli.study import Asked, days_of, schedule_options, study


@click.command(
    "report",
    epilog=example(
        "impactd report --out report", "impactd report --data FROG_2025-04-03_mbp10.csv.gz --shares 20000 --out report"
    ),
)
@schedule_options
@directory_option("Directory of the report.", required=True)
def command(
    *,
    asked: Asked,
    out: Path,
) -> None:
    """Write a report on models and strategies, as HTML and Markdown.

    Recorded days come first, then a generated one. The same inputs
    give the same bytes.
    """
    with study():
        from impactd.research.options import OptimizerConfig
        from impactd.research.report import make_report, write_report

        traded = hours(None, asked.tz, asked.session, asked.data)
        days = days_of(asked.data, asked.seed, traded)
        config = OptimizerConfig(timeout_seconds=asked.timeout)
        report = make_report(days, asked.shares, asked.intervals, side=asked.side, config=config)
        written = write_report(report, out)
    if asked.as_json:
        found = [
            {"day": day.name, "model": day.chosen, "answer": day.answer, "failed": list(day.failed)}
            for day in report.days
        ]
        write_json({"hours": traded.text, "days": found, "files": [str(path) for path in written]})
        return
    if asked.data.paths:
        click.echo(f"hours  {traded.text}")
    for day in report.days:
        click.echo(f"{day.name}: {day.answer}")
        click.echo(f"{day.name}: {day.chosen} has the least error out of sample; {len(day.failed)} failed or left out")
    click.echo(f"wrote {', '.join(path.name for path in written if path.suffix != '.svg')} to {out}")
