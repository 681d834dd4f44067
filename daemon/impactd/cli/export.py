"""``impactd export``: plans, executions and costs as Parquet files or PostgreSQL tables, each record once."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import Failure, InputError, example, load_settings, settings_options, translated, write_json


@click.command(
    "export",
    epilog=example(
        "impactd export -c impactd.toml --to exported",
        "impactd export -c impactd.toml --to postgresql://desk@db/trading",
    ),
)
@click.option("--to", metavar="DIR|URL", required=True, help="Directory of Parquet files, or postgresql://...")
@click.option("--json", "as_json", is_flag=True, help="Write JSON for machines.")
@settings_options
def command(*, to: str, as_json: bool, config: Path | None, sets: tuple[str, ...]) -> None:
    """Export plans, executions and costs from the topics, each record once.

    Writes what the target does not have yet, up to the present end of the
    topics: run it after each day, before retention deletes the records. An
    interrupted run is continued by the next one. Tables: plans, executions,
    fill_costs, order_costs, day_costs; a revised cost is a further row, and the
    highest offset holds. Parquet needs the extra arrow, PostgreSQL the extra
    postgres.
    """
    settings = load_settings(config, sets).settings

    import asyncio
    from contextlib import closing

    from impactd.shell.export.parquet import ParquetSink
    from impactd.shell.export.postgres import PositionTakenError, PostgresSink
    from impactd.shell.export.topics import export

    is_server = to.startswith(("postgresql://", "postgres://"))
    if not is_server and "://" in to:
        raise InputError(f"--to: {to.partition(':')[0]} is not known; give a directory or postgresql://...")
    try:
        with translated(), closing(PostgresSink(to) if is_server else ParquetSink(Path(to))) as sink:
            done = asyncio.run(export(settings, sink))
    except (BlockingIOError, PositionTakenError) as error:
        raise Failure(f"another export writes to {to}; try again when it has ended") from error
    except OSError as error:
        raise InputError(f"--to: {to}: {error.strerror}; give a directory that can be written") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "psycopg":
            raise
        raise Failure(
            f"PostgreSQL: {error}; what was committed stays, and the next run continues from there"
        ) from error
    for gap in done.gaps:
        click.echo(f"warning: {gap} were deleted by retention before they were exported", err=True)
    foreign = {topic: count for topic, count in done.foreign.items() if count}
    for topic, count in foreign.items():
        click.echo(f"warning: {topic}: {count:,} records are no messages of the service, and were left out", err=True)
    if as_json:
        write_json({"rows": done.rows, "gaps": done.gaps, "foreign": foreign})
        return
    click.echo(", ".join(f"{count:,} {name}" for name, count in done.rows.items() if count) or "nothing new")
