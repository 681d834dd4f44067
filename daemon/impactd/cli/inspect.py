"""``impactd inspect``: what recorded files are, and the command to run next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from impactd.cli.common import (
    Data,
    Days,
    InputError,
    Named,
    NothingUsableError,
    example,
    load_settings,
    settings_options,
)
from impactd.cli.hours import hours, session_options

if TYPE_CHECKING:
    from impactd.shell.inspect import FileFacts


@click.command(
    "inspect",
    epilog=example(
        "impactd inspect AMZN_2012-06-21_5.zip",
        "impactd inspect monday.dbn.zst tuesday.dbn.zst --json",
    ),
)
@click.argument("files", type=Days(), nargs=-1, required=True, metavar="FILE...")
@click.option("--codec", help="Codec of the files; recognised from each by default.")
@click.option("--symbol", help="Symbol of data that names none.")
@click.option("--json", "as_json", is_flag=True, help="Write what was found as JSON.")
@session_options
@settings_options
def command(
    *,
    files: tuple[Named, ...],
    codec: str | None,
    symbol: str | None,
    as_json: bool,
    session: str | None,
    tz: str | None,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Identify recorded files: format, symbols, what would be rejected and why, and what to run next.

    The whole file is read, with the checks of the service. Exit status 4 if nothing in a file can be used.
    """
    loaded = load_settings(config, sets)

    import dataclasses

    import orjson

    from impactd.cli.compose import limits
    from impactd.shell.inspect import inspect_file
    from impactd.shell.lines import InputFileError

    found, unusable = [], []
    paths = Data(tuple(path for one in files for path in one.paths), (), symbol, codec).paths
    for path in paths:
        try:
            facts = inspect_file(path, codec, symbol, loaded.settings.core().books, limits(loaded.settings))
        except InputFileError as error:
            raise InputError(str(error)) from error
        traded = hours(loaded, tz, session, Data((path,), (), symbol, codec))
        given = [("--codec", codec), ("--symbol", symbol), ("--session", session), ("--tz", tz), ("-c", config)]
        options = [(flag, str(value)) for flag, value in given if value is not None]
        options += [("--set", value) for value in sets]
        following = _next(facts, [str(path)], options)
        if not facts.usable:
            unusable.append(f"{path}: nothing can be used; {facts.first_refused or _nothing(facts)}")
        if as_json:
            found.append({**dataclasses.asdict(facts), "path": str(path), "hours": traded.text, "next": following})
            continue
        for name, value in _lines(facts, traded.text):
            click.echo(f"{name:<10} {value}")
        click.echo(f"{'next':<10} {following}\n" if facts.usable else "")
        if facts.usable and len(paths) > 1 and path == paths[-1]:
            click.echo(f"{'all':<10} {_next(facts, [one.text for one in files], options)}\n")
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    if unusable:
        raise NothingUsableError("\n".join(unusable))


def _lines(facts: FileFacts, hours_text: str) -> list[tuple[str, str]]:
    from impactd.cli.summary import counts
    from impactd.shell.view import clock_text

    span = "none"
    if facts.first_ns is not None and facts.last_ns is not None:
        span = f"{clock_text(facts.first_ns)} to {clock_text(facts.last_ns)} UTC"
    lines = [
        ("file", str(facts.path)),
        ("codec", facts.codec),
        ("rows", f"{facts.books + facts.trades:,} ({facts.books:,} books, {facts.trades:,} trades)"),
        ("span", span),
        ("hours", hours_text),
        ("time unit", f"{facts.time_unit}, of times that are whole numbers"),
    ]
    for name, one in facts.symbols.items():
        price = "no usable book of two sides"
        if one.spread is not None:
            price = f"median spread {one.spread:.6g}, median mid {one.mid:.8g}"
        lines.append(
            ("symbol", f"{name}: {one.books:,} books of up to {one.n_levels} levels, {one.trades:,} trades, {price}")
        )
    lines += [("rejected", counts(facts.rejected)), ("refused", counts(facts.refused))]
    if facts.first_refused:
        lines.append(("", f"the first: {facts.first_refused}"))
    if facts.events:
        lines.append(("events", f"{facts.events:,} definitions, trading statuses and imbalances"))
    if facts.skipped:
        lines.append(("skipped", f"{facts.skipped:,} records of types that give no rows"))
    return lines


def _nothing(facts: FileFacts) -> str:
    from impactd.core.books.checks import most_rejected

    if facts.rejected:
        n, why = most_rejected(facts.rejected)
        return f"all its {facts.books + facts.trades:,} rows are rejected, {n:,} as {why}"
    if not facts.skipped:
        return "it holds no book and no trade"
    return (
        f"its {facts.skipped:,} records give no rows: they are of other types, or changes of a book whose snapshot is "
        "not in the file; capture that too"
    )


def _next(facts: FileFacts, names: list[str], options: list[tuple[str, Any]]) -> str:
    """Return the command that replays files as one was read here; a file without books needs one of books, BOOKS."""
    words = ["impactd", "replay", "--data", *([] if facts.books else ["BOOKS"]), *names]
    for flag, value in options:
        words += [flag, value]
    if facts.time_unit != "ns" and not any("wire.time_unit" in value for _, value in options):
        words += ["--set", f"wire.time_unit={facts.time_unit}"]
    name = next(iter(facts.symbols), "day").partition(" ")[0]
    out = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return shlex.join([*words, "--out", f"{out}-replay"])
