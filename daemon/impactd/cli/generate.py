"""``impactd generate``: order books for demos and load."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from impactd.cli.common import InputError, example, progress_line


@click.command(
    "generate",
    epilog=example(
        "impactd generate --out day.jsonl.gz --snapshots 20000 --seed 7",
        "impactd generate --out load.jsonl --symbols 50 --days 2 --snapshots 100000",
    ),
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write: .jsonl, or .csv for the long CSV; with .gz or .xz compressed.",
)
@click.option("--snapshots", type=int, default=23_400, show_default=True, help="Books a symbol and day.")
@click.option("--levels", type=int, default=10, show_default=True, help="Levels a side.")
@click.option("--symbols", type=int, default=1, show_default=True, help="Symbols: DEMO1, DEMO2 and so on.")
@click.option("--days", type=int, default=1, show_default=True, help="Trading days.")
@click.option("--first-day", type=click.DateTime(["%Y-%m-%d"]), default="2025-06-02", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same day.")
def command(*, out: Path, snapshots: int, levels: int, symbols: int, days: int, first_day: datetime, seed: int) -> None:
    """Generate order books for demos and load tests.

    Books with an intraday profile, random updates and depth that refills
    after trades, over United States trading hours. They resemble a
    market, but are no evidence of accuracy.
    """
    from impactd.research.generate import generate_file
    from impactd.research.generator import GeneratorSpec

    try:
        spec = GeneratorSpec(snapshots, levels, symbols, days, seed, first_day.date())
        with progress_line("rows") as progress:
            made = generate_file(out, spec, None if progress is None else lambda rows: progress(rows, 0))
    except ValueError as error:
        raise InputError(str(error)) from error
    click.echo(f"{made.path}: {made.books:,} books, {made.trades:,} trades, {made.n_bytes:,} bytes")
