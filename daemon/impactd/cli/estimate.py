"""``impactd estimate``: what an order would cost, before it exists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from impactd.cli.api import ask_service, url_option
from impactd.cli.common import (
    EXISTING,
    Data,
    Finite,
    InputError,
    NothingUsableError,
    example,
    load_settings,
    settings_options,
    translated,
)
from impactd.cli.hours import Hours
from impactd.cli.ticket import TICKET, Clock, Ticket, clock_on, local_time, new_order, term_options, time_options

if TYPE_CHECKING:
    from impactd.config import Loaded


@click.command(
    "estimate",
    epilog=example(
        "impactd estimate --symbol FROG --side buy --qty 20000 --from 10:00 --to 16:00 --data FROG.csv.gz",
        "impactd estimate --symbol FROG --side buy --qty 20000 --to close --url http://impactd:8080 --max-cost 5",
    ),
)
@click.option("--symbol", help="Symbol.  [default: the data's, where they have one]")
@click.option("--side", type=click.Choice(["buy", "sell"]), required=True)
@term_options(new=True)
@click.option("--data", "paths", type=EXISTING, multiple=True, metavar="FILE", help="Recorded days, used up to --from.")
@click.option("--codec", help="Format of the data; recognised from each file by default.")
@url_option
@click.option("--max-cost", type=Finite(), metavar="BPS", help="Also find the largest quantity within this cost.")
@time_options
@click.option("--json", "as_json", is_flag=True, help="Write the estimate as JSON.")
@settings_options
def command(
    *,
    side: str,
    paths: tuple[Path, ...],
    codec: str | None,
    url: str | None,
    max_cost: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Estimate what an order would cost.

    Prices impactd's plan, TWAP, VWAP and POV with the forecast that plans use: that of the running service, or of the
    recorded days up to the start of the order. Nothing is published.
    """
    if paths and url is not None:
        raise InputError("--data, --url: exclude each other; give one")
    ticket = Ticket.of(given | {"file": None, "dry_run": True})
    given = {name: value for name, value in given.items() if name not in TICKET}
    loaded = load_settings(ticket.config, ticket.sets)
    data = Data(paths, (), ticket.symbol, codec) if paths else None
    record, clock, traded, _ = new_order(side, "estimate", ticket, loaded, data, given)
    found = estimated(record, url, data, loaded, traded, max_cost, clock)
    if as_json:
        from impactd.cli.common import write_json

        write_json(found)
        return
    write_estimate(found, clock.zone, max_cost)


def estimated(
    record: dict[str, Any],
    url: str | None,
    data: Data | None,
    loaded: Loaded,
    traded: Hours,
    max_cost_bps: float | None,
    clock: Clock,
) -> dict[str, Any]:
    """Return the estimate of an order: of the service, or on recorded days as known when it begins.

    `clock` is that of the order: on recorded days its time is that of their first row.
    """
    import orjson

    asked = {name: value for name, value in record.items() if name not in {"type", "cl_ord_id", "ts_event"}}
    if max_cost_bps is not None:
        asked["max_cost_bps"] = max_cost_bps
    body = orjson.dumps(asked)
    if data is None:
        return dict(ask_service(loaded.settings, "/api/estimates", url, body))

    from impactd.cli.compose import limits, replay_settings
    from impactd.core.books.checks import most_rejected
    from impactd.core.planning.estimate import NoEstimateError
    from impactd.shell.estimate import QuestionError, engine_at, question

    if record["start"] < clock.now:
        begin, first = (f"{local_time(ns, clock.zone):%Y-%m-%d %H:%M}" for ns in (record["start"], clock.now))
        raise InputError(f"--from: {begin} is before the data, which begin at {first} {clock.zone}; give a later time")
    core = traded.applied(replay_settings(loaded.settings, has_executions=False))
    with translated():
        engine = engine_at(data.paths, core, record["start"], codec=data.codec, symbol=data.symbol)
    rejected = {reason: n for reason, n in engine.rejected().get(record["symbol"], {}).items() if n}
    try:
        found = engine.estimate(*question(body, record["start"], limits(loaded.settings))).as_fields()
    except (NoEstimateError, QuestionError) as error:
        if not rejected or engine.market(record["symbol"]) is not None:
            raise InputError(str(error)) from error
        found = {"doubts": ["unpriced"]}
    if rejected and "unpriced" in found["doubts"]:
        n, why = most_rejected(rejected)
        raise NothingUsableError(
            f"--data: no book of {record['symbol']} can be used; {n:,} of its rows before --from are rejected as {why}"
        )
    return found


#: What makes an estimate less sure, in words.
_DOUBTS: Final = {
    "unpriced": "no book has been seen: there is no cost",
    "prior": "the model rests on the generic prior: few minutes, or no whole day, of this symbol",
    "no_volume": "no trade has been seen: VWAP, POV and limits by volume are unknown",
    "extrapolated": "intervals ask for more than the model has been fitted to",
    "shortfall": "limits do not hold the whole quantity",
    "auction_unknown": "the expected volume of an auction is unknown: the order does not enter it",
    "coverage": "its bands held clearly more or fewer recent trial plans than they should",
    "regime": "the impact level shifted in the last half hour",
}


def _shares(qty: float) -> str:
    return f"{qty:,.0f}" if qty >= 1_000 or qty == int(qty) else f"{qty:,.6g}"


def _basis(basis: dict[str, Any], zone: str) -> str:
    """Return what an estimate rests on, in one line."""
    text = f"rests on {basis['history_minutes']:,.0f} minutes of this symbol, older ones counting less"
    if basis["coverage"] is None:
        text += "; no trial plan has ended yet, so its bands are untried"
    else:
        held = " and ".join(
            f"{share:.0%} in the {level:.0%} band"
            for share, level in zip(basis["coverage"], basis["level"], strict=True)
        )
        text += f"; of the last trial plans of this length (about {basis['trial_plans']:,.0f}) {held}"
    at = basis["regime_at"]
    return text + ("" if at is None else f"; last shift of the impact level {local_time(at, zone):%Y-%m-%d %H:%M}")


def _entry(one: dict[str, Any], zone: str, day_ns: int) -> str:
    """Return what an entry in an auction is, in one line."""
    from impactd.shell.view import number

    at, cutoff = (clock_on(one[name], zone, day_ns) for name in ("at", "cutoff"))
    if one["expected_volume"] is None:
        return f"{one['kind']} at {at}: volume unknown, nothing entered"
    share = (
        "" if one["share"] is None else f", {one['share']:.1%} of its expected volume {_shares(one['expected_volume'])}"
    )
    cost = "unknown" if one["cost"] is None else f"{number(one['cost'], 1)} ({number(one['cost_bps'], 2)} bps)"
    entered = f"enter {_shares(one['qty'])} by {cutoff}{share}, cost {cost}"
    return f"{one['kind']} at {at}: {entered}, in addition to the schedules"


def _largest(found: dict[str, Any], max_cost_bps: float) -> str:
    """Return the largest quantity within a cost, in one line, with its share of the volume."""
    largest, share = found["largest_qty"], found["volume_share"]
    text = f"largest quantity within {max_cost_bps:g} bps: {_shares(largest)}"
    if share is None:
        return f"{text}, by the curve alone: no trade has been seen"
    share *= largest / found["order_qty"]
    text += f", {share:.1%} of the window's forecast volume"
    return f"{text}: by the curve alone, the market is not expected to trade as much" if share > 1.0 else text


#: Money of a schedule in an estimate, and the digits that it is shown with.
_MONEY: Final = (("cost", 1), ("cost_bps", 2), ("spread_cost", 1), ("impact_cost", 1))


def write_estimate(found: dict[str, Any], zone: str, max_cost_bps: float | None) -> None:
    """Write an estimate for people, with the largest quantity that costs at most `max_cost_bps` if it was asked for."""
    from rich.console import Console
    from rich.table import Table

    from impactd.cli.summary import WIDE
    from impactd.shell.view import number

    table = Table(box=None, pad_edge=False)
    heads = ("schedule", "quantity", "cost", "bps", "spread", "impact", "80% band", "95% band")
    for head in (*heads, "timing risk", "bps", "done by"):
        table.add_column(head, justify="left" if head == "schedule" else "right", no_wrap=True)

    def band(pair: Any) -> str:
        return "-" if pair is None else f"{number(pair[0])} to {number(pair[1])}"

    def add(name: str, one: dict[str, Any]) -> None:
        money = [number(one[name], digits) for name, digits in _MONEY]
        risk = (number(one["timing_risk"]), number(one["timing_risk_bps"], 1))
        done = "-" if one["done_by"] is None else clock_on(one["done_by"], zone, found["start"])
        table.add_row(name, f"{_shares(one['qty'])}", *money, band(one["band_80"]), band(one["band_95"]), *risk, done)

    for one in found["schedules"]:
        add(one["policy"] if one["rate"] is None else f"pov {one['rate']:.0%}", one)
    for one in found["frontier"]:
        add(f"urgency {one['urgency']:g}", one)
    window = f"{local_time(found['start'], zone):%Y-%m-%d %H:%M} to {clock_on(found['end'], zone, found['start'])}"
    head = f"{found['side']} {_shares(found['order_qty'])} {found['symbol']}, {window} {zone}"
    click.echo(f"{head}: expected cost over the mid, in currency")
    Console(highlight=False, width=None if os.isatty(1) else WIDE).print(table)
    for one in found["auctions"]:
        click.echo(_entry(one, zone, found["start"]))
    share = found["volume_share"]
    facts = [f"mid {number(found['mid'])}", f"as of {local_time(found['as_of'], zone):%Y-%m-%d %H:%M:%S} {zone}"]
    if share is not None:
        facts.append(f"{share:.1%} of the window's forecast volume")
    click.echo("; ".join(facts))
    if own := found["schedules"][0]["metaorder_cost"]:
        click.echo(f"of impactd's cost {number(own, 1)} is a law of the literature, not measured (plans.metaorder)")
    if max_cost_bps is not None and found["largest_qty"] is not None:
        click.echo(_largest(found, max_cost_bps))
    click.echo(_basis(found["basis"], zone))
    for doubt in found["doubts"]:
        by = f": {', '.join(found['shortfall_limits'])}" if doubt == "shortfall" else ""
        click.echo(f"less sure: {_DOUBTS[doubt]}{by}")
