"""``impactd publish``: a recorded day into Kafka."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import (
    EXISTING,
    Failure,
    InputError,
    NothingUsableError,
    Speed,
    example,
    load_settings,
    progress_line,
    settings_options,
)


@click.command(
    "publish",
    epilog=example(
        "impactd publish --data FROG_2025-04-03_mbp10.csv.gz --orders orders.jsonl --speed 60",
        "impactd publish --data day.jsonl.gz --shift --speed 1 -c impactd.toml",
        "impactd publish --orders orders.jsonl",
    ),
)
@click.option("--data", type=EXISTING, multiple=True, metavar="FILE...", help="Ticks; several are merged.")
@click.argument("more", type=EXISTING, nargs=-1, metavar="")
@click.option("--orders", type=EXISTING, help="Parent orders, JSON lines.")
@click.option("--executions", type=EXISTING, help="Fills, JSON lines.")
@click.option("--control", type=EXISTING, help="Halts and resumes, JSON lines.")
@click.option("--codec", help="Codec of the ticks, if not to be told from each file.")
@click.option("--symbol", help="Symbol of data that names none; else the file's name up to the first _ or dot.")
@click.option("--speed", type=Speed(), default="max", show_default=True, help="Event time over wall time.")
@click.option("--shift", is_flag=True, help="Move all times so that the first event happens now.")
@settings_options
def command(
    *,
    data: tuple[Path, ...],
    more: tuple[Path, ...],
    orders: Path | None,
    executions: Path | None,
    control: Path | None,
    codec: str | None,
    symbol: str | None,
    speed: float | None,
    shift: bool,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Send a recorded day to Kafka.

    Ticks, orders, executions and control, or some of them. Records keep
    their original times, or are shifted so that the first event happens now.
    A service that applies in event time (plans.apply = "in_event_time") then
    publishes what a replay of the files writes.
    """
    if not (data or more or orders or executions or control):
        raise click.UsageError("Missing option '--data' (or '--orders', '--executions' or '--control').")
    settings = load_settings(config, sets).settings

    import asyncio

    from impactd.cli.compose import limits
    from impactd.shell.kafka.errors import FatalError
    from impactd.shell.kafka.publish import publish
    from impactd.shell.lines import InputFileError
    from impactd.shell.replay import Sources

    sources = Sources((*data, *more), orders, executions, control, codec, symbol)
    try:
        with progress_line("records") as progress:
            publishing = publish(
                settings,
                sources,
                speed=speed,
                shift=shift,
                limits=limits(settings),
                progress=progress,
            )
            summary = asyncio.run(publishing)
    except InputFileError as error:
        raise InputError(str(error)) from error
    except FatalError as error:
        raise Failure(str(error)) from error
    sent = ", ".join(f"{count:,} {topic}" for topic, count in summary.records.items() if count)
    click.echo(f"published {sent or 'nothing'} in {summary.seconds:.1f} s")
    if summary.refused:
        click.echo(f"warning: {summary.refused:,} records could not be decoded and were left out", err=True)
    if summary.unusable:
        raise NothingUsableError("\n".join(summary.unusable))
