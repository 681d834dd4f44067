"""What is halted: scopes, the kill switch, and a bound on what is remembered."""

from __future__ import annotations

from impactd.core.base.quantity import QUANTA
from impactd.core.inputs.events import Control, ReplaceOrder
from impactd.core.inputs.inbox import LocalControl
from impactd.core.orders.halts import MAX_HALTS_BYTES, Halts, known_scopes
from tests.core.builders import T0, EngineHarness, M, at, fill, halt, minutes, new, resume, with_order

ON, OFF = LocalControl("halt", "kill switch: /run/stop"), LocalControl("resume", "kill switch: /run/stop is gone")


def turn(harness: EngineHarness, control: LocalControl) -> None:
    inputs = harness.inbox.take(controls=(control,))
    assert inputs is not None
    harness.apply(inputs)


def test_kill_switch_halts_everything_and_its_end_replans() -> None:
    harness = with_order()
    turn(harness, ON)
    assert (harness.last().status, harness.last().text, harness.last().qty) == ("halted", ON.reason, ())
    estimates = len(harness.estimates())
    harness.run(minutes(2, start=at(2)))
    harness.send(new("B", ts=at(4)), fill(at(4), "E1", 100))
    assert {plan.status for plan in harness.plans("B")} == {"halted"}
    assert len(harness.estimates()) == estimates + 4
    turn(harness, OFF)
    assert [harness.last(name).status for name in "AB"] == ["active", "active"]
    assert [alert.text for alert in harness.alerts("halt") + harness.alerts("resume")] == [ON.reason, OFF.reason]


def test_kill_switch_is_lifted_by_no_record_and_lifts_none() -> None:
    harness = with_order()
    turn(harness, ON)
    harness.send(resume(at(2.1)), halt(at(2.2), "FROG"), resume(at(2.3)))
    assert harness.last().status == "halted"
    turn(harness, OFF)
    assert harness.last().status == "halted"
    harness.send(resume(at(2.4), "FROG"))
    assert harness.last().status == "active"


def test_kill_switch_outlives_a_restart_and_is_said_once() -> None:
    harness = with_order()
    turn(harness, ON)
    harness.reload()
    turn(harness, ON)
    harness.send(new("B", ts=at(2)))
    assert harness.last("B").status == "halted"
    assert len(harness.alerts("halt")) == 1


def test_kill_switch_before_anything_else_is_journalled() -> None:
    harness = EngineHarness()
    turn(harness, ON)
    assert harness.commits[-1].journal["controls"] == [{"type": "halt", "reason": ON.reason}]
    assert harness.engine.halts.kill_switch == ON.reason
    assert harness.alerts("halt")[0].as_of == 0


def test_kill_switch_turned_with_input_applies_before_it() -> None:
    harness = EngineHarness()
    harness.run(minutes(2))
    harness.put(new(ts=at(2)))
    turn(harness, ON)
    assert [plan.status for plan in harness.plans()] == ["halted"]


def test_halts_without_room_halt_everything_rather_than_refuse() -> None:
    halts, k = Halts(), 0
    while "*" not in halts.scopes:
        halts.apply(Control("halt", f"S{k}", '"' * 500, T0))
        k += 1
    assert k > 100
    assert "no room" in (halts.of("AAPL", "A") or "")
    again = Control("halt", "one-more", "x" * 500, T0)
    assert (halts.apply(again) or "").startswith("*: ")
    assert halts.apply(again) is None
    assert len(halts.dump()) < 3 * MAX_HALTS_BYTES
    halts.apply(Control("resume", "*", "", T0))
    assert halts.of("AAPL", "A") is None
    assert halts.of("S0", "A") is not None


def test_halts_restored_are_the_same() -> None:
    halts, again = Halts(), Halts()
    halts.apply(Control("halt", "FROG", "x", T0))
    halts.switch("stop")
    again.load(halts.dump())
    assert again == halts


def test_known_scopes_are_symbols_every_id_of_an_order_and_what_is_halted() -> None:
    harness = EngineHarness()
    harness.run(minutes(1))
    harness.send(new("A1", ts=at(1), length=10 * M), halt(at(1), "ARL"))
    harness.send(ReplaceOrder("A2", "FROG", at(1), (("order_qty", 5 * QUANTA),), "A1"))
    found = [known_scopes(key, value) for key, value in harness.state.items()]
    assert set().union(*(names for names, _ in found)) == {"FROG", "A1", "A2"}
    assert set().union(*(halted for _, halted in found)) == {"ARL"}
