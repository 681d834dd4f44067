"""The option ``--shard`` of studies that run in parts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from impactd.cli.common import InputError

if TYPE_CHECKING:
    from impactd.core.base.settings import CoreSettings
    from impactd.research.shards import Content, Unit, Whole

F = TypeVar("F", bound=Callable[..., Any])


class Shard(click.ParamType[tuple[int, int]]):
    """``I/N``: part I, 1 to N, of N."""

    name = "I/N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return the number of the part, and of how many."""
        number, slash, of = str(value).partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            self.fail(f"{value!r} is not I/N: give a part from 1 to N, such as 1/8 to 8/8", param, ctx)
        return int(number), int(of)


def shard_option(units: str) -> Callable[[F], F]:
    """Return the option ``--shard``."""
    text = f"Compute only part I of N {units}, for impactd merge; what --out has already is not repeated."
    return click.option("--shard", type=Shard(), help=text)


def known(core: CoreSettings, files: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return what the figures of every study follow from: release, settings and the checksums of files."""
    from impactd.__about__ import __version__
    from impactd.core.state.schema import settings_hash

    return {"release": __version__, "settings": settings_hash(core), "inputs": list(files)}


def work(
    shard: tuple[int, int],
    whole: Whole,
    out: Path,
    worked: Callable[[list[Unit]], Generator[tuple[Unit, Content], None, None]],
    units: str = "units",
) -> None:
    """Compute one shard by the study's `worked` and show what was done.

    Raises
    ------
    InputError
        If `out` cannot be written.
    """
    from impactd.research.shards import run_shard

    number, of = shard
    try:
        n, had = run_shard(whole, number, of, out, worked)
    except OSError as error:
        raise InputError(f"--out: {out}: cannot be written: {error.strerror}") from error
    click.echo(
        f"shard {number} of {of}: {n} of the {len(whole.units)} {units} computed, {had} were there; results in {out}"
    )
