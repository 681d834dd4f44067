"""What FIX tags mean: every term of an order from its one place, every other tag refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.client import Client
from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Topic
from impactd.core.inputs.terms import TERMS
from impactd.core.outputs.units import Unit
from impactd.shell.fix.tags import (
    LEAST_COST,
    PARTICIPATE,
    STRATEGIES,
    Fields,
    Pair,
    Place,
    TagError,
    pairs_of,
    parse_utc,
    places,
    read_execution,
    read_new,
    utc,
)
from impactd.wire.json_orders import decode_events

AT = 1_743_687_000_000_000_000

HEAD: list[Pair] = [(8, "FIX.4.4"), (35, "D"), (34, "2"), (49, "DESK"), (56, "IMPACTD")]
NEW: list[Pair] = [
    (11, "A1"),
    (55, "FROG"),
    (54, "1"),
    (38, "1000"),
    (40, "1"),
    (60, "20250403-13:30:00.125"),
    (126, "20250403-20:00:00"),
]

#: A value of each unit on the wire, and as the event has it.
VALUES = {
    Unit.QUANTA: ("200", 200 * QUANTA),
    Unit.TIME: ("20250403-14:00:00", 1_743_688_800_000_000_000),
    Unit.SHARE: (".25", 0.25),
    Unit.PRICE: ("031.50", 31.5),
    Unit.BPS: ("-5.0", -5.0),
    Unit.SECONDS: ("600", 600.0),
    Unit.PER_CURRENCY: ("0.000001", 1e-6),
    Unit.FLAG: ("Y", True),
    Unit.URGENCY: ("high", 4.0),
    Unit.AUCTIONS: ("close", "close"),
    Unit.VENUES: ("XNYS,XNAS", ("XNAS", "XNYS")),
    Unit.WINDOWS: (
        "20250403-14:00:00/20250403-14:05:00",
        ((1_743_688_800_000_000_000, 1_743_689_100_000_000_000),),
    ),
}

#: What a term needs with it.
TOGETHER = {
    "auctions": {"auction_rate": "0.1"},
    "auction_rate": {"auctions": "close"},
    "would_px": {"would_rate": "0.1"},
    "would_rate": {"would_px": "31"},
    "alpha_bps": {"alpha_half_life_s": "60"},
    "alpha_half_life_s": {"alpha_bps": "1"},
}


def body(place: Place, text: str, strategy: str = LEAST_COST) -> list[Pair]:
    pairs = [pair for pair in NEW if pair[0] != place.tag]
    if strategy == PARTICIPATE:
        pairs += [(847, "2")] + ([] if place.tag == 849 else [(849, "0.5")])
    parameters = dict(TOGETHER.get(place.term, {}))
    if place.tag is None:
        parameters[place.term] = text
    else:
        pairs.append((place.tag, text))
    if place.tag == 44:
        pairs = [(40, "2") if pair[0] == 40 else pair for pair in pairs]
    if parameters:
        pairs.append((957, str(len(parameters))))
        for name, value in parameters.items():
            pairs += [(958, name), (959, "14"), (960, value)]
    return pairs


def event(pairs: list[Pair]) -> object:
    topic, value = Client.encode(read_new(Fields(HEAD + pairs), 0))
    assert topic is Topic.ORDERS
    decoded = decode_events(topic, [value], [0], [0])
    return decoded.events[0].event


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("term", TERMS)
def test_every_term_is_read_from_its_place(term: str, strategy: str) -> None:
    (place,) = (place for place in places(strategy) if place.term == term)
    text, value = VALUES[place.unit]
    read = event(body(place, text, strategy))
    assert getattr(read.terms, term) == value  # type: ignore[attr-defined]


def test_order_without_a_start_begins_with_the_request() -> None:
    read = event(NEW)
    assert read.ts_event == read.terms.start == 1_743_687_000_125_000_000  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("tag", "pairs"),
    [
        (58, [*NEW, (58, "work it slowly")]),
        (18, [*NEW, (18, "P")]),
        (38, [*NEW, (38, "5")]),
        (21, [*NEW, (21, "3")]),
        (59, [*NEW, (59, "3")]),
        (847, [*NEW, (847, "1")]),
        (849, [*NEW, (847, "2")]),
        (44, [*NEW, (44, "31")]),
        (41, [*NEW, (41, "A0")]),
        (957, [*NEW, (957, "2"), (958, "lot_size"), (960, "100")]),
        (957, [*NEW, (958, "lot_size"), (960, "100")]),
        (958, [*NEW, (957, "1"), (958, "lotsize"), (960, "100")]),
        (958, [*NEW, (957, "1"), (958, "order_qty"), (960, "100")]),
        (960, [*NEW, (957, "1"), (958, "lot_size")]),
        (960, [*NEW, (957, "2"), (958, "lot_size"), (960, "1"), (958, "lot_size"), (960, "2")]),
        (960, [*NEW, (957, "1"), (958, "must_complete"), (960, "yes")]),
        (110, [*NEW, (110, "1_000")]),
        (849, [*NEW, (849, "NaN")]),
        (60, [pair if pair[0] != 60 else (60, "2025-04-03T13:30:00Z") for pair in NEW]),
        (54, [pair if pair[0] != 54 else (54, "5") for pair in NEW]),
        (11, [pair for pair in NEW if pair[0] != 11]),
    ],
)
def test_instruction_that_is_not_obeyed_is_refused_by_its_tag(tag: int, pairs: list[Pair]) -> None:
    with pytest.raises(TagError) as refused:
        read_new(Fields(HEAD + pairs), 0)
    assert refused.value.tag == tag


def test_informational_tag_is_passed_over() -> None:
    assert read_new(Fields([*NEW, (58, "from the blotter")], [58]), 0)["cl_ord_id"] == "A1"


@pytest.mark.parametrize("ns", [1_743_687_000_125_000_000, 1_700_000_000_000_000_000])
def test_times_are_exact(ns: int) -> None:
    assert parse_utc(utc(ns), 60) == ns
    assert parse_utc("20250403-13:30:00.123456789", 60) % 1_000_000_000 == 123_456_789


def test_executions_become_records_that_the_service_takes() -> None:
    trade: list[Pair] = [(17, "E1"), (11, "A1"), (55, "FROG"), (32, "100.00"), (31, "31.2"), (851, "2")]
    fill = read_execution([(150, "F"), *trade], 11, AT)
    assert fill is not None
    assert (fill["type"], fill["last_liquidity_ind"]) == ("fill", "taker")
    assert Client.encode(fill)[0] is Topic.EXECUTIONS
    for kind, name in (("G", "correct"), ("H", "bust")):
        amendment = read_execution([(150, kind), *trade, (19, "E0")], 11, AT)
        assert amendment is not None
        assert (amendment["type"], amendment["exec_ref_id"]) == (name, "E0")
        assert Client.encode(amendment)[0] is Topic.EXECUTIONS
    assert read_execution([(150, "0"), *trade], 11, AT) is None
    parent = read_execution([(150, "F"), *trade, (526, "P1")], 526, AT)
    assert parent is not None
    assert parent["cl_ord_id"] == "P1"
    with pytest.raises(TagError):
        read_execution([(150, "G"), *trade], 11, AT)


def test_message_is_taken_apart_in_its_order() -> None:
    assert pairs_of("8=FIX.4.4\x0158=a=b\x01") == [(8, "FIX.4.4"), (58, "a=b")]


def test_data_may_hold_what_ends_a_field() -> None:
    raw = "35=D\x01354=9\x01355=a\x0138=9\x01=b\x0138=5\x01"
    assert pairs_of(raw) == [(35, "D"), (354, "9"), (355, "a\x0138=9\x01=b"), (38, "5")]
    # A length that does not fit counts for nothing.
    assert pairs_of("354=3\x01355=a\x01") == [(354, "3"), (355, "a")]
    assert pairs_of("354=1\x0138=5\x01") == [(354, "1"), (38, "5")]
    assert pairs_of("x=1\x01b\x011=2") == [(0, "x=1"), (0, "b"), (1, "2")]


@given(
    raw=st.lists(st.sampled_from(["\x01", "=", "354", "355", "38", "1", "9", "\u20ac", "\udce9", "\u0663"])).map(
        "".join
    )
)
def test_any_text_is_taken_apart_without_a_loss(raw: str) -> None:
    pairs = pairs_of(raw)
    assert all(tag >= 0 for tag, _ in pairs)
    assert sum(len(value) for _, value in pairs) <= len(raw)


@pytest.mark.parametrize("value", ["\u20ac1", "\udce9", "A\t", "A" * 1_025, "\u0663"])
def test_execution_whose_bytes_are_no_text_is_refused_and_its_comment_may_be_anything(value: str) -> None:
    body = [(150, "F"), (17, "E1"), (11, "P1"), (55, "FROG"), (32, "100"), (31, "31.5")]
    assert read_execution([*body, (58, value)], 11, AT) is not None
    for tag in (17, 11, 55, 32, 31):
        with pytest.raises(TagError) as error:
            read_execution([(its, value if its == tag else text) for its, text in body], 11, AT)
        assert error.value.tag == tag
