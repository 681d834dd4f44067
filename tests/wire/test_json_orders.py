"""Our JSON of orders, executions and control: every rule of the published messages."""

from __future__ import annotations

import random
from dataclasses import MISSING, Field, fields, replace
from typing import Any

import orjson
import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side, Topic
from impactd.core.inputs.events import Bust, CancelOrder, Control, Correct, Fill, NewOrder, ReplaceOrder
from impactd.core.inputs.terms import Terms
from impactd.core.outputs.units import Unit
from impactd.wire.codec import FROM_DATA, REASONS
from impactd.wire.json_orders import DecodedEvents, decode_events
from impactd.wire.message_types import field_type, message_fields

T0 = 1_743_687_000_125_395_235
TOPIC_OF = {
    "new": Topic.ORDERS,
    "replace": Topic.ORDERS,
    "cancel": Topic.ORDERS,
    "fill": Topic.EXECUTIONS,
    "correct": Topic.EXECUTIONS,
    "bust": Topic.EXECUTIONS,
    "halt": Topic.CONTROL,
    "resume": Topic.CONTROL,
}
HEAD = {"cl_ord_id": "A1", "symbol": "FROG", "ts_event": T0}
NEW = {
    "type": "new",
    **HEAD,
    "side": "buy",
    "order_qty": 50_000,
    "start": T0 + 1,
    "end": T0 + 2,
    "participation_rate": None,
    "max_interval_qty": None,
    "blackouts": [],
    "lot_size": 1,
    "risk_aversion": 0,
}
REPLACE = {"type": "replace", **HEAD, "order_qty": 40_000}
CANCEL = {"type": "cancel", **HEAD}
FILL = {"type": "fill", "exec_id": "E1", **HEAD, "last_qty": 200, "last_px": 31.26, "last_liquidity_ind": "taker"}
CORRECT = {"type": "correct", "exec_id": "E2", "exec_ref_id": "E1", **HEAD, "last_qty": 100, "last_px": 31.25}
BUST = {"type": "bust", "exec_id": "E2", "exec_ref_id": "E1", **HEAD}
HALT = {"type": "halt", "scope": "*", "reason": "drill", "ts_event": T0}
ORDER = NewOrder("A1", "FROG", Side.BUY, T0, Terms(50_000 * QUANTA, T0 + 1, T0 + 2, lot_size=QUANTA))


def decode(topic: Topic, *values: bytes) -> DecodedEvents:
    return decode_events(topic, values, range(10, 10 + len(values)), [T0] * len(values))


def parse(obj: dict[str, Any]) -> Any:
    decoded = decode(TOPIC_OF[obj["type"]], orjson.dumps(obj))
    assert not decoded.refused
    (received,) = decoded.events
    assert (received.offset, received.ts_record) == (10, T0)
    return received.event


@pytest.mark.parametrize(
    ("obj", "event"),
    [
        (NEW, ORDER),
        (REPLACE, ReplaceOrder("A1", "FROG", T0, (("order_qty", 40_000 * QUANTA),))),
        (CANCEL, CancelOrder("A1", "FROG", T0)),
        (FILL, Fill("E1", "A1", "FROG", 200 * QUANTA, 31.26, T0, "taker")),
        (FILL | {"last_liquidity_ind": None}, Fill("E1", "A1", "FROG", 200 * QUANTA, 31.26, T0)),
        (CORRECT, Correct("E2", "E1", "A1", "FROG", 100 * QUANTA, 31.25, T0)),
        (BUST, Bust("E2", "E1", "A1", "FROG", T0)),
        (HALT, Control("halt", "*", "drill", T0)),
        ({"type": "resume", "scope": "FROG", "ts_event": T0}, Control("resume", "FROG", "", T0)),
    ],
)
def test_record_as_published_is_its_event(obj: dict[str, Any], event: object) -> None:
    assert parse(obj) == event


def test_new_order_with_needed_fields_only_has_the_defaults() -> None:
    optional = (
        *("participation_rate", "max_interval_qty", "blackouts", "lot_size", "risk_aversion"),
        *("min_clip_qty", "must_complete"),
    )
    terms = replace(ORDER.terms, lot_size=0)  # the instrument's
    assert parse({k: v for k, v in NEW.items() if k not in optional}) == replace(ORDER, terms=terms)
    assert parse(NEW | dict.fromkeys(optional)) == replace(ORDER, terms=terms)


def test_new_order_limits_are_exact() -> None:
    event = parse(
        NEW
        | {
            "order_qty": "0.3",
            "participation_rate": 0.1,
            "max_interval_qty": 0.1,
            "lot_size": "0.0001",
            "risk_aversion": 1e-6,
            "min_clip_qty": "0.05",
            "must_complete": True,
            "blackouts": [[T0 + 5, T0 + 6], [T0, str(T0 + 2)]],
            "start": str(T0 + 1),
        }
    )
    assert isinstance(event, NewOrder)
    assert event.terms == replace(
        ORDER.terms,
        order_qty=300_000_000,
        participation_rate=0.1,
        max_interval_qty=100_000_000,
        lot_size=100_000,
        risk_aversion=1e-6,
        blackouts=((T0, T0 + 2), (T0 + 5, T0 + 6)),
        min_clip_qty=50_000_000,
        must_complete=True,
    )


def test_refused_record_is_named_by_the_id_before_where_it_has_no_other() -> None:
    for ids, name in (({"orig_cl_ord_id": "A1"}, "A1"), ({"cl_ord_id": "A2", "orig_cl_ord_id": "A1"}, "A2")):
        record = {"type": "cancel", "symbol": "FROG", "ts_event": T0, "reason": "x"} | ids
        (refused,) = decode_events(Topic.ORDERS, [orjson.dumps(record)], [0], [T0]).refused
        assert (refused.reason, refused.symbol, refused.cl_ord_id) == ("unknown_field", "FROG", name)


@pytest.mark.parametrize("obj", [REPLACE, CANCEL, FILL, CORRECT, BUST])
def test_orig_cl_ord_id_is_the_id_before(obj: dict[str, Any]) -> None:
    event = parse(obj | {"cl_ord_id": "A2", "orig_cl_ord_id": "A1"})
    assert (event.cl_ord_id, event.orig_cl_ord_id) == ("A2", "A1")
    alone = parse({k: v for k, v in obj.items() if k != "cl_ord_id"} | {"orig_cl_ord_id": "A1"})
    assert alone == parse(obj) == parse(obj | {"orig_cl_ord_id": "A1"})


def test_orig_cl_ord_id_of_a_new_order_is_its_own() -> None:
    assert parse(NEW | {"orig_cl_ord_id": "A1"}) == ORDER


@pytest.mark.parametrize("obj", [NEW, REPLACE, CANCEL, FILL, CORRECT, BUST, HALT])
@pytest.mark.parametrize("name", ["account", "participation", "bids", ""])
def test_unknown_field_is_refused_by_name(obj: dict[str, Any], name: str) -> None:
    decoded = decode(TOPIC_OF[obj["type"]], orjson.dumps(obj | {name: None}))
    (refused,) = decoded.refused
    assert (refused.reason, refused.detail.partition(":")[0]) == ("unknown_field", name)
    assert (refused.symbol, refused.cl_ord_id) == (obj.get("symbol"), obj.get("cl_ord_id"))


@pytest.mark.parametrize(
    ("value", "symbol", "cl_ord_id"),
    [
        (b"{", None, None),
        (b"[1]", None, None),
        (b'{"symbol":5,"cl_ord_id":"A1"}', None, "A1"),
        (b'{"symbol":"FROG","cl_ord_id":"' + b"x" * 65 + b'"}', "FROG", None),
        (b'{"type":"partial_fill","symbol":"FROG","cl_ord_id":"A1"}', "FROG", "A1"),
    ],
)
def test_refused_record_names_its_order_as_far_as_it_can_be_read(
    value: bytes, symbol: str | None, cl_ord_id: str | None
) -> None:
    (refused,) = decode(Topic.EXECUTIONS, value).refused
    assert (refused.symbol, refused.cl_ord_id) == (symbol, cl_ord_id)


def test_replace_names_its_changes_in_order_and_null_clears_a_limit() -> None:
    event = parse({"type": "replace", **HEAD, "risk_aversion": None, "participation_rate": None, "end": T0 + 9})
    assert event.changes == (("end", T0 + 9), ("participation_rate", None), ("risk_aversion", 0.0))
    assert parse({"type": "replace", **HEAD, "blackouts": None}).changes == (("blackouts", ()),)


def without(obj: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in obj.items() if k != name}


BAD: list[tuple[dict[str, Any], str, str]] = [
    *[
        (without(obj, name), "missing_field", name)
        for obj, names in (
            (NEW, ("cl_ord_id", "symbol", "ts_event", "side", "order_qty", "start", "end")),
            (REPLACE, ("cl_ord_id", "symbol", "ts_event")),
            (FILL, ("exec_id", "cl_ord_id", "symbol", "ts_event", "last_qty", "last_px")),
            (CORRECT, ("exec_ref_id", "last_qty", "last_px")),
            (BUST, ("exec_id", "exec_ref_id")),
            (HALT, ("scope", "ts_event")),
        )
        for name in names
    ],
    (without(REPLACE, "order_qty"), "missing_field", "changes nothing"),
    (NEW | {"cl_ord_id": ""}, "value", "cl_ord_id"),
    (NEW | {"cl_ord_id": "x" * 65}, "value", "cl_ord_id"),
    (NEW | {"cl_ord_id": "A\n1"}, "value", "cl_ord_id"),
    (NEW | {"cl_ord_id": 7}, "type", "cl_ord_id"),
    (NEW | {"orig_cl_ord_id": "A0"}, "value", "orig_cl_ord_id"),
    (NEW | {"symbol": "S" * 33}, "value", "symbol"),
    (NEW | {"side": "BUY"}, "value", "side"),
    (NEW | {"order_qty": 0}, "value", "order_qty"),
    (NEW | {"order_qty": -5}, "value", "order_qty"),
    (NEW | {"order_qty": True}, "type", "order_qty"),
    (NEW | {"order_qty": [1]}, "type", "order_qty"),
    (NEW | {"order_qty": "many"}, "value", "order_qty"),
    (NEW | {"order_qty": "1e-10"}, "value", "order_qty"),
    (NEW | {"order_qty": 1e19}, "value", "order_qty"),
    (NEW | {"order_qty": "9e999999999"}, "value", "order_qty"),
    *[
        (NEW | {"order_qty": text}, "value", "order_qty")
        for text in ("1_000", " 5", "+5", "\u0663", "0x10", "05", "NaN")
    ],
    (NEW | {"ts_event": 1.5}, "value", "ts_event"),
    (NEW | {"start": 0}, "value", "start"),
    (NEW | {"end": T0 + 1}, "value", "end"),
    (NEW | {"participation_rate": 0}, "value", "participation_rate"),
    (NEW | {"participation_rate": 1.01}, "value", "participation_rate"),
    (NEW | {"participation_rate": "half"}, "type", "participation_rate"),
    (NEW | {"max_interval_qty": 0}, "value", "max_interval_qty"),
    (NEW | {"lot_size": 0}, "value", "lot_size"),
    (NEW | {"risk_aversion": -1}, "value", "risk_aversion"),
    (NEW | {"min_clip_qty": 0}, "value", "min_clip_qty"),
    (NEW | {"must_complete": "yes"}, "type", "must_complete"),
    (NEW | {"must_complete": 1}, "type", "must_complete"),
    (NEW | {"risk_aversion": True}, "type", "risk_aversion"),
    (NEW | {"blackouts": {}}, "type", "blackouts"),
    (NEW | {"blackouts": [[T0]]}, "type", "blackouts"),
    (NEW | {"blackouts": [[T0 + 1, T0]]}, "value", "blackouts"),
    (NEW | {"blackouts": [[T0, T0 + 1]] * 65}, "value", "blackouts"),
    (REPLACE | {"side": "buy"}, "value", "side"),
    (REPLACE | {"order_qty": None}, "value", "order_qty"),
    (REPLACE | {"start": T0 + 5, "end": T0 + 5}, "value", "end"),
    (FILL | {"last_qty": 0}, "value", "last_qty"),
    (FILL | {"last_px": 1e-13}, "value", "last_px"),
    (FILL | {"last_px": -1e10}, "value", "last_px"),
    (FILL | {"last_liquidity_ind": "both"}, "value", "last_liquidity_ind"),
    (FILL | {"last_liquidity_ind": []}, "value", "last_liquidity_ind"),
    (BUST | {"exec_ref_id": "E2"}, "value", "exec_ref_id"),
    (HALT | {"scope": ""}, "value", "scope"),
    (HALT | {"reason": 5}, "type", "reason"),
    (HALT | {"reason": "r" * 501}, "value", "reason"),
]


@pytest.mark.parametrize(("obj", "reason", "names"), BAD, ids=[f"{i}-{b[2]}" for i, b in enumerate(BAD)])
def test_bad_record_is_refused_with_reason_field_and_bytes(obj: dict[str, Any], reason: str, names: str) -> None:
    value = orjson.dumps(obj)
    decoded = decode(TOPIC_OF[obj["type"]], value)
    assert not decoded.events
    (refused,) = decoded.refused
    assert (refused.reason, refused.raw, refused.codec, refused.offset) == (reason, value, "json", 10)
    assert names in refused.detail


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty"),
        (b"{", "truncated"),
        (b"[]", "type"),
        (b"{}", "missing_field"),
        (b'{"type":1}', "type"),
        (orjson.dumps(NEW).replace(b"50000", b"NaN"), "missing_field"),
        (orjson.dumps(NEW).replace(b"50000", b"Infinity"), "not_finite"),
        (b'{"type":"new","x":"' + b"a" * 1_000_000 + b'"}', "too_large"),
    ],
    ids=["empty", "cut", "array", "no type", "odd type", "NaN", "infinity", "large"],
)
def test_record_that_is_no_usable_object_is_refused(value: bytes, reason: str) -> None:
    assert [refused.reason for refused in decode(Topic.ORDERS, value).refused] == [reason]


def test_unknown_type_is_refused_by_name() -> None:
    decoded = decode(Topic.ORDERS, b'{"type":"status"}', orjson.dumps(FILL), orjson.dumps(NEW))
    assert [refused.reason for refused in decoded.refused] == ["unknown_type"] * 2
    assert [received.event for received in decoded.events] == [ORDER]


def test_time_from_data_is_ts_event_floored_to_milliseconds() -> None:
    decoded = decode_events(Topic.ORDERS, [orjson.dumps(NEW)], [0], [FROM_DATA])
    assert decoded.events[0].ts_record == T0 // 1_000_000 * 1_000_000


def test_mutated_records_are_all_answered() -> None:
    rng = random.Random(11)
    by_topic: dict[Topic, list[bytes]] = {}
    for obj in (NEW, REPLACE, CANCEL, FILL, CORRECT, BUST, HALT):
        by_topic.setdefault(TOPIC_OF[str(obj["type"])], []).append(orjson.dumps(obj))
    for topic, seeds in by_topic.items():
        values = []
        for _ in range(7_000):
            data = bytearray(rng.choice(seeds))
            for _ in range(rng.choice((1, 1, 2, 4))):
                at = rng.randrange(len(data) + 1)
                data[at : at + rng.randrange(4)] = rng.choice(
                    (b"", b'"', b"-", b"0", b"[", b"null", b"\xff", b"1e9", b"true")
                )
            values.append(bytes(data))
        decoded = decode(topic, *values)
        assert len(decoded.events) + len(decoded.refused) == len(values)
        assert {refused.reason for refused in decoded.refused} <= REASONS.keys()


#: A value of each unit that a term may have, as it is sent and as it is parsed.
SAMPLES = {
    Unit.QUANTA: (0.5, QUANTA // 2),
    Unit.TIME: (T0 + 1, T0 + 1),
    Unit.SHARE: (0.25, 0.25),
    Unit.PER_CURRENCY: (1e-6, 1e-6),
    Unit.PRICE: (31.2, 31.2),
    Unit.BPS: (-12.5, -12.5),
    Unit.SECONDS: (600, 600.0),
    Unit.AUCTIONS: ("both", "both"),
    Unit.URGENCY: ("normal", 2.0),
    Unit.WINDOWS: ([[T0, T0 + 1]], ((T0, T0 + 1),)),
    Unit.VENUES: (["XNAS", "BATS"], ("BATS", "XNAS")),
    Unit.FLAG: (True, True),
}


@pytest.mark.parametrize("term", fields(Terms), ids=lambda term: term.name)
def test_term_is_parsed_by_its_unit_in_new_and_replace(term: Field[Any]) -> None:
    """A term that is added to `Terms` is accepted without another line."""
    sent, parsed = SAMPLES[field_type(message_fields(Terms)[term.name]).unit]
    assert parse({"type": "replace", **HEAD, term.name: sent}).changes == ((term.name, parsed),)
    if term.default is MISSING:
        decoded = decode(Topic.ORDERS, orjson.dumps({k: v for k, v in NEW.items() if k != term.name}))
        assert [(r.reason, r.detail.split()[0]) for r in decoded.refused] == [("missing_field", term.name)]
    else:
        assert getattr(parse(NEW | {term.name: sent}).terms, term.name) == parsed
        assert getattr(parse(NEW | {term.name: None}).terms, term.name) == term.default


@pytest.mark.parametrize(
    ("name", "field"), [("completion", "must_complete"), ("limit_price", "limit_px"), ("end_time", "end")]
)
def test_words_of_other_tickets_name_our_field(name: str, field: str) -> None:
    (refused,) = decode(Topic.ORDERS, orjson.dumps(NEW | {name: 1})).refused
    assert f"send {field}" in refused.detail
