"""``impactd backtest``: the service's schedules on recorded days, walking forward."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from impactd.cli.common import EXISTING, InputError, example, load_settings, settings_options
from impactd.cli.study import study

if TYPE_CHECKING:
    from impactd.core.settings import CoreSettings
    from impactd.research.backtest.windows import Question

#: Hours that windows lie in where neither the command nor the settings name a session: those of US equities.
_SESSION: Final = "09:30-16:00"
_ZONE: Final = "America/New_York"


@click.command(
    "backtest",
    epilog=example(
        "impactd backtest --data FROG_2025-04-03_mbp10.csv.gz --qty 20000 --out report",
        "impactd backtest --data monday.csv.gz tuesday.csv.gz --symbol FROG --participation 0.1 --out report",
        "impactd backtest --data btc.jsonl.gz --session 00:00-24:00 --tz UTC --lot 0.001 --out report",
    ),
)
@click.option("--data", type=EXISTING, multiple=True, required=True, metavar="FILE...", help="Recorded days.")
@click.argument("more", type=EXISTING, nargs=-1, metavar="")
@click.option(
    "--qty", type=click.FloatRange(0, min_open=True), multiple=True, help="Shares of an order; may be repeated."
)
@click.option(
    "--participation",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    help="Instead: share of the session's continuous volume; may be repeated.",
)
@click.option(
    "--horizon",
    type=click.IntRange(2, 1_440),
    metavar="MIN",
    help="Only windows of this length.  [default: hours, the whole of --from to --to, and the session]",
)
@click.option("--every", type=click.IntRange(1, 1_440), metavar="MIN", help="From start to start.  [default: disjoint]")
@click.option("--from", "begin", default="10:00", show_default=True, help="Local time at which windows begin.")
@click.option("--to", "end", default="16:00", show_default=True, help="Local time at which they end.")
@click.option("--tz", help=f"Zone of local times.  [default: the settings' session, else {_ZONE}]")
@click.option(
    "--session", help=f"Local open and close, as OPEN-CLOSE.  [default: the settings' session, else {_SESSION}]"
)
@click.option(
    "--strategies", metavar="A,B,...", default="", help="engine, twap, vwap, ...; see the report.  [default: all]"
)
@click.option(
    "--depth-cap",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Most that any policy trades in an interval, in visible depths.",
)
@click.option("--lot", default="1", show_default=True, help="Lot size.")
@click.option("--symbol", help="Symbol of data that names none; else the file's name up to the first _ or dot.")
@click.option("--codec", help="Format of the data; told from the file by default.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; changes no figure.  [default: all cores]")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory of the report.")
@settings_options
def command(
    *,
    data: tuple[Path, ...],
    more: tuple[Path, ...],
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
    symbol: str | None,
    codec: str | None,
    seed: int,
    workers: int | None,
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
        from impactd.research.backtest.report import encode, figures, table
        from impactd.research.backtest.run import backtest

        core = _with_session(config, sets, tz, session)
        question = _question(qty, participation, horizon, every, begin, end, depth_cap, lot)
        paths = (*data, *more)
        with _bar() as start:
            result = backtest(
                paths,
                core,
                question,
                strategies=[name.strip() for name in strategies.split(",") if name.strip()],
                codec=codec,
                symbol=symbol,
                workers=workers or os.cpu_count() or 1,
                begin=start,
            )
        report = figures(result, paths, seed)
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / "report.json").write_bytes(encode(report))
        except OSError as error:
            raise InputError(f"--out: {out}: cannot be written: {error.strerror}") from error
    for title, rows in table(report):
        _show(title, rows)
    click.echo(f"{out / 'report.json'}")


def _with_session(config: Path | None, sets: tuple[str, ...], tz: str | None, session: str | None) -> CoreSettings:
    from impactd.config.hours import session_rule

    settings = load_settings(config, sets).settings
    own = settings.session
    is_named = own != type(own)()
    zone = tz or (own.timezone if is_named else _ZONE)
    hours = session or (f"{own.open}-{own.close}" if is_named else _SESSION)
    opens, dash, closes = hours.partition("-")
    if not dash:
        raise InputError(f"--session: {hours!r} is not of the form OPEN-CLOSE, such as {_SESSION}")
    try:
        return dataclasses.replace(settings.core(), session=session_rule(zone, opens, closes))
    except ValueError as error:
        raise InputError(f"--session, --tz: {error}") from error


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
    from impactd.config.hours import parse_clock
    from impactd.core.quantity import QuantityError, parse_qty
    from impactd.research.backtest.windows import Question

    try:
        from_s, to_s = parse_clock(begin), parse_clock(end)
        quanta = parse_qty(lot, "lot")
    except (QuantityError, ValueError) as error:
        raise InputError(f"--from, --to, --lot: {error}") from error
    if quanta <= 0:
        raise InputError(f"--lot: {lot} must be positive")
    if to_s <= from_s:
        raise InputError(f"--to: {end} must be later than --from {begin}")
    return Question(qty, participation, horizon, every, from_s, to_s, depth_cap, quanta)


@contextmanager
def _bar() -> Iterator[Callable[[int], Callable[[int], None]] | None]:
    """Yield what begins a progress bar on a terminal, or None where there is none."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:

        def start(total: int) -> Callable[[int], None]:
            task = bar.add_task("orders", total=total)
            return lambda n: bar.advance(task, n)

        yield start


def _show(title: str, rows: list[list[str]]) -> None:
    click.echo(title)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        name, *cells = row
        click.echo("  " + "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]))
    click.echo()
