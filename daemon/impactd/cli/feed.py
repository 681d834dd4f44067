"""``impactd feed``: a vendor's live feed into the ticks topic."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from impactd.cli.common import example, load_settings, names_of, settings_options, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from impactd.config import Settings
    from impactd.shell.feed.sink import Sink

_VENUES = ("binance", "binance-futures", "bybit-spot", "bybit-linear", "coinbase", "kraken", "okx")


@click.group("feed", epilog=example("impactd feed crypto --venue binance --symbols BTCUSDT,ETHUSDT -c impactd.toml"))
def command() -> None:
    """Send a vendor's live feed to the ticks topic.

    Connects again after a loss, and ends the books until their next snapshot. Ctrl-C ends it.
    """


@command.command(
    "crypto",
    epilog=example(
        "impactd feed crypto --venue binance --symbols BTCUSDT,ETHUSDT -c impactd.toml",
        "impactd feed crypto --venue kraken --symbols BTC/USD --dry-run --limit 5",
    ),
)
@click.option("--venue", type=click.Choice(_VENUES), required=True, help="Venue whose public feed is followed.")
@click.option("--symbols", required=True, metavar="NAME,...", help="Symbols as the venue writes them.")
@click.option("--dry-run", is_flag=True, help="Print the records instead of sending them.")
@click.option("--limit", type=click.IntRange(1), help="With --dry-run: end after so many records.")
@click.option("--url", metavar="URL", help="Another address of the feed, such as a test network's.")
@click.option("--snapshots", metavar="URL", help="Another address of snapshots, to which the symbol is added.")
@settings_options
def crypto(
    *,
    venue: str,
    symbols: str,
    dry_run: bool,
    limit: int | None,
    url: str | None,
    snapshots: str | None,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Send a coin venue's books and trades to the ticks topic, as the venue's own messages."""
    settings = load_settings(config, sets).settings
    names = names_of(symbols)
    if not names:
        raise click.UsageError("--symbols: name at least one")

    from dataclasses import replace

    from impactd.cli.compose import limits
    from impactd.shell.feed.crypto import VENUES, CryptoFeed

    found = VENUES[venue]
    if url is not None:
        found = replace(found, url=url)
    if snapshots is not None:
        found = replace(found, snapshot=snapshots)
    click.echo(f"feed: {venue} {', '.join(names)}; Ctrl-C ends it", err=True)
    _run(settings, lambda sink: CryptoFeed(found, names, sink, limits(settings)).run(), dry_run=dry_run, limit=limit)


@command.command(
    "databento",
    epilog=example(
        "impactd feed databento --dataset XNAS.ITCH --schema mbp-10,status --symbols FROG,AAPL -c impactd.toml",
        "impactd feed databento --dataset GLBX.MDP3 --schema mbo --symbols ES.FUT --stype-in parent --dry-run",
    ),
)
@click.option("--dataset", required=True, help="Databento's name of the data set.")
@click.option("--schema", required=True, metavar="NAME,...", help="Such as mbp-10, mbo, status, definition.")
@click.option("--symbols", required=True, metavar="NAME,...", help="Symbols to follow.")
@click.option("--stype-in", default="raw_symbol", show_default=True, help="Databento's type of --symbols.")
@click.option("--dry-run", is_flag=True, help="Print the records instead of sending them, in hexadecimal.")
@click.option("--limit", type=click.IntRange(1), help="With --dry-run: end after so many records.")
@click.option("--gateway", metavar="HOST:PORT", help="Another address than that of the data set.")
@settings_options
def databento(
    *,
    dataset: str,
    schema: str,
    symbols: str,
    stype_in: str,
    dry_run: bool,
    limit: int | None,
    gateway: str | None,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Send Databento's live records to the ticks topic.

    The key is read from the environment variable DATABENTO_API_KEY.
    Needs the extra databento.
    """
    import os

    settings = load_settings(config, sets).settings
    names, schemas = names_of(symbols), names_of(schema)
    key = os.environ.get("DATABENTO_API_KEY", "")
    if not key:
        raise click.UsageError("DATABENTO_API_KEY is not set; set it to your key")
    if not names or not schemas:
        raise click.UsageError("--symbols, --schema: name at least one")
    host, _, port = (gateway or "").rpartition(":")
    if gateway is not None and not (host and port.isdigit()):
        raise click.UsageError(f"--gateway: {gateway} is not HOST:PORT")

    from impactd.shell.feed.databento import DatabentoFeed, Subscription

    wanted = Subscription(key, dataset, schemas, names, stype_in, host or None, int(port or 13_000))
    click.echo(f"feed: databento {dataset} {', '.join(schemas)}; Ctrl-C ends it", err=True)
    _run(settings, lambda sink: DatabentoFeed(wanted, sink).run(), dry_run=dry_run, limit=limit)


def _run(
    settings: Settings, feed: Callable[[Sink], Coroutine[Any, Any, None]], *, dry_run: bool, limit: int | None
) -> None:
    """Run a feed until it is interrupted, or a dry run has shown enough."""
    import asyncio
    from contextlib import suppress

    from impactd.shell.feed.sink import TextSink, kafka_sink
    from impactd.shell.kafka.tasks import until

    async def run() -> None:
        sink: AbstractAsyncContextManager[Sink]
        text = TextSink(click.echo, limit)
        sink = nullcontext(text) if dry_run else kafka_sink(settings)
        async with sink as opened:
            await until(text.done, feed(opened))

    with translated(), suppress(KeyboardInterrupt):
        asyncio.run(run())
