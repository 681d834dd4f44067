"""Times of inputs: every unit, one check for all codecs, orders and executions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.base.topics import Topic
from impactd.wire.codec import FieldError, Limits
from impactd.wire.json_orders import decode_events
from impactd.wire.registry import CODECS
from impactd.wire.times import MAX_NS, MIN_NS, UNITS, parse_text_time, parse_time
from tests.checks.codec_samples import samples_of
from tests.wire.helpers import decode_in_batches

NS = 1_743_687_000_125_395_235
#: Whole seconds, so that every unit holds it.
T0 = 1_743_687_000_000_000_000
TIMES = st.integers(MIN_NS, MAX_NS)
TICK = {"type": "trade", "symbol": "FROG", "px": 31.2, "qty": 5}
NEW = {"type": "new", "cl_ord_id": "A1", "symbol": "FROG", "side": "buy", "order_qty": 5}
FILL = {"type": "fill", "exec_id": "E1", "cl_ord_id": "A1", "symbol": "FROG", "last_qty": 5, "last_px": 31.2}
HALT = {"type": "halt", "scope": "*"}


@pytest.mark.parametrize("unit", UNITS)
@given(ns=TIMES)
def test_a_time_in_the_unit_is_read_as_number_and_as_text(unit: str, ns: int) -> None:
    value = ns // UNITS[unit]
    if value * UNITS[unit] < MIN_NS:
        value += 1
    for given_as in (value, str(value)):
        assert parse_time(given_as, "t", unit) == value * UNITS[unit]
    assert parse_time(ns, "t", unit) == ns, "nanoseconds are known by their magnitude"


@given(ns=TIMES, unit=st.sampled_from(sorted(UNITS)), other=st.sampled_from(sorted(UNITS)))
def test_a_time_in_another_unit_is_refused_with_the_factor(ns: int, unit: str, other: str) -> None:
    value = ns // UNITS[other]
    if other in {unit, "ns"} or value * UNITS[other] < MIN_NS:
        return
    with pytest.raises(FieldError) as refused:
        parse_time(value, "t", unit)
    assert refused.value.reason == "time_unit"
    detail = refused.value.detail
    power = int(detail.partition("10^")[2].partition(",")[0])
    mended = value * 10**power if "multiply" in detail else value / 10**power
    assert abs(parse_time(int(mended), "t", unit) - ns) < UNITS[max(unit, other, key=UNITS.__getitem__)]
    named = detail.partition('time_unit = "')[2].partition('"')[0]
    assert parse_time(value, "t", named) == value * UNITS[other]


@given(ns=st.integers(MIN_NS + 10**15, MAX_NS - 10**15), hours=st.integers(-14, 14), minutes=st.sampled_from([0, 30]))
def test_iso_text_with_any_offset_is_the_same_time(ns: int, hours: int, minutes: int) -> None:
    sign = -1 if hours < 0 else 1
    offset = timedelta(hours=hours, minutes=sign * minutes)
    at = datetime.fromtimestamp(ns // 10**9, UTC) + offset
    text = f"{at:%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09}{'-' if sign < 0 else '+'}{abs(hours):02}:{minutes:02}"
    assert parse_time(text, "t") == ns
    assert parse_text_time(text, "t", "ms") == ns


def test_text_without_a_zone_is_utc_in_text_formats_and_refused_in_json() -> None:
    text = "2025-04-03 13:30:00"
    assert parse_text_time(text, "t") == T0
    with pytest.raises(FieldError) as refused:
        parse_time(text, "t")
    assert refused.value.reason == "value"
    assert parse_time(text + "Z", "t") == T0


@pytest.mark.parametrize(
    ("value", "unit", "ns"),
    [
        (1743687000.125, "s", 1_743_687_000_125_000_000),
        (1743687000125.395, "ms", 1_743_687_000_125_395_000),
        ("1743687000.125395235", "s", NS),
        ("1743687000125.395235", "ms", NS),
        ("1743687000125395235.0", "ns", NS),
    ],
)
def test_fractions_of_a_unit_are_exact(value: object, unit: str, ns: int) -> None:
    assert parse_time(value, "t", unit) == ns


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1743687000.125, "time_unit"),
        (1743687000125.395, "time_unit"),
        ("1743687000.125", "time_unit"),
        (1.743687000125395e18, "type"),
        (True, "type"),
        (None, "type"),
        ("soon", "type"),
        ("", "type"),
        (0, "value"),
        (-1, "value"),
        (5, "value"),
        (2**63 - 1, "value"),
        (2**64 - 1, "value"),
        (1e300, "value"),
        (-5.5, "value"),
        ("1969-12-31T23:59:59Z", "value"),
        ("2025-02-30T00:00:00Z", "value"),
        ("2025-02-03T25:00:00Z", "value"),
        ("2025-02-03T05:00:00+01:77", "value"),
        ("9999-12-31T00:00:00Z", "value"),
    ],
)
def test_what_is_no_time_in_nanoseconds_is_refused(value: object, reason: str) -> None:
    with pytest.raises(FieldError) as refused:
        parse_time(value, "t")
    assert refused.value.reason == reason


@pytest.mark.parametrize("name", CODECS.names())
@pytest.mark.parametrize("unit", UNITS)
def test_every_codec_reads_the_unit_and_refuses_the_others(name: str, unit: str) -> None:
    samples = samples_of(name)
    values = {other: samples.book("FROG", T0 // factor, [(31.2, 5.0)], []) for other, factor in UNITS.items()}
    codec = samples.codec(name, Limits(time_unit=unit))
    for one in (codec, codec.reference()):
        for other, value in values.items():
            decoded = decode_in_batches(one, [value], 1)
            if other == "ns" or (other == unit and not samples.fixed_unit):
                assert decoded.batch.ts_event.tolist() == [T0]
            else:
                assert [letter.reason for letter in decoded.refused] == ["value" if samples.fixed_unit else "time_unit"]


@pytest.mark.parametrize("unit", UNITS)
def test_events_are_read_in_the_unit_and_refused_in_others(unit: str) -> None:
    for other, factor in UNITS.items():
        now, end = T0 // factor, (T0 + 10**12) // factor
        blackouts = [[now, end]]
        cases = (
            (Topic.ORDERS, NEW | {"ts_event": now, "start": now, "end": end, "blackouts": blackouts}),
            (Topic.EXECUTIONS, FILL | {"ts_event": now}),
            (Topic.CONTROL, HALT | {"ts_event": now}),
        )
        for topic, record in cases:
            decoded = decode_events(topic, [orjson.dumps(record)], [0], [T0], None, Limits(time_unit=unit))
            if other in {unit, "ns"}:
                assert decoded.events[0].event.ts_event == T0
            else:
                assert [letter.reason for letter in decoded.refused] == ["time_unit"]
        new = decode_events(Topic.ORDERS, [orjson.dumps(cases[0][1])], [0], [T0], None, Limits(time_unit=unit))
        if new.events:
            assert (new.events[0].event.terms.start, new.events[0].event.terms.end) == (T0, T0 + 10**12)
            assert new.events[0].event.terms.blackouts == ((T0, T0 + 10**12),)


def test_one_field_in_another_unit_is_enough() -> None:
    record = NEW | {"ts_event": T0, "start": T0, "end": (T0 + 10**12) // 10**6}
    decoded = decode_events(Topic.ORDERS, [orjson.dumps(record)], [0], [T0])
    assert [(letter.reason, letter.detail[:4]) for letter in decoded.refused] == [("time_unit", "end:")]
