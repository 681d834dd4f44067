"""``impactd publish``: a recorded day into Kafka."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import (
    Day,
    NothingUsableError,
    Speed,
    data_options,
    example,
    load_settings,
    progress_line,
    settings_options,
    translated,
)


@click.command(
    "publish",
    epilog=example(
        "impactd publish --data FROG_2025-04-03_mbp10.csv.gz --orders orders.jsonl --speed 60",
        "impactd publish --data day.jsonl.gz --shift --speed 1 -c impactd.toml",
        "impactd publish --orders orders.jsonl",
    ),
)
@data_options("Ticks, merged by time", day=True)
@click.option("--speed", type=Speed(), default="max", show_default=True, help="Event time over wall time.")
@click.option("--shift", is_flag=True, help="Move all times so that the first event happens now.")
@settings_options
def command(
    *,
    data: Day,
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
    if data.is_empty:
        raise click.UsageError("Missing option '--data' (or '--orders', '--executions' or '--control').")
    settings = load_settings(config, sets).settings

    import asyncio

    from impactd.cli.compose import limits
    from impactd.shell.kafka.publish import publish

    with translated(), progress_line("records") as progress:
        publishing = publish(
            settings, data.sources(), speed=speed, shift=shift, limits=limits(settings), progress=progress
        )
        summary = asyncio.run(publishing)
    sent = ", ".join(f"{count:,} {topic}" for topic, count in summary.records.items() if count)
    click.echo(f"published {sent or 'nothing'} in {summary.seconds:.1f} s")
    if summary.refused:
        click.echo(f"warning: {summary.refused:,} records could not be decoded and were left out", err=True)
    if summary.unusable:
        raise NothingUsableError("\n".join(summary.unusable))
