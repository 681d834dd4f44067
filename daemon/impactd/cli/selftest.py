"""``impactd selftest``: the daily check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from impactd.cli.common import (
    Data,
    Failure,
    data_options,
    directory_option,
    example,
    load_settings,
    settings_options,
    write_json,
)
from impactd.cli.study import study

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
@data_options()
@click.option("--bootstrap", help="Broker to take a live sample from; without it, no live sample is checked.")
@directory_option("Directory of the dated reports.", default=Path("selftest"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Write the report to standard output as well.")
@settings_options
def command(
    *,
    data: Data,
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
            return lambda: recorded_day(path, codec=data.codec, symbol=data.symbol)

        days = [day_of(path) for path in data.paths]
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
