"""``impactd paper``: plans traded against the live books, without a market."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import Failure, example, load_settings, settings_options, translated


@click.command("paper", epilog=example("impactd paper -c impactd.toml --orders 'DEMO-*'"))
@click.option("--orders", metavar="PATTERN", required=True, help="cl_ord_id of the orders to trade, such as 'DEMO-*'.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed of the times of trading."
)
@click.option(
    "--style",
    type=click.Choice(["take", "rest"]),
    default="take",
    show_default=True,
    help="take: each interval's quantity walks the book at once. rest: it waits at the best price of its own side, and"
    " takes what is left at the interval's end.",
)
@settings_options
def command(*, orders: str, seed: int, style: str, config: Path | None, sets: tuple[str, ...]) -> None:
    """Trade plans on paper, and report the fills.

    Trades each interval's quantity from a random moment of the interval on,
    against the live books, and reports fills to the executions topic with an
    exec_id that begins with paper-. Entries in auctions trade at the prints that
    the feed flags as auctions; what they do not trade is printed. The service
    counts such fills like any other: name only orders that nobody trades.
    Ctrl-C ends it.
    """
    settings = load_settings(config, sets).settings

    import asyncio
    from contextlib import suppress

    from aiokafka.errors import KafkaError

    from impactd.cli.compose import limits
    from impactd.core.base.quantity import format_qty
    from impactd.shell.kafka.paper import trade_on_paper
    from impactd.shell.paper import PaperFill, Style, Untraded

    def told(what: PaperFill | Untraded) -> None:
        if isinstance(what, Untraded):
            printed = (
                f"it printed {format_qty(what.printed):,} within the limit"
                if what.printed
                else "no print within the limit"
            )
            click.echo(f"{what.cl_ord_id}: {format_qty(what.qty):,} {what.symbol} of {what.kind} not traded: {printed}")
            return
        click.echo(
            f"{what.exec_id}: {what.side} {format_qty(what.qty):,} {what.symbol} at {what.px:.6g} ({what.liquidity})"
        )

    books = settings.core().books
    click.echo(f"paper: trades the orders {orders} of {settings.kafka.environment}; Ctrl-C ends it", err=True)
    with translated(), suppress(KeyboardInterrupt):
        try:
            work = trade_on_paper(
                settings, books, limits(settings), orders=orders, seed=seed, style=Style(style), told=told
            )
            asyncio.run(work)
        except KafkaError as error:
            raise Failure(f"the broker fails: {error!r}") from error
