"""``impactd compile``: machine code before it is needed."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import example, load_settings, settings_options


@click.command("compile", epilog=example("NUMBA_CACHE_DIR=/var/cache/impactd impactd compile -c impactd.toml"))
@settings_options
def command(*, config: Path | None, sets: tuple[str, ...]) -> None:
    """Compile the kernels ahead of the first start.

    Until its kernels are compiled, which takes about a minute, a service runs
    them as Python: the same results, but each tick costs many times as much.
    An image or a host that has run this starts at full speed.
    Machine code is kept in NUMBA_CACHE_DIR, separately for each release.
    """
    settings = load_settings(config, sets).settings

    from impactd.shell.kafka.warm import reported, warm_up

    with reported(lambda seconds: click.echo(f"compiling, {seconds:.0f} s so far ...", err=True)):
        seconds = warm_up(settings.core())
    click.echo(f"compiled in {seconds:.1f} s")
