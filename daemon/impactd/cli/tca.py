"""``impactd tca``: what orders and fills cost after the trade, as tables and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from impactd.cli.common import (
    EXISTING,
    Data,
    FiniteRange,
    data_options,
    directory_option,
    example,
    load_settings,
    names_of,
    settings_options,
    write_json,
)
from impactd.cli.hours import hours, session_options
from impactd.cli.study import records, study


@click.command(
    "tca",
    epilog=example(
        "impactd tca --results result --by symbol,side --out costs",
        "impactd tca --results captured --since 1d --by symbol,hour --fees fees.toml --out costs",
        "impactd tca --results result --data FROG.csv.gz --out costs",
    ),
)
@click.option(
    "--results",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    required=True,
    help="Directory of a replay, or of a capture with --outputs.",
)
@data_options("Books for the response to fills by seconds; without them it is by minutes")
@click.option("--since", metavar="TIME", help="Only orders that ended, and fills that traded, since: ISO, or 2h, 1d.")
@click.option(
    "--by",
    metavar="A,B,...",
    default="symbol,side",
    show_default=True,
    help="Columns, such as urgency, or hour and date, which are local to the session.",
)
@click.option(
    "--fees",
    type=EXISTING,
    help='TOML: a table for each pattern of symbols, such as "*" or, at a venue, "*@XNAS", with taker, maker, bps.',
)
@click.option(
    "--rates",
    type=EXISTING,
    help="TOML: currency of the report, and [rates] of the others in it.",
)
@click.option(
    "--rate",
    type=FiniteRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="Participation rate of the participation-weighted price.",
)
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Write JSON for machines.")
@directory_option("Directory of the tables and tca.html.", required=True)
@session_options
@settings_options
def command(
    *,
    results: Path,
    data: Data,
    since: str | None,
    by: str,
    fees: Path | None,
    rates: Path | None,
    rate: float,
    form: Literal["csv", "parquet"],
    as_json: bool,
    out: Path,
    session: str | None,
    tz: str | None,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Report what orders and fills cost, after the trade.

    Delay, spread, impact, timing, opportunity and fees of each order, against arrival, VWAP and participation-weighted
    price; markouts, spread capture and outliers of fills; how mid, spread and depth respond to fills. Writes fills,
    orders, response and a summary by the columns of --by as tables, and tca.html.
    """
    import time

    from impactd.cli.times import parse_when

    loaded = load_settings(config, sets)
    traded = hours(loaded, tz, session, data)
    with study():
        import pandas as pd

        from impactd.research.cost_analysis import Analysis, analyse, read_fees, read_results
        from impactd.research.cost_report import answer, write_costs
        from impactd.research.currencies import read_rates
        from impactd.research.response import responses

        read = read_results(results)
        found = analyse(
            read.costs,
            read.minutes,
            read.plans,
            fees=None if fees is None else read_fees(fees),
            rate=rate,
            rates=None if rates is None else read_rates(rates),
        )
        after = None
        if since is not None:
            after = pd.Timestamp(parse_when(since, "--since", time.time_ns()), unit="ns", tz="UTC")
            recent = [
                table[table[column] >= after].reset_index(drop=True) if len(table) else table
                for table, column in zip(found, ("ts_event", "as_of"), strict=True)
            ]
            found = Analysis(*recent)
        response = responses(
            read.costs.fills,
            read.books,
            data.paths,
            settings=traded.applied(loaded.settings.core()),
            symbol=data.symbol,
            codec=data.codec,
            since=after,
        )
        written = write_costs(found, names_of(by), out, form, response, traded.zone)
    if as_json:
        write_json(
            {
                "answer": answer(found),
                "hours": traded.text,
                "orders": records(found.orders),
                "response": records(response),
                "files": [str(path) for path in written],
            }
        )
        return
    click.echo(answer(found))
    click.echo(f"hours, and half hours of the response, are those of {traded.text}")
    click.echo(f"wrote {', '.join(path.name for path in written)} to {out}")
