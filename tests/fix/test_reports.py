"""The life of orders without QuickFIX or a broker: any sequence of requests and answers keeps the rules."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.fix import gateway
from impactd.shell.fix.gateway import Gateway
from impactd.shell.fix.reports import Answer, Desk, Parent, message_of
from impactd.shell.fix.tags import Pair

AT = 1_743_687_000_000_000_000
END = "20250403-20:00:00"
STATUSES = ("active", "halted", "done", "canceled", "expired", "rejected")


def order(name: str, **fields: str) -> list[Pair]:
    body = {34: "2", 11: name, 55: "FROG", 54: "1", 38: "1000", 40: "1", 60: "20250403-13:30:00", 126: END}
    return list((body | {int(tag[1:]): value for tag, value in fields.items()}).items())


def plan(version: int, status: str = "active", cum: int = 0, **fields: Any) -> dict[str, Any]:
    made = {"cl_ord_id": "A", "plan_version": version, "status": status, "text": None, "as_of": AT}
    return made | {"order_qty": 1000, "cum_qty": cum} | fields


def kinds(answer: Answer) -> list[tuple[str, str | None]]:
    return [(out.kind, dict(out.fields).get(150)) for out in answer.out]


def taken(desk: Desk, kind: str, pairs: list[Pair], place: str) -> Answer:
    answer = desk.receive("S", kind, pairs, AT)
    assert answer is not None
    if answer.awaits is not None:
        answer.awaits.place = place
    return answer


def check(answer: Answer) -> None:
    """Check the identities of every ExecutionReport."""
    for out in answer.out:
        fields = dict(out.fields)
        if out.kind == "8" and fields[37] != "NONE":
            asked, cum, leaves = (Decimal(fields[tag]) for tag in (38, 14, 151))
            assert leaves == 0 if fields[39] in {"4", "8", "C"} else asked == cum + leaves
            assert leaves >= 0


def test_answer_belongs_to_the_request_whose_place_it_names() -> None:
    desk = Desk()
    assert kinds(taken(desk, "D", order("A"), "o/0/1")) == [("8", "A")]
    assert kinds(desk.plan(plan(1), "o/0/1")) == [("8", "0")]
    assert kinds(taken(desk, "G", [*order("B", t38="500"), (41, "A")], "o/0/2")) == [("8", "E")]
    assert kinds(desk.plan(plan(2, reason="minute"), "t/0/9")) == []
    refused = {"kind": "order_rejected", "cl_ord_id": "A", "as_of": AT, "text": "replace rejected: no"}
    assert kinds(desk.alert(refused, "o/0/7")) == []
    assert kinds(desk.alert(refused, "o/0/2")) == [("9", None)]
    assert kinds(desk.alert(refused, "o/0/2")) == []
    assert kinds(taken(desk, "G", [*order("C", t38="500"), (41, "A")], "o/0/3")) == [("8", "E")]
    (out,) = desk.plan(plan(3, order_qty=500), "o/0/3").out
    assert {11: "C", 41: "A", 150: "5", 38: "500"}.items() <= dict(out.fields).items()


def test_replace_states_the_whole_order() -> None:
    desk = Desk()
    taken(desk, "D", order("A", t40="2", t44="31", t111="200"), "o/0/1")
    desk.plan(plan(1), "o/0/1")
    answer = taken(desk, "G", [*order("B", t40="2", t44="31"), (41, "A")], "o/0/2")
    assert answer.record is not None
    assert b'"max_interval_qty":null' in answer.record[1]
    assert b"limit_px" not in answer.record[1]


def test_replace_may_change_the_strategy() -> None:
    desk = Desk()
    taken(desk, "D", order("A", t847="3", t849="0.1"), "o/0/1")
    desk.plan(plan(1), "o/0/1")
    answer = taken(desk, "G", [*order("B", t847="2", t849="0.2"), (41, "A")], "o/0/2")
    assert answer.record is not None
    record = orjson.loads(answer.record[1])
    assert (record["target_participation_rate"], record["participation_rate"]) == ("0.2", None)


def test_request_on_an_order_that_has_ended_is_too_late() -> None:
    desk = Desk()
    taken(desk, "D", order("A"), "o/0/1")
    desk.plan(plan(1), "o/0/1")
    taken(desk, "F", [(11, "B"), (41, "A"), (55, "FROG"), (54, "1"), (60, END)], "o/0/2")
    assert kinds(desk.plan(plan(2, "done", 1000), "e/0/5")) == [("9", None), ("8", "I")]
    late = taken(desk, "F", [(11, "C"), (41, "A"), (55, "FROG"), (54, "1"), (60, END)], "o/0/3")
    assert (kinds(late), late.record) == ([("9", None)], None)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("request"), st.sampled_from("DGFH"), st.integers(1, 5), st.integers(1, 5)),
            st.tuples(st.just("plan"), st.sampled_from(STATUSES), st.integers(0, 12), st.integers(0, 12)),
            st.tuples(st.just("alert"), st.just(""), st.integers(0, 12), st.just(0)),
            st.tuples(st.just("restart"), st.just(""), st.just(0), st.just(0)),
        ),
        max_size=30,
    )
)
def test_any_sequence_keeps_identities_ids_and_answers(steps: list[tuple[str, str, int, int]]) -> None:
    desk, saved = Desk(), {}
    places, version = 0, 0
    exec_ids: list[str] = []
    sent: list[bytes] = []
    for what, kind, first, second in steps:
        if what == "restart":
            desk = Desk()
            desk.load(Parent.load(value) for value in saved.values())
            continue
        if what == "request":
            name, before = ("A" if kind == "D" else f"R{first}"), ("A" if second == 1 else f"R{second}")
            pairs = order(name, t38=str(100 * first + 500))
            if kind == "F":
                pairs = [pair for pair in pairs if pair[0] not in {40, 126}]
            if kind == "H":
                pairs = [(34, "2"), (11, "A"), (55, "FROG"), (54, "1")]
            answer = taken(desk, kind, pairs + ([(41, before)] if kind in "GF" else []), f"o/0/{places}")
            assert answer.out
            if answer.record is not None:
                places += 1
                sent.append(answer.record[1])
        elif what == "plan":
            version += 1
            answer = desk.plan(plan(version, kind, 100 * second), f"o/0/{first}")
        else:
            refusal = {"kind": "order_rejected", "cl_ord_id": "A", "as_of": AT, "text": "no"}
            answer = desk.alert(refusal, f"o/0/{first}")
        check(answer)
        saved |= {name: parent.dump() for name, parent in answer.changed.items()}
        exec_ids += [dict(out.fields)[17] for out in answer.out if out.kind == "8" and dict(out.fields)[37] != "NONE"]
    assert len(set(exec_ids)) == len(exec_ids)
    assert len(set(sent)) == len(sent)


def trade(answer: Answer) -> dict[int, str]:
    (out,) = answer.out
    return dict(out.fields)


def test_what_is_filled_is_reported_as_a_trade_with_prices_that_add_up() -> None:
    desk = Desk()
    taken(desk, "D", order("A"), "o/0/1")
    desk.plan(plan(1), "o/0/1")
    first = trade(desk.plan(plan(2, cum=300, avg_px=31.2), "e/0/1"))
    assert {150: "F", 39: "1", 32: "300", 31: "31.2", 14: "300", 151: "700", 6: "31.2"}.items() <= first.items()
    assert desk.plan(plan(3, cum=300, avg_px=31.2), "t/0/1").out == []
    last = trade(desk.plan(plan(4, "done", 1000, avg_px=31.34), "e/0/2"))
    assert {150: "F", 39: "2", 32: "700", 31: "31.4", 14: "1000", 151: "0", 6: "31.34"}.items() <= last.items()


@pytest.mark.parametrize(("cum", "avg_px"), [(200, 31.2), (300, 31.5), (0, None)])
def test_what_is_taken_back_or_corrected_restates_the_order(cum: int, avg_px: float | None) -> None:
    desk = Desk()
    taken(desk, "D", order("A"), "o/0/1")
    desk.plan(plan(1), "o/0/1")
    desk.plan(plan(2, cum=300, avg_px=31.2), "e/0/1")
    found = trade(desk.plan(plan(3, cum=cum, avg_px=avg_px), "e/0/2"))
    assert {150: "D", 378: "99", 14: str(cum), 6: "0" if avg_px is None else str(avg_px)}.items() <= found.items()
    assert not {31, 32} & found.keys()


def test_quantity_without_a_reported_fill_is_no_trade() -> None:
    desk = Desk()
    taken(desk, "D", order("A"), "o/0/1")
    desk.plan(plan(1), "o/0/1")
    assert desk.plan(plan(2, cum=300, avg_px=None), "t/0/1").out == []
    assert trade(desk.plan(plan(3, "done", 1000, avg_px=None), "t/0/2"))[150] == "I"


async def test_where_quantity_counts_without_a_fill_no_trade_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The average price is of the reported fills alone: 100 of 400 at 31.2 would be a trade at 124.8."""
    monkeypatch.setattr(gateway, "transactional_producer", lambda *_: None)
    desk = Gateway(Settings(plans={"fills": "scheduled"}), "")._desk
    taken(desk, "D", order("A"), "o/0/1")
    desk.plan(plan(1), "o/0/1")
    assert desk.plan(plan(2, cum=300, avg_px=None), "t/0/1").out == []
    assert desk.plan(plan(3, cum=400, avg_px=31.2), "e/0/1").out == []
    done = trade(desk.plan(plan(4, "done", 1000, avg_px=31.2), "t/0/2"))
    assert {150: "I", 39: "2", 14: "1000", 6: "31.2"}.items() <= done.items()
    assert not {31, 32} & done.keys()


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0.01, 1e6)), min_size=1, max_size=8))
def test_trades_of_an_order_sum_to_its_quantity_and_average(fills: list[tuple[int, float]]) -> None:
    desk = Desk()
    taken(desk, "D", order("A", t38="10000"), "o/0/1")
    desk.plan(plan(1, order_qty=10_000), "o/0/1")
    cum, paid, reported = 0, 0.0, Decimal(0)
    for version, (qty, px) in enumerate(fills, 2):
        cum, paid = cum + qty, paid + qty * px
        answer = desk.plan(plan(version, cum=cum, order_qty=10_000, avg_px=paid / cum), "e/0/1")
        check(answer)
        found = trade(answer)
        reported += Decimal(found[32]) * Decimal(found[31])
        assert Decimal(found[14]) == cum
        assert reported == pytest.approx(Decimal(found[6]) * cum, abs=Decimal("1e-5"))


def test_ended_orders_are_forgotten_after_the_service_has_forgotten_them() -> None:
    desk = Desk(keep_ended_ns=100)
    for name in ("A", "B", "C"):
        taken(desk, "D", order(name), f"o/0/{name}")
        desk.plan(plan(1, cl_ord_id=name), f"o/0/{name}")
    desk.plan(plan(2, "done", 1000, cl_ord_id="A"), "e/0/1")
    desk.plan(plan(2, "done", 1000, cl_ord_id="B"), "e/0/2")
    # A bust has B worked again: it has not ended any more.
    desk.plan(plan(3, "active", 900, cl_ord_id="B", as_of=AT + 50), "e/0/3")
    kept = desk.plan(plan(2, cl_ord_id="C", as_of=AT + 100), "t/0/1")
    assert (kept.gone, set(kept.changed)) == ([], {"C"})
    answer = desk.plan(plan(3, cl_ord_id="C", as_of=AT + 101), "t/0/2")
    assert (answer.gone, set(answer.changed)) == (["A"], {"C"})
    again = Desk(keep_ended_ns=100)
    again.load([Parent.load(parent.dump()) for parent in desk._orders.values()])
    assert sorted(again._orders) == sorted(desk._orders) == ["B", "C"]
    # Its id is free again, as it is in the service.
    assert kinds(taken(desk, "D", order("A"), "o/0/9")) == [("8", "A")]


@pytest.mark.parametrize(
    "value",
    [b"", b"no JSON", b"[]", b"null", b"{}", b"\xff\xfe", orjson.dumps(plan(1) | {"plan_version": "1"}),
     orjson.dumps(plan(1) | {"as_of": "soon"}), orjson.dumps(plan(1) | {"avg_px": "31.2"}),
     orjson.dumps({"type": "plan"})],
)  # fmt: skip
def test_a_record_that_is_no_message_of_ours_is_none(value: bytes) -> None:
    assert message_of(Topic.PLANS, value) is None
    assert message_of(Topic.ALERTS, value) is None


def test_times_as_text_are_times() -> None:
    assert message_of(Topic.PLANS, orjson.dumps(plan(1) | {"as_of": str(AT)})) == plan(1)


#: What another system may put anywhere: no text, what ends a field, digits that are none, what is too long.
_ODD = st.sampled_from(
    ["\u20ac", "\udce9", "a\x01b", "\u0663", "", "x" * 2_000, "NaN", "-0", "1e9", "99991231-23:59:59", "A", "B"]
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("DGFH8"),
            st.dictionaries(
                st.sampled_from([1, 11, 37, 38, 41, 44, 54, 55, 58, 60, 126, 150, 790, 849]), _ODD, max_size=3
            ),
        ),
        max_size=6,
    )
)
def test_any_fields_get_an_answer_that_can_be_kept_and_sent(requests: list[tuple[str, dict[int, str]]]) -> None:
    desk = Desk([58])
    taken(desk, "D", order("A"), "o/0/1")
    fill = {17: "E1", 150: "F", 31: "31.2", 32: "100"}
    for k, (kind, odd) in enumerate(requests):
        pairs = dict([*order(f"R{k}"), (41, "A")][kind == "D" :]) | (fill if kind == "8" else {}) | odd
        answer = desk.receive("S", kind, list(pairs.items()), AT)
        assert answer is not None
        assert answer.record is not None or answer.out or (kind == "8" and pairs[150] != "F")
        if answer.awaits is not None:
            answer.awaits.place = f"o/0/{k + 2}"
        kept = orjson.loads(
            orjson.dumps([[tuple(out) for out in answer.out], [p.dump() for p in answer.changed.values()]])
        )
        assert all(text.isascii() and text.isprintable() for out in kept[0] for _, text in out[2])


@pytest.mark.parametrize("kind", ["G", "F"])
def test_request_that_is_sent_again_in_doubt_is_not_refused(kind: str) -> None:
    desk = Desk()
    taken(desk, "D", order("A"), "o/0/1")
    desk.plan(plan(1), "o/0/1")
    request = [pair for pair in order("B", t38="500", t97="Y") if kind == "G" or pair[0] not in {40, 126}]
    taken(desk, kind, [*request, (41, "A")], "o/0/2")
    again = taken(desk, kind, [*request, (41, "A")], "o/0/3")
    assert (again.record, kinds(again)) == (None, [("8", "I")])
    # A new request that uses the id of another is none.
    taken(desk, "D", order("C"), "o/0/4")
    request = [(tag, "C" if tag == 11 else text) for tag, text in request]
    assert kinds(taken(desk, kind, [*request, (41, "A")], "o/0/5")) == [("9", None)]
