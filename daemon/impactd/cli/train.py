"""``impactd train``: what the default forecast leaves, learned from recorded days, and whether it is worth it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from impactd.cli.common import Data, InputError, data_options, example, settings_options
from impactd.cli.hours import hours_options, orders_bar, range_s, session_settings
from impactd.cli.shard import known, shard_option, work
from impactd.cli.study import study

if TYPE_CHECKING:
    from impactd.research.learned.run import Training


@click.command(
    "train",
    epilog=example(
        "impactd train --data monday.csv.gz tuesday.csv.gz --out model.json",
        "impactd train --data FROG_2025-04-03_mbp10.csv.gz ARL_2025-07-17_mbp10.csv.gz --split each --out model.json",
        "impactd train --data 'days/*.csv.gz' --model network --shard 1/8 --out results",
        "IMPACTD__MODEL__LEARNED=model.json impactd backtest --data wednesday.csv.gz --out report",
    ),
)
@data_options(required=True)
@click.option(
    "--split",
    type=click.Choice(["forward", "each"]),
    default="forward",
    show_default=True,
    help="Test each day with a model trained on the days before it, or on all other days.",
)
@click.option(
    "--model",
    type=click.Choice(["trees", "network"]),
    default="trees",
    show_default=True,
    help="What learns: boosted trees, or a small neural network that sees the last hour of books.",
)
@hours_options
@click.option("--no-backtest", is_flag=True, help="Test forecasts only, not the savings of schedules.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed of training and bootstrap."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; changes no figure.  [default: all cores]")
@click.option("--json", "as_json", is_flag=True, help="Write the figures as JSON.")
@shard_option("of the tests of all days and the trained file")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The trained file; with --shard, directory of the results.",
)
@settings_options
def command(
    *,
    data: Data,
    split: str,
    model: str,
    begin: str,
    end: str,
    tz: str | None,
    session: str | None,
    no_backtest: bool,
    seed: int,
    workers: int | None,
    as_json: bool,
    shard: tuple[int, int] | None,
    out: Path,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Train trees or a network on the forecast's errors, and test them on held-out days.

    Writes a file for model.learned, trained on all days given. The figures
    shown are those of models trained in the same way without the day that each is tested on.
    """
    with study():
        from impactd.research.backtest.days import read_tapes
        from impactd.research.backtest.report import inputs
        from impactd.research.backtest.run import for_backtest
        from impactd.research.learned.run import QUESTION, train
        from impactd.research.learned.samples import with_learned
        from impactd.research.learned.shards import whole_of, worked
        from impactd.research.shards import parquet

        # Before a file is read for nothing.
        if shard is not None:
            parquet()
            if out.is_file():
                raise InputError(f"--out: {out}: is a file; with --shard name a directory")
        elif out.is_dir():
            raise InputError(f"--out: {out}: is a directory; name a file")
        core, hours = session_settings(config, sets, tz, session, data)
        core = for_backtest(core)
        if not as_json:
            click.echo(f"hours  {hours.text}")
        from_s, to_s = range_s(begin, end)
        question = None if no_backtest else dataclasses.replace(QUESTION, from_s=from_s, to_s=to_s)
        tapes = read_tapes(data.paths, core, codec=data.codec, symbol=data.symbol)
        processes = workers or os.cpu_count() or 1
        with orders_bar() as start:
            if shard is not None:
                facts = {
                    **known(with_learned(core, ""), inputs(data.paths)),
                    "model": model,
                    "seed": seed,
                    "hours": hours.text,
                }
                whole = whole_of(tapes, split, question, facts, codec=data.codec, symbol=data.symbol)
                work(
                    shard,
                    whole,
                    out,
                    lambda todo: worked(tapes, core, question, whole, todo, workers=processes, begin=start),
                )
                return
            trained = train(
                tapes, core, seed, kind=model, split=split, question=question, workers=processes, begin=start
            )
    show(trained, out, as_json=as_json)


def show(trained: Training, out: Path, *, as_json: bool) -> None:
    """Write the trained file, and show what files like it were worth.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        out.write_bytes(trained.content)
    except OSError as error:
        raise InputError(f"--out: {out}: cannot be written: {error.strerror}") from error
    if as_json:
        figures = {"days": trained.days, "scores": trained.scores, "capture": trained.capture, "wins": trained.wins}
        click.echo(json.dumps(figures))
        return
    _show(trained)
    click.echo(f"wrote {out}")


def _show(trained: Training) -> None:
    if not trained.days:
        click.echo("No day could be tested: testing needs other days. Give at least two days.")
        return
    click.echo(f"On days not trained on ({', '.join(trained.days)}), all horizons:")
    click.echo(f"  {'':28}{'log error':>10}{'pinball':>10}{'rank corr.':>12}{'inside 80%':>12}")
    for row in trained.scores:
        if row["horizon"] is None:
            name = f"{row['symbol']} {row['series']}, {row['forecast']}"
            rank = "-" if row["rank_correlation"] is None else f"{row['rank_correlation']:.2f}"
            figures = f"{row['log_error']:>10.3f}{row['pinball']:>10.3f}{rank:>12}{row['inside80']:>12.0%}"
            click.echo(f"  {name:<28}{figures}")
    for name, found in trained.capture.items():
        share = "-" if found["capture"] is None else f"{found['capture']:.1%}"
        click.echo(f"  {name:<28}captures {share:>7} of what hindsight saves, over {found['windows']} orders")
    verdict = "is better on them" if trained.wins else "is not better on them in all of this: leave model.learned unset"
    click.echo(f"What was trained like it {verdict}.")
