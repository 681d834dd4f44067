"""Cases of the life of an order that once went wrong, each with the right answer."""

from __future__ import annotations

from typing import Any

import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.outputs.messages import Plan
from tests.core.builders import (
    T0,
    EngineHarness,
    M,
    S,
    at,
    bust,
    cancel,
    change,
    correct,
    cpu_s,
    fill,
    halt,
    ladder,
    minutes,
    new,
    plans,
    resume,
    settings,
)
from tests.core.rows import trade


def running(**plan_settings: Any) -> EngineHarness:
    """Return three minutes of books and trades, and the first book of the fourth."""
    harness = EngineHarness(settings(**plan_settings))
    rows = [*minutes(3), *(trade(at(k) + 2 * S, 1_000.0) for k in range(3))]
    harness.run(sorted(rows, key=lambda row: row.ts))
    return harness


def now_of(minute: float, second: float = 0.0) -> int:
    return at(3 + minute) + round(second * S)


def shares(plan: Plan) -> list[float]:
    return [qty / QUANTA for qty in plan.qty]


def last(outputs: list[Any]) -> Plan:
    return plans(outputs)[-1]


def test_bust_of_an_earlier_fill_is_planned_at_once_though_the_interval_nets_out() -> None:
    harness = running()
    harness.send(new(qty=200, ts=now_of(0, 1), start=now_of(0), length=2 * M))
    harness.send(fill(now_of(0, 2), "e1", 60))
    harness.run([ladder(now_of(1))])
    assert shares(harness.last()) == [140]
    assert harness.send(fill(now_of(1, 2), "e2", 90)) == []
    busted = last(harness.send(bust(now_of(1, 3), "b1", "e1")))
    assert (busted.reason, busted.cum_qty, busted.leaves_qty) == ("bust", 90 * QUANTA, 110 * QUANTA)
    assert shares(busted) == [110]
    harness.send(fill(now_of(1, 4), "e3", 50))
    ended = last(harness.run([ladder(now_of(2))]))
    assert (ended.status, ended.cum_qty, ended.shortfall_qty) == ("expired", 140 * QUANTA, 60 * QUANTA)


def test_late_fill_does_not_use_up_the_cap_of_the_interval_in_progress() -> None:
    harness = running()
    harness.send(new(qty=300, ts=now_of(0, 1), start=now_of(0), length=3 * M, max_interval_qty=100 * QUANTA))
    for minute in (1, 2):
        harness.run([ladder(now_of(minute))])
        late = last(harness.send(fill(now_of(minute) - S, f"e{minute}", 100)))
        assert (late.reason, late.shortfall_qty) == ("fill", 0)
        assert shares(late) == [100] * (3 - minute)
    harness.send(fill(now_of(2, 30), "e3", 100))
    assert (harness.last().status, harness.last().cum_qty) == ("done", 300 * QUANTA)


def test_bust_of_an_earlier_interval_does_not_free_the_cap_of_the_one_in_progress() -> None:
    harness = running()
    harness.send(new(qty=300, ts=now_of(0, 1), start=now_of(0), length=3 * M, max_interval_qty=100 * QUANTA))
    harness.send(fill(now_of(0, 2), "e1", 100))
    harness.run([ladder(now_of(1))])
    harness.send(fill(now_of(1, 2), "e2", 60))
    busted = last(harness.send(bust(now_of(1, 3), "b1", "e1")))
    assert (shares(busted), busted.shortfall_qty) == ([40, 100], 100 * QUANTA)


def test_late_report_replaces_the_scheduled_quantity_and_never_adds_to_it() -> None:
    harness = running(fills="scheduled")
    harness.send(new(qty=300, ts=now_of(0, 1), start=now_of(0), length=3 * M, max_interval_qty=100 * QUANTA))
    harness.run([ladder(now_of(1))])
    order = harness.engine.orders.get("A")
    assert order is not None
    assert order.cum_qty == 100 * QUANTA
    assert plans(harness.send(fill(now_of(1) - S, "e1", 60))) == []
    assert order.cum_qty == 100 * QUANTA
    more = last(harness.send(fill(now_of(1) - S, "e2", 70)))
    assert (order.cum_qty, more.reason, more.leaves_qty) == (130 * QUANTA, "fill", 170 * QUANTA)
    taken_back = last(harness.send(bust(now_of(1, 5), "b1", "e2")))
    assert (order.cum_qty, taken_back.leaves_qty) == (60 * QUANTA, 240 * QUANTA)


@pytest.mark.parametrize("named", [("E1", "C1", "C2"), ("E1", "E1", "E1")])
def test_corrections_and_busts_form_a_chain(named: tuple[str, str, str]) -> None:
    harness = running()
    harness.send(new(qty=1_000, ts=now_of(0, 1), start=now_of(0), length=10 * M))
    events = (
        fill(now_of(0, 2), "E1", 100),
        correct(now_of(0, 3), "C1", named[0], 90),
        correct(now_of(0, 4), "C2", named[1], 80),
        bust(now_of(0, 5), "B1", named[2]),
    )
    harness.send(events[0])
    cums = [last(harness.send(event)).cum_qty // QUANTA for event in events[1:]]
    assert cums == [90, 80, 0]
    # The same in another order of arrival, with everything twice.
    other = running()
    other.send(new(qty=1_000, ts=now_of(0, 1), start=now_of(0), length=10 * M))
    other.send(*(events[k] for k in (3, 2, 1, 0, 0, 3, 1, 2)))
    order = other.engine.orders.get("A")
    assert order is not None
    assert (order.cum_qty, len(other.engine._desk.held), other.dead()) == (0, 0, [])


def test_amendments_that_arrive_backwards_cost_no_recursion() -> None:
    harness = running(max_held=5_000)
    harness.send(new(qty=1_000, ts=now_of(0, 1), start=now_of(0), length=10 * M))
    chain = [fill(now_of(0, 2), "X0", 100)]
    chain += [correct(now_of(0, 2) + k, f"X{k}", f"X{k - 1}", 100 + k) for k in range(1, 3_000)]  # type: ignore[misc]  # executions
    harness.send(*reversed(chain))
    order = harness.engine.orders.get("A")
    assert order is not None
    assert (order.cum_qty, harness.last().status) == (3_099 * QUANTA, "done")


def test_replace_below_the_filled_quantity_keeps_what_was_asked_for() -> None:
    harness = running()
    harness.send(new(qty=1_000, ts=now_of(0, 1), start=now_of(0), length=10 * M))
    harness.send(fill(now_of(0, 2), "E1", 60), fill(now_of(0, 2), "E2", 40))
    done = last(harness.send(change(now_of(0, 3), order_qty=50)))
    assert (done.status, done.order_qty, done.cum_qty) == ("done", 100 * QUANTA, 100 * QUANTA)
    busted = last(harness.send(bust(now_of(0, 4), "B1", "E2")))
    assert (busted.status, busted.order_qty, busted.cum_qty) == ("done", 60 * QUANTA, 60 * QUANTA)
    reopened = last(harness.send(bust(now_of(0, 5), "B2", "E1")))
    assert (reopened.status, reopened.order_qty, reopened.leaves_qty) == ("active", 50 * QUANTA, 50 * QUANTA)
    assert sum(shares(reopened)) == 50


def chained(event: Any, cl_ord_id: str, before: str) -> Any:
    fields = {name: getattr(event, name) for name in type(event).__slots__}
    return type(event)(**fields | {"cl_ord_id": cl_ord_id, "orig_cl_ord_id": before})


def test_every_id_of_a_chain_is_the_orders() -> None:
    harness = running()
    harness.send(new("A1", qty=1_000, ts=now_of(0, 1), start=now_of(0), length=10 * M))
    harness.send(chained(change(now_of(0, 2), order_qty=1_200), "A2", "A1"))
    assert harness.last("A1").cl_ord_ids == ("A1", "A2")
    harness.send(fill(now_of(0, 3), "E1", 100, "A2"))
    harness.send(chained(change(now_of(0, 4), order_qty=900), "A3", "A2"))
    assert (harness.last("A1").order_qty, harness.last("A1").cum_qty) == (900 * QUANTA, 100 * QUANTA)
    harness.send(halt(now_of(0, 5), "A2"))
    assert harness.last("A1").status == "halted"
    harness.reload()
    harness.send(resume(now_of(0, 6), "A2"))
    assert harness.last("A1").status == "active"
    harness.send(chained(cancel(now_of(0, 7)), "A4", "A3"))
    ended = harness.last("A1")
    assert (ended.status, ended.order_qty, ended.cum_qty) == ("canceled", 900 * QUANTA, 100 * QUANTA)
    harness.send(fill(now_of(0, 8), "E2", 5, "A4"))
    assert harness.last("A1").cum_qty == 105 * QUANTA


def test_chain_that_arrives_backwards_is_applied_when_its_order_comes() -> None:
    harness = running()
    harness.send(
        fill(now_of(0, 3), "E1", 100, "A3"),
        chained(change(now_of(0, 4), order_qty=900), "A3", "A2"),
        chained(change(now_of(0, 2), order_qty=1_200), "A2", "A1"),
    )
    assert harness.plans("A1") == []
    harness.send(new("A1", qty=1_000, ts=now_of(0, 1), start=now_of(0), length=10 * M))
    assert (harness.last("A1").order_qty, harness.last("A1").cum_qty) == (900 * QUANTA, 100 * QUANTA)
    assert harness.last("A1").cl_ord_ids == ("A1", "A2", "A3")


def test_new_order_with_an_id_of_anothers_chain_is_rejected() -> None:
    harness = running()
    harness.send(new("A1", ts=now_of(0, 1), length=10 * M))
    harness.send(chained(change(now_of(0, 2), order_qty=1_100), "A2", "A1"), new("A2", ts=now_of(0, 3), length=M))
    assert [alert.cl_ord_id for alert in harness.alerts("order_rejected")] == ["A2"]
    assert harness.plans("A2") == []


def test_ids_that_name_two_orders_are_a_dead_letter_and_an_alert() -> None:
    harness = running()
    harness.send(new("A", ts=now_of(0, 1), length=10 * M), new("B", ts=now_of(0, 1), length=10 * M))
    harness.send(chained(cancel(now_of(0, 2)), "B", "A"))
    assert [letter.reason for letter in harness.dead()] == ["id_mismatch"]
    assert [alert.cl_ord_id for alert in harness.alerts("order_refused")] == ["B"]
    assert (harness.last("A").status, harness.last("B").status) == ("active", "active")


def test_request_id_that_is_used_again_is_rejected() -> None:
    harness = running()
    harness.send(new("A", qty=1_000, ts=now_of(0, 1), length=10 * M))
    first = chained(change(now_of(0, 2), order_qty=1_100), "A2", "A")
    harness.send(first, first, chained(change(now_of(0, 3), order_qty=1_200), "A2", "A"))
    assert harness.last().order_qty == 1_100 * QUANTA
    assert len(harness.alerts("order_rejected")) == 1


def test_books_of_a_halted_symbol_neither_prevail_nor_train() -> None:
    harness = running(missing_ticks_ns=10**18)
    harness.send(new(ts=now_of(0), length=30 * M), halt(now_of(0, 30), "FROG", "LULD"))
    rows = [ladder(now_of(k), "FROG") for k in range(1, 5)] + [ladder(now_of(k), "ARL") for k in range(1, 8)]
    harness.run(sorted(rows, key=lambda row: row.ts))
    mine = [estimate for estimate in harness.estimates() if estimate.minute >= now_of(0)]
    assert [estimate.covered_s for estimate in mine[::2]] == [30.0, 0.0, 0.0, 0.0, 0.0]
    assert [estimate.n_rejected for estimate in mine[::2]] == [0, 1, 1, 1, 1]
    assert [model.as_of for model in harness.models() if model.symbol == "FROG"][-1] == now_of(1)
    harness.send(resume(now_of(7, 10), "FROG"))
    assert harness.last().status == "active"
    harness.run([ladder(now_of(7, 30), "FROG"), ladder(now_of(8), "FROG")])
    assert harness.estimates()[-1].covered_s == 30.0


@pytest.mark.parametrize("steps", ["as it is", "restarted"])
def test_halt_of_a_symbol_before_its_first_tick_holds_for_its_books(steps: str) -> None:
    harness = EngineHarness()
    harness.send(halt(T0, "FROG"))
    if steps == "restarted":
        harness.reload()
    harness.run(minutes(2))
    assert [estimate.covered_s for estimate in harness.estimates()] == [0.0] * 4


def test_order_on_a_symbol_without_a_tick_reports_it_at_once() -> None:
    harness = EngineHarness()
    harness.send(new(ts=T0, start=at(5), length=10 * M))
    assert [(alert.cl_ord_id, alert.as_of) for alert in harness.alerts("missing_ticks")] == [("A", T0)]
    assert harness.last().blind
    harness.run([ladder(T0 + S), ladder(at(1))])
    assert (harness.last().blind, harness.last().reason) == (False, "first_tick")


@pytest.mark.parametrize("case", ["held", "busts", "fills", "ended"])
def test_events_cost_the_same_for_any_number(case: str) -> None:
    """Eight times as many cost less than thirty times as much: O(n^2) would be sixty-four."""

    def work(n: int) -> float:
        harness = EngineHarness(settings(max_held=100_000))
        harness._keep = lambda _commit: None  # type: ignore[method-assign]  # its own checks cost O(n)
        harness.run([ladder(T0)])
        if case == "held":
            events: list[Any] = [fill(T0 + S, f"e{k}", 1, f"U{k % 50}") for k in range(n)]
        elif case == "ended":
            events = [e for k in range(n) for e in (new(f"A{k:05}", ts=T0 + S), cancel(T0 + S, f"A{k:05}"))]
        else:
            harness.send(new(qty=10**6, ts=T0))
            fills = [fill(T0 + S, f"e{k}", 1) for k in range(n)]
            busts = [bust(T0 + S, f"b{k}", f"e{k}") for k in range(n)]
            events = [*busts, *fills] if case == "busts" else fills
        return cpu_s(lambda: harness.send(*events))

    n = 60 if case == "ended" else 150
    work(20)
    assert work(8 * n) < 30 * max(work(n), 0.02)
