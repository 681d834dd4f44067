"""``impactd merge``: the report of a study that ran in shards."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli import backtest, sensitivity, train
from impactd.cli.common import InputError, example
from impactd.cli.study import study


@click.command(
    "merge",
    epilog=example(
        "impactd merge results --out report",
        "impactd merge node1 node2 node3 --out report",
        "impactd merge trainings --out model.json",
        "impactd merge sensitivities --json",
    ),
)
@click.argument(
    "directories",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    nargs=-1,
    required=True,
    metavar="DIR...",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory of a backtest's report, or the trained file of a training; a sensitivity has none.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the figures of a training or a sensitivity as JSON.")
def command(*, directories: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Merge the results of impactd backtest, train or sensitivity --shard.

    Writes what one process would have written. Refuses if a result is missing or
    damaged, or not all were made under the same settings, question, inputs and
    release.
    """
    with study():
        from impactd.research.backtest.report import compiled
        from impactd.research.backtest.shards import merged as merged_orders
        from impactd.research.learned.shards import merged as merged_training
        from impactd.research.sensitivity_shards import merged as merged_files
        from impactd.research.shards import collected

        try:
            whole, contents = collected(directories)
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from error
        if whole.study == "sensitivity":
            if out is not None:
                raise click.UsageError(
                    "--out: results of impactd sensitivity are written to standard output; leave it out."
                )
            sensitivity.show(
                merged_files(contents), whole.known["hours"] if whole.known["inputs"] else None, as_json=as_json
            )
            return
        if out is None:
            what = "the trained file" if whole.study == "train" else "a directory for the report"
            raise click.UsageError(f"--out: these are results of impactd {whole.study}; name {what}.")
        if whole.study == "backtest" and as_json:
            raise click.UsageError("--json: the report of impactd backtest has report.json; leave it out.")
        if not as_json:
            click.echo(f"hours  {whole.known['hours']}")
        if whole.study == "train":
            train.show(merged_training(whole, contents), out, as_json=as_json)
        else:
            result = merged_orders(whole, contents)
            backtest.show(result, compiled(result, whole.known), out)
