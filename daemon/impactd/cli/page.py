"""``impactd page``: the live page."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import example, load_settings, settings_options, translated


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
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on.  [setting: http.page_port]")
@settings_options
def command(*, services: tuple[str, ...], port: int | None, config: Path | None, sets: tuple[str, ...]) -> None:
    """Serve the live page and its API.

    Reads what services publish from their topics, so that any number of readers
    costs the services nothing. A name of --service with several addresses names
    several services. Ctrl-C or SIGTERM ends it.
    """
    settings = load_settings(config, sets, [("http.page_port", port, "--port")]).settings

    import asyncio
    import signal

    from impactd.cli.api import service_url
    from impactd.shell.ask import http_url
    from impactd.shell.http import serve_page
    from impactd.shell.logging import setup

    urls = tuple(service_url(settings, url, "--service") for url in services or (None,))
    setup(settings.log.level, settings.log.format, libraries=settings.log.libraries)

    async def serve() -> None:
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        async with serve_page(settings, urls) as (at, found):
            click.echo(f"live page: {http_url(at, found)}/", err=True)
            await ended.wait()

    with translated():
        asyncio.run(serve())
