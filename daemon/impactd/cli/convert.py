"""``impactd convert``: a vendor's records as order books that every command reads."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import EXISTING, example
from impactd.cli.study import study


@click.command(
    "convert",
    epilog=example(
        "impactd convert --source polygon --data quotes.json --out FROG.csv.gz",
        "impactd convert --source lseg --fetch FROG.O --from 2025-04-03T13:30Z --to 2025-04-03T20:00Z --out FROG.csv",
    ),
)
@click.option("--source", "name", help="Vendor of the records; --list shows them.")
@click.option("--data", type=EXISTING, metavar="FILE", help="Recorded records: .json, .jsonl or .csv, also compressed.")
@click.option("--fetch", "symbol", metavar="SYMBOL", help="Fetch them instead, by the vendor's own client.")
@click.option("--from", "start", metavar="TIME", help="With --fetch: first time (UTC without a zone).")
@click.option("--to", "end", metavar="TIME", help="With --fetch: time to end before.")
@click.option("--symbol", "kept", metavar="NAME", help="Symbol to keep; the symbol of data that name none.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write: .csv or .jsonl; compressed with .gz or .xz.",
)
@click.option("--list", "listed", is_flag=True, help="List the sources that are installed.")
def command(
    *,
    name: str | None,
    data: Path | None,
    symbol: str | None,
    kept: str | None,
    start: str | None,
    end: str | None,
    out: Path | None,
    listed: bool,
) -> None:
    """Convert a vendor's quotes or books into a file that every command reads."""
    with study():
        from impactd.research.books_io import write_books
        from impactd.research.sources import fetch_source, read_source, source_names

        if listed:
            click.echo("\n".join(source_names()))
            return
        if name is None or out is None or (data is None) == (symbol is None):
            raise click.UsageError("give --source, --out, and either --data or --fetch")
        if symbol is not None and (start is None or end is None):
            raise click.UsageError("--fetch needs --from and --to")
        books = (
            read_source(name, data, symbol=kept) if data is not None else fetch_source(name, symbol or "", start, end)
        )
        named = books.attrs.get("symbols") or []
        written = write_books(books, out, symbol=None if named else symbol or kept)
    n_books = len(books[books.columns.intersection(["time", "symbol"])].drop_duplicates())
    click.echo(f"{n_books:,} books, {len(books):,} rows: {written}")
