"""``impactd selftest``: the daily check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from impactd.cli.common import EXISTING, Failure, example, load_settings, settings_options
from impactd.cli.study import study, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from impactd.config import Settings
    from impactd.research.compare import Day
    from impactd.research.selftest import Selftest
    from impactd.shell.sample import Sample


@click.command(
    "selftest",
    epilog=example(
        "impactd selftest",
        "impactd selftest --data FROG_2025-04-03_mbp10.csv.gz --bootstrap kafka:9092 --out selftest",
    ),
)
@click.option("--data", type=EXISTING, multiple=True, metavar="FILE...", help="Recorded days.")
@click.argument("more", type=EXISTING, nargs=-1, metavar="")
@click.option("--symbol", help="Symbol of data that names none; else the file's name up to the first _ or dot.")
@click.option("--codec", help="Format of the data; told from the file by default.")
@click.option("--bootstrap", help="Broker to take a live sample from; without it there is none.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("selftest"),
    show_default=True,
    metavar="DIR",
    help="Where the dated reports go.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the report to standard output as well.")
@settings_options
def command(
    *,
    data: tuple[Path, ...],
    more: tuple[Path, ...],
    symbol: str | None,
    codec: str | None,
    bootstrap: str | None,
    out: Path,
    as_json: bool,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Check a generated day, recorded days, a live sample, and speed.

    Limits are those of the selftest section of the settings. Writes
    selftest-DATE.json and .html; exits with 0 if healthy and with 1 if not.
    """
    settings = load_settings(config, sets, (("kafka.bootstrap", bootstrap, "--bootstrap"),)).settings
    with study():
        from datetime import UTC, datetime

        from impactd.research.compare import recorded_day
        from impactd.research.selftest import run_selftest
        from impactd.research.selftest_report import as_document, write_selftest

        def day_of(path: Path) -> Callable[[], Day]:
            return lambda: recorded_day(path, codec=codec, symbol=symbol)

        days = [day_of(path) for path in (*data, *more)]
        found = run_selftest(settings.selftest, days, None if bootstrap is None else lambda: _sample(settings))
        at = datetime.now(UTC)
        written = write_selftest(found, out, at)
        if as_json:
            write_json(as_document(found, at))
    if not as_json:
        _show(found)
        click.echo(f"wrote {', '.join(str(path) for path in written)}")
    if not found.healthy:
        raise Failure("not healthy: " + "; ".join(check.name for check in found.checks if not check.healthy))


def _sample(settings: Settings) -> Sample:
    import asyncio

    from impactd.cli.compose import limits
    from impactd.shell.sample import sample_ticks

    return asyncio.run(sample_ticks(settings, limits(settings), settings.selftest.sample_records))


def _show(found: Selftest) -> None:
    for check in found.checks:
        click.echo(f"{'ok  ' if check.healthy else 'FAIL'}  {check.name}: {check.text}")
