"""Shared by the research commands: options, days, tables and errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from impactd.cli.common import Data, Failure, FiniteRange, InputError, data_options, grouped, in_order
from impactd.cli.common import NothingUsableError as Unusable
from impactd.cli.hours import session_options
from impactd.core.base.extras import remedy

if TYPE_CHECKING:
    import pandas as pd

    from impactd.cli.hours import Hours
    from impactd.research.compare import Day


_ABOVE_0: Final = FiniteRange(0, min_open=True)

study_options = in_order(
    data_options(),
    click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed of the generated day."
    ),
    click.option(
        "--side", type=click.Choice(["buy", "sell"]), default="buy", show_default=True, help="Side of the order."
    ),
    click.option("--intervals", type=click.IntRange(1), default=50, show_default=True, help="Intervals of a schedule."),
    click.option("--json", "as_json", is_flag=True, help="Write JSON for machines."),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Options of a study of one order's schedules; `timeout` in seconds."""

    data: Data
    seed: int
    side: str
    intervals: int
    as_json: bool
    shares: float
    timeout: float
    session: str | None
    tz: str | None


schedule_options = grouped(
    "asked",
    Asked,
    study_options,
    session_options,
    click.option("--shares", type=_ABOVE_0, default=100_000.0, show_default=True, help="Shares of the order."),
    click.option("--timeout", type=_ABOVE_0, default=30.0, show_default=True, help="Time limit of a solver, seconds."),
)


@contextmanager
def study() -> Iterator[None]:
    """Turn the batch API's errors into a command's.

    Raises
    ------
    NothingUsableError
        For input that can be read, and holds nothing usable.
    InputError
        For other input that cannot be used (codes 1001, 1002).
    Failure
        For everything else, the `research` extra not being installed included.
    """
    try:
        from impactd.research.errors import NothingUsableError, ResearchError, ValidationError

        try:
            yield
        except NothingUsableError as error:
            raise Unusable(str(error)) from error
        except ValidationError as error:
            raise InputError(str(error)) from error
        except ResearchError as error:
            raise Failure(str(error)) from error
    except ModuleNotFoundError as error:
        raise Failure(f"{error.name} is not installed: {remedy('research')}") from error


def days_of(data: Data, seed: int, traded: Hours) -> list[Day]:
    """Return the generated day, and the recorded ones within their session."""
    from impactd.research.compare import generated_day, recorded_day

    recorded = [
        recorded_day(path, codec=data.codec, symbol=data.symbol, session=traded.rule, hours=traded.text)
        for path in data.paths
    ]
    return [generated_day(seed), *recorded]


def show_table(title: str, table: pd.DataFrame) -> None:
    """Write a table for people: framed on a terminal, aligned columns otherwise."""
    rows = [[_text(value) for value in row] for row in table.itertuples(index=False)]
    names = [str(name) for name in table.columns]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        framed = Table(*names, title=title)
        for row in rows:
            framed.add_row(*row)
        Console().print(framed)
        return
    click.echo(title)
    widths = [max(len(row[i]) for row in [names, *rows]) for i in range(len(names))]
    for row in [names, *rows]:
        click.echo("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo()


def _text(value: object) -> str:
    if isinstance(value, float):
        # NaN is a gap: what a solver that failed has not given.
        return "-" if value != value else f"{value:,.6g}"  # noqa: PLR0124  (only NaN differs from itself)
    return str(value)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows for JSON: gaps as null, times as ISO texts."""

    def shown(value: Any) -> Any:
        if value != value:  # noqa: PLR0124  (NaN, NaT)
            return None
        return value.isoformat() if hasattr(value, "isoformat") else value

    return [{str(name): shown(value) for name, value in row.items()} for row in table.to_dict("records")]
