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
@settings_options
def command(*, orders: str, seed: int, config: Path | None, sets: tuple[str, ...]) -> None:
    """Trade plans on paper, and report the fills.

    Takes each interval's quantity from the prevailing book at a random moment
    of the interval, and reports a fill to the executions topic with an exec_id
    that begins with paper-. The service counts such fills like any other: name
    only orders that nobody trades. Ctrl-C ends it.
    """
    settings = load_settings(config, sets).settings

    import asyncio
    from contextlib import suppress

    from aiokafka.errors import KafkaError

    from impactd.cli.compose import limits
    from impactd.core.base.quantity import format_qty
    from impactd.shell.kafka.paper import trade_on_paper
    from impactd.shell.paper import PaperFill

    def told(fill: PaperFill) -> None:
        click.echo(f"{fill.exec_id}: {fill.side} {format_qty(fill.qty):,} {fill.symbol} at {fill.px:.6g}")

    books = settings.core().books
    click.echo(f"paper: trades the orders {orders} of {settings.kafka.environment}; Ctrl-C ends it", err=True)
    with translated(), suppress(KeyboardInterrupt):
        try:
            asyncio.run(trade_on_paper(settings, books, limits(settings), orders=orders, seed=seed, told=told))
        except KafkaError as error:
            raise Failure(f"the broker fails: {error!r}") from error
