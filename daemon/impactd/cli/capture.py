"""``impactd capture``: a run's inputs and journal as files."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import example, load_settings, settings_options, translated


@click.command(
    "capture",
    epilog=example("impactd capture --out captured", "impactd replay --journal captured/journal.jsonl --out again"),
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory of the files.")
@click.option("--outputs", is_flag=True, help="Also what was published, for impactd audit --capture.")
@settings_options
def command(*, out: Path, outputs: bool, config: Path | None, sets: tuple[str, ...]) -> None:
    """Write a run's inputs and journal to files.

    What is committed when the command starts is written, one JSON line a
    record, one file per topic; impactd replay --journal derives the run again.
    """
    settings = load_settings(config, sets).settings

    import asyncio

    from impactd.shell.audit.capture import capture

    with translated():
        counts = asyncio.run(capture(settings, out, outputs=outputs))
    for topic, count in counts.items():
        click.echo(f"{out / topic.value}.jsonl  {count:,} records")
