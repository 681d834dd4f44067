"""``impactd merge``: the report of a backtest that ran in shards."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.backtest import show
from impactd.cli.common import InputError, directory_option, example
from impactd.cli.study import study


@click.command(
    "merge",
    epilog=example("impactd merge results --out report", "impactd merge node1 node2 node3 --out report"),
)
@click.argument(
    "directories",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    nargs=-1,
    required=True,
    metavar="DIR...",
)
@directory_option("Directory of the report.", required=True)
def command(*, directories: tuple[Path, ...], out: Path) -> None:
    """Merge the results of impactd backtest --shard into one report.

    Writes the report.json and report.html that one process would have written.
    Refuses if a result is missing or damaged, or not all were made under the same
    settings, question, inputs and release.
    """
    with study():
        from impactd.research.backtest.report import compiled
        from impactd.research.backtest.shards import merge

        try:
            result, whole = merge(directories)
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from error
        click.echo(f"hours  {whole.known['hours']}")
        show(result, compiled(result, whole.known), out)
