"""Entries in auctions: hand-made sessions, cutoffs, what is not filled, forecasts, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.session import Session
from impactd.core.base.settings import CoreSettings, ModelSettings, PlanSettings, SessionRule
from impactd.core.inputs.events import Imbalance
from impactd.core.inputs.ticks import AUCTION
from impactd.core.model.auction import AuctionForecast
from impactd.core.model.profile.profile import Profile
from impactd.core.model.volume import VolumeForecast
from impactd.core.orders.order import Status
from impactd.core.outputs.messages import Plan
from tests.core.builders import T0, EngineHarness, M, S, at, change, fill, halt, ladder, new, plans, resume
from tests.core.rows import Row, trade

#: An hour from `T0` on.
HOURS = SessionRule(open_s=10 * 3600, close_s=11 * 3600)
LOT = 100 * QUANTA
CLOSE = {"auctions": "close", "auction_rate": 0.05, "lot_size": LOT}


def harness(fills: str = "reported", n: int = 30, **plan: Any) -> EngineHarness:
    """Return an engine that has seen `n` minutes of the session with 1,000 shares in each."""
    shares = {"auction_open_share": 0.1, "auction_close_share": 0.2} | plan
    made = EngineHarness(CoreSettings(session=HOURS, plans=PlanSettings(fills=fills, **shares)))  # type: ignore[arg-type]  # the words are checked by the settings' file
    made.run(day(0, n))
    return made


def day(first: int, last: int) -> list[Row]:
    rows: list[Row] = [ladder(T0 + k * 20 * S) for k in range(3 * first, 3 * last + 1)]
    rows += [trade(T0 + k * M + 30 * S, px=100.0, qty=1_000.0) for k in range(first, last)]
    return sorted(rows, key=lambda row: row.ts)


def whole(plan: Plan) -> int:
    return sum(plan.qty) + sum(entry.qty for entry in plan.auctions) + plan.shortfall_qty


def test_close_gets_its_share_in_lots_and_the_schedule_the_rest() -> None:
    """60 minutes of about 1,000 shares, a fifth of that at the close, and a twentieth of it for the order."""
    (plan,) = plans(harness().send(new("A", 3_000, at(30), 30 * M, **CLOSE)))
    (entry,) = plan.auctions
    assert entry.expected_volume is not None
    assert entry.expected_volume == pytest.approx(12_000, rel=0.2)
    assert (entry.kind, entry.at, entry.cutoff) == ("auction_close", at(60), at(50))
    assert entry.qty == int(0.05 * entry.expected_volume * QUANTA) // LOT * LOT > 0
    assert whole(plan) == plan.leaves_qty
    assert plan.shortfall_qty == 0


def test_limit_goes_with_the_entry_and_nothing_is_left_when_the_auction_takes_all() -> None:
    (plan,) = plans(harness().send(new("A", 100, at(30), 30 * M, limit_px=101.0, **CLOSE)))
    assert [(entry.qty, entry.limit_px) for entry in plan.auctions] == [(LOT, 101.0)]
    assert sum(plan.qty) == 0
    assert plan.shortfall_qty == 0


def test_entry_stands_from_its_cutoff_on() -> None:
    made = harness()
    made.send(new("A", 3_000, at(30), 30 * M, **CLOSE))
    made.run(day(30, 51))
    (before,) = made.last().auctions
    made.send(change(at(51), "A", auctions=None, auction_rate=None))
    assert made.last().auctions == (before,)
    made.send(change(at(51), "A", order_qty=3_500))
    assert [entry.qty for entry in made.last().auctions] == [before.qty]
    made.send(halt(at(52)))
    assert made.last().status == "halted"
    made.reload()
    made.send(resume(at(52)))
    assert [entry.qty for entry in made.last().auctions] == [before.qty]
    assert whole(made.last()) == made.last().leaves_qty


def test_order_that_comes_after_the_cutoff_has_no_entry() -> None:
    made = harness(n=51)
    (plan,) = plans(made.send(new("A", 3_000, at(51), 9 * M, **CLOSE)))
    assert plan.auctions == ()


def auction_fill(ts: int, qty: float) -> Any:
    return replace(fill(ts, f"X{ts}", qty), last_liquidity_ind="auction")


@pytest.mark.parametrize("part", [1.0, 0.5, 0.0])
def test_close_is_waited_for_and_what_it_does_not_fill_is_stated(part: float) -> None:
    made = harness()
    made.send(new("A", 500, at(30), 30 * M, **CLOSE))
    made.run(day(30, 60))
    entry = made.last().auctions[0]
    filled = int(entry.qty * part) // QUANTA
    if filled:
        made.send(auction_fill(at(60) + 5 * S, filled))
    order = made.engine.orders.get("A")
    assert order is not None
    left = order.leaves_qty
    made.run([ladder(at(60) + k * 20 * S) for k in range(1, 8)])
    assert order.status is (Status.EXPIRED if left else Status.DONE)
    assert bool([alert for alert in made.alerts("shortfall") if "window ended" in alert.text]) is (left > 0)
    assert order.auction_qty == filled * QUANTA


def test_open_that_does_not_fill_returns_to_the_plan() -> None:
    made = EngineHarness(CoreSettings(session=HOURS, plans=PlanSettings(auction_open_share=0.1)))
    made.run(day(0, 60))
    day_ns = 24 * 60 * M
    made.run([ladder(T0 + day_ns - 5 * M)])
    made.send(new("A", 3_000, T0 + day_ns - 5 * M, 60 * M, auctions="open", auction_rate=0.05))
    (entry,) = made.last().auctions
    assert entry.kind == "auction_open"
    assert entry.at == T0 + day_ns
    assert entry.cutoff == T0 + day_ns - 2 * M
    made.run([ladder(T0 + day_ns + k * 20 * S) for k in range(-3, 2)])
    made.send(auction_fill(T0 + day_ns + S, 100))
    order = made.engine.orders.get("A")
    assert order is not None
    assert order.entered_qty == entry.qty - 100 * QUANTA
    assert not order.off_plan
    made.run([ladder(T0 + day_ns + k * 20 * S) for k in range(2, 8)])
    last = made.last()
    assert last.auctions == ()
    assert sum(last.qty) + last.shortfall_qty == last.leaves_qty == 2_900 * QUANTA


def test_recorded_day_counts_an_entry_as_filled() -> None:
    made = harness("scheduled")
    made.send(new("A", 2_000, at(30), 30 * M, **CLOSE))
    made.run(day(30, 62))
    order = made.engine.orders.get("A")
    assert order is not None
    assert order.status is Status.DONE
    assert order.auction_qty > 0


def test_auction_fills_do_not_use_up_the_share_of_continuous_volume() -> None:
    made = harness()
    made.send(new("A", 20_000, at(30), 30 * M, participation_rate=0.1, **CLOSE))
    free = sum(made.last().qty)
    order = made.engine.orders.get("A")
    assert order is not None
    made.send(auction_fill(at(30) + S, 500))
    assert sum(made.last().qty) == free


def test_unknown_volume_is_alerted_and_enters_nothing() -> None:
    made = harness(auction_close_share=None)
    (plan,) = plans(made.send(new("A", 3_000, at(30), 30 * M, **CLOSE)))
    assert [(entry.qty, entry.expected_volume) for entry in plan.auctions] == [(0, None)]
    assert made.alerts("auction_unknown")


@pytest.mark.parametrize("terms", [{"auctions": "close"}, {"auction_rate": 0.1}])
def test_half_an_instruction_is_refused(terms: dict[str, Any]) -> None:
    (refused,) = plans(harness().send(new("A", 3_000, at(30), 30 * M, **terms)))
    assert refused.status == Status.REJECTED
    assert "auctions needs auction_rate" in (refused.text or "")


def test_market_that_never_closes_has_no_auction() -> None:
    made = EngineHarness()
    made.run([ladder(T0)])
    (refused,) = plans(made.send(new("A", 3_000, at(1), **CLOSE)))
    assert refused.status == Status.REJECTED
    assert "never closes" in (refused.text or "")
    made.send(new("B", 3_000, at(1)))
    assert not plans(made.send(change(at(1), "B", **CLOSE)))


def test_forecast_is_the_discounted_mean_with_days_without_a_print_as_zeros() -> None:
    session, settings = Session(HOURS), PlanSettings(auction_close_share=9.0)
    volume = VolumeForecast(ModelSettings(), session, Profile.of(ModelSettings(), session))
    forecast = AuctionForecast(settings, session, volume, M)
    day_ns, prints = 24 * 60 * M, [(300.0, 700.0), (0.0, 500.0), (100.0, 0.0)]
    for k, (opens, closes) in enumerate(prints):
        for minute, qty in ((0, opens), (20, 0.0), (60, closes)):
            forecast.update(T0 + k * day_ns + minute * M, qty)
    forecast.update(T0 + 3 * day_ns, 0.0)
    weights = [0.5 ** ((2 - k) / 5) for k in range(3)]
    begin = T0 + 3 * day_ns
    found = forecast.between(begin, begin + 60 * M)
    assert [(kind, when) for kind, when, _ in found] == [("open", begin), ("close", begin + 60 * M)]
    for i in (0, 1):
        mean = sum(w * p[i] for w, p in zip(weights, prints, strict=True)) / sum(weights)
        assert found[i][2] == pytest.approx(mean)
    again = AuctionForecast(settings, session, volume, M)
    again.load(forecast.save())
    assert again.between(begin, begin + 60 * M) == found


def test_flagged_prints_are_what_history_is_made_of() -> None:
    made = harness(n=60)
    made.run([trade(at(60) + S, px=100.0, qty=4_000.0, flags=AUCTION), ladder(at(60) + 2 * S)])
    start = T0 + 24 * 60 * M
    made.run([ladder(start + k * 20 * S) for k in range(4)])
    made.send(new("A", 9_000, start + M, 59 * M, auctions="close", auction_rate=0.25))
    assert [(entry.qty, entry.expected_volume) for entry in made.last().auctions] == [(1_000 * QUANTA, 4_000.0)]


def auctions_of(settings: PlanSettings) -> tuple[AuctionForecast, VolumeForecast]:
    session = Session(HOURS)
    volume = VolumeForecast(ModelSettings(), session, Profile.of(ModelSettings(), session))
    return AuctionForecast(settings, session, volume, M), volume


DAY = 24 * 60 * M


def test_paired_quantity_and_what_past_auctions_traded_beyond_it() -> None:
    """Two days with prints of 5,000 and 6,000, of which 4,000 and 4,600 were paired in the last minutes."""
    forecast, _ = auctions_of(PlanSettings())
    expected = []
    for k, (early, late, traded) in enumerate([(9_000.0, 4_000.0, 5_000.0), (1.0, 4_600.0, 6_000.0)]):
        begin = T0 + k * DAY
        forecast.update(begin, 0.0)
        assert forecast.see("close", begin + 30 * M, early)
        expected.append(forecast.between(begin + M, begin + 60 * M)[0][2])
        assert forecast.see("close", begin + 45 * M, late)
        expected.append(forecast.between(begin + M, begin + 60 * M)[0][2])
        assert not forecast.see("close", begin + 44 * M, 1.0), "older than what is known"
        assert not forecast.see("close", begin + 50 * M, 1.0), "after the cutoff"
        forecast.update(begin + 60 * M, traded)
    # No history on the first day; then its one print, which an early message cannot lower.
    assert expected == [9_000.0, 4_000.0, 5_000.0, 5_600.0]
    begin = T0 + 2 * DAY
    forecast.update(begin, 0.0)
    forget = 0.5**0.2
    mean = (5_000 * forget + 6_000) / (1 + forget)
    rest = (1_000 * forget + 1_400) / (1 + forget)
    assert forecast.between(begin + M, begin + 60 * M)[0][2] == pytest.approx(mean)
    assert forecast.see("close", begin + 45 * M, 0.0)
    assert forecast.between(begin + M, begin + 60 * M)[0][2] == pytest.approx(rest)
    again, _ = auctions_of(PlanSettings())
    again.load(orjson.loads(orjson.dumps(forecast.save())))
    again.load_paired(orjson.loads(orjson.dumps(forecast.save_paired())))
    assert again.between(begin + M, begin + 60 * M) == forecast.between(begin + M, begin + 60 * M)
    assert again.save_paired() == forecast.save_paired()


def test_feed_that_flags_no_prints_learns_nothing_from_what_was_paired() -> None:
    forecast, _ = auctions_of(PlanSettings())
    for k in range(2):
        forecast.update(T0 + k * DAY, 0.0)
        assert forecast.see("close", T0 + k * DAY + 45 * M, 4_000.0)
        forecast.update(T0 + k * DAY + 60 * M, 0.0)
    assert forecast.between(T0 + DAY + M, T0 + DAY + 60 * M)[0][2] == 4_000.0


def test_imbalance_moves_the_entry_at_the_next_plan_and_survives_a_restart() -> None:
    made = harness()
    made.send(new("A", 3_000, at(30), 30 * M, **CLOSE))
    first = made.last().auctions[0]
    made.send(Imbalance("FROG", at(30) + S, "close", 40_000.0))
    made.reload()
    made.run(day(30, 32))
    (entry,) = made.last().auctions
    assert entry.expected_volume == 40_000.0
    assert entry.qty == 2_000 * QUANTA > first.qty
    assert whole(made.last()) == made.last().leaves_qty
    made.send(Imbalance("FROG", at(45), "close", 0.0))
    made.run(day(32, 47))
    assert made.last().auctions[0].expected_volume == first.expected_volume, "no mean of the rest yet: it only raises"


def test_imbalance_without_a_use_changes_nothing() -> None:
    """A symbol that is not followed, or whose market never closes: no state is kept for it."""
    made = harness()
    never = EngineHarness()
    never.run([ladder(T0 + k * 20 * S) for k in range(8)])
    for engine, symbol in ((made, "OTHER"), (never, "FROG")):
        engine.send(Imbalance(symbol, at(5), "close", 40_000.0))
        assert not [key for key in engine.state if key.startswith("imbalance/")]
