"""``impactd backtest``: the service's schedules on recorded days, walking forward."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from impactd.cli.common import (
    Data,
    FiniteRange,
    InputError,
    data_options,
    directory_option,
    example,
    names_of,
    settings_options,
)
from impactd.cli.hours import hours_options, orders_bar, range_s, session_settings
from impactd.cli.shard import shard_option, work
from impactd.cli.study import study

if TYPE_CHECKING:
    from impactd.core.base.settings import CoreSettings
    from impactd.research.backtest.run import Worked
    from impactd.research.backtest.windows import Question


@click.command(
    "backtest",
    epilog=example(
        "impactd backtest --data FROG_2025-04-03_mbp10.csv.gz --qty 20000 --out report",
        "impactd backtest --data monday.csv.gz tuesday.csv.gz --symbol FROG --participation 0.1 --out report",
        "impactd backtest --data btc.jsonl.gz --session 00:00-24:00 --tz UTC --lot 0.001 --out report",
        "impactd backtest --data 'days/*.csv.gz' --shard 1/8 --out results",
    ),
)
@data_options(required=True)
@click.option("--qty", type=FiniteRange(0, min_open=True), multiple=True, help="Shares of an order; may be repeated.")
@click.option(
    "--participation",
    type=FiniteRange(0, 1, min_open=True),
    multiple=True,
    help="Share of the session's continuous volume, instead of --qty; may be repeated.  [default: 0.05 and 0.1]",
)
@click.option(
    "--horizon",
    type=click.IntRange(2, 1_440),
    metavar="MIN",
    help="Only windows of this length.  [default: hours, the whole of --from to --to, and the session]",
)
@click.option(
    "--every",
    type=click.IntRange(1, 1_440),
    metavar="MIN",
    help="Minutes from the start of one window to the next.  [default: disjoint]",
)
@hours_options
@click.option(
    "--strategies", metavar="A,B,...", default="", help="engine, twap, vwap, ...; see the report.  [default: all]"
)
@click.option(
    "--depth-cap",
    type=FiniteRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Most that any policy trades in an interval, in visible depths.",
)
@click.option("--lot", default="1", show_default=True, help="Lot size.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed of the bootstrap.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; changes no figure.  [default: all cores]")
@shard_option("of the days of all symbols")
@directory_option("Directory of the report; with --shard, of the results.", required=True)
@settings_options
def command(
    *,
    data: Data,
    qty: tuple[float, ...],
    participation: tuple[float, ...],
    horizon: int | None,
    every: int | None,
    begin: str,
    end: str,
    tz: str | None,
    session: str | None,
    strategies: str,
    depth_cap: float,
    lot: str,
    seed: int,
    workers: int | None,
    shard: tuple[int, int] | None,
    out: Path,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Price the service's schedules on recorded days against TWAP, VWAP and hindsight.

    Walks forward: each schedule knows the rows before it and none after.
    Writes report.json and report.html, which states its assumptions.
    """
    if qty and participation:
        raise click.UsageError("--qty and --participation: give one of them.")
    if every is not None and horizon is None:
        raise click.UsageError("--every: needs --horizon.")
    with study():
        from impactd.research.backtest.report import figures
        from impactd.research.backtest.run import backtest

        core, hours = session_settings(config, sets, tz, session, data)
        click.echo(f"hours  {hours.text}")
        question = _question(qty, participation, horizon, every, begin, end, depth_cap, lot)
        names = names_of(strategies)
        processes = workers or os.cpu_count() or 1
        if shard is not None:
            _work(shard, data, core, question, names, seed, hours.text, processes, out)
            return
        with orders_bar() as start:
            result = backtest(
                data.paths,
                core,
                question,
                strategies=names,
                codec=data.codec,
                symbol=data.symbol,
                workers=processes,
                begin=start,
            )
        show(result, figures(result, data.paths, seed, hours.text), out)


def _work(
    shard: tuple[int, int],
    data: Data,
    core: CoreSettings,
    question: Question,
    strategies: list[str],
    seed: int,
    hours: str,
    workers: int,
    out: Path,
) -> None:
    """Work one shard and write its results."""
    from impactd.research.backtest.days import read_tapes
    from impactd.research.backtest.report import asked, inputs
    from impactd.research.backtest.run import Asked, chosen, for_backtest
    from impactd.research.backtest.shards import whole_of, worked
    from impactd.research.shards import parquet

    # Before a file is read for nothing.
    parquet()
    chosen(strategies)
    core = for_backtest(core)
    all_asked = Asked.of(read_tapes(data.paths, core, codec=data.codec, symbol=data.symbol), core, question, strategies)
    known = asked(question, core, all_asked.strategies, inputs(data.paths), seed, hours)
    whole = whole_of(all_asked, known, data.codec, data.symbol)
    with orders_bar() as start:
        work(
            shard,
            whole,
            out,
            lambda todo: worked(all_asked, todo, workers=workers, begin=start),
            "days of all symbols",
        )


def show(result: Worked, report: dict[str, Any], out: Path) -> None:
    """Write the report to a directory, and show what a person wants to see first."""
    from impactd.research.backtest.page import render
    from impactd.research.backtest.report import answers, by_latency, encode, table
    from impactd.research.differences import DIFFERENCES

    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_bytes(encode(report))
        (out / "report.html").write_text(render(result, report), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out: {out}: cannot be written: {error.strerror}") from error
    for title, rows in table(report):
        _show(title, rows)
    if len(late := by_latency(report)) > 1:
        _show("acting within the minute, by latency", late)
    for line in answers(report):
        click.echo(line)
    click.echo(
        f"no interval trades more than {report['question']['depth_cap']:g} visible depths, or twice TWAP's rate; "
        "a replay has no such cap"
    )
    if "metaorder" in report["question"]:
        click.echo(DIFFERENCES["law"])
    click.echo(f"wrote report.json and report.html to {out}")


def _question(
    qty: tuple[float, ...],
    participation: tuple[float, ...],
    horizon: int | None,
    every: int | None,
    begin: str,
    end: str,
    depth_cap: float,
    lot: str,
) -> Question:
    from impactd.core.base.quantity import QuantityError, parse_qty
    from impactd.research.backtest.windows import PARTICIPATION, Question

    from_s, to_s = range_s(begin, end)
    try:
        quanta = parse_qty(lot, "--lot")
    except QuantityError as error:
        raise InputError(str(error)) from error
    if quanta <= 0:
        raise InputError(f"--lot: {lot} must be positive")
    return Question(
        qty=qty,
        participation=participation if qty or participation else PARTICIPATION,
        horizon_min=horizon,
        every_min=every,
        from_s=from_s,
        to_s=to_s,
        depth_cap=depth_cap,
        lot=quanta,
    )


def _show(title: str, rows: list[list[str]]) -> None:
    click.echo(title)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        name, *cells = row
        click.echo("  " + "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]))
    click.echo()
