"""``impactd page``: the live page as its own process."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import Failure, InputError, example, load_settings, settings_options, translated


@click.command(
    "page",
    epilog=example(
        "impactd page -c impactd.toml",
        "impactd page --service http://10.0.0.1:9464 --service http://10.0.0.2:9464 --port 9470",
    ),
)
@click.option(
    "--service",
    "services",
    metavar="URL",
    multiple=True,
    help="Address of a service whose health is shown; repeatable.  [default: http.host and http.port of the settings]",
)
@click.option("--port", type=click.IntRange(0, 65_535), default=9470, show_default=True, help="Port to listen on.")
@settings_options
def command(*, services: tuple[str, ...], port: int, config: Path | None, sets: tuple[str, ...]) -> None:
    """Serve the live page in its own process.

    Reads what services publish from their topics, so that any number of readers
    costs the services nothing; start those with http.page=false. Estimates of
    orders (impactd estimate --url) are still asked of a service. Ctrl-C ends it.
    """
    settings = load_settings(config, sets).settings

    import asyncio
    from contextlib import suppress

    from impactd.shell.ask import asked_at
    from impactd.shell.http import serve_page
    from impactd.shell.kafka.errors import FatalError
    from impactd.shell.logging import setup

    for url in services:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"--service: needs http:// or https://, not {url!r}")
    setup(settings.log.level, settings.log.format, libraries=settings.log.libraries)
    host = asked_at(settings.http.host)
    urls = services or (f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}",)

    async def serve() -> None:
        async with serve_page(settings.replace(http={"port": port}), urls) as (at, found):
            click.echo(f"live page: http://{f'[{at}]' if ':' in at else at}:{found}/", err=True)
            await asyncio.get_running_loop().create_future()

    with translated(), suppress(KeyboardInterrupt):
        try:
            asyncio.run(serve())
        except FatalError as error:
            raise Failure(str(error)) from error
