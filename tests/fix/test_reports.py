"""The life of orders without QuickFIX or a broker: any sequence of requests and answers keeps the rules."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from impactd.shell.fix.reports import Answer, Desk, Parent
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
