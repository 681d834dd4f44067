"""What the core says, as published bytes."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import orjson

from impactd.core.base.quantity import QUANTA, format_qty
from impactd.core.base.topics import Side, Topic
from impactd.core.outputs.messages import (
    Alert,
    BandRecord,
    Certificate,
    DeadLetter,
    Estimate,
    ForecastRecord,
    Model,
    ModelRef,
    Output,
    Plan,
)
from impactd.wire.records import dead_letter_record, encode_line, encode_message, encode_output

T0 = 1_743_687_000_000_000_000
ESTIMATE = Estimate(
    symbol="FROG",
    side=Side.BUY,
    minute=T0,
    interval_s=60,
    n_books=58,
    n_rejected=0,
    n_late=0,
    covered_s=60.0,
    mid=31.225,
    half_spread=0.025,
    volume_continuous=None,
    volume_auction=100.0,
    sizes=(10.0, 12.5),
    slippage=(-0.0, None),
    coverage=(1.0, 0.42),
    lower_bound=(0.03, float("nan")),
)
MODEL = Model(
    symbol="FROG",
    side=Side.SELL,
    as_of=T0,
    kind="linear",
    unit="price_per_share",
    intercept=True,
    half_spread=0.02,
    beta=1.2e-5,
    alpha=0.0,
    eta=None,
    delta=None,
    se={"beta": 1e-7},
    n_eff=31.5,
    r2=0.97,
    prior=False,
    regime=0,
    fitted_range=(10.0, 1000.0),
    bands=(BandRecord(60, 5.5, (0.8, 0.95), -0.125, (0.25, 0.5), (0.75, 1.0)),),
    bias=1.25,
    forecast=ForecastRecord((5, 60), (0.021, 0.022), (1e-5, 2e-5), None, None),
)
PLAN = Plan(
    cl_ord_id="A1",
    symbol="FROG",
    side=Side.BUY,
    plan_version=3,
    as_of=T0,
    reason="minute",
    status="active",
    text=None,
    group_id=None,
    order_qty=50_000 * QUANTA,
    cum_qty=1_200 * QUANTA,
    leaves_qty=48_800 * QUANTA,
    shortfall_qty=0,
    interval_s=60,
    child_slices=1,
    extrapolated_qty=0,
    start=(T0, T0 + 60),
    qty=(48_799 * QUANTA + QUANTA // 2, QUANTA // 2),
    cap=(60_000 * QUANTA, None),
    expected_cost=812.4,
    expected_cost_bps=5.3,
    twap_cost=940.1,
    saving_bps=0.8,
    cost_band=(690.2, 951.7),
    model=ModelRef("linear", "price_per_share", T0, prior=False),
    certificate=Certificate("exact", 0.031, 3e-12),
    cost_band_95=(600.0, 1101.25),
)
ALERT = Alert("shortfall", "FROG", "A1", T0, "caps hold 10 less than the order")
LETTER = DeadLetter(Topic.TICKS, 17, "truncated", "the JSON ends early", "json", b'{"type":', b"FROG")


def test_estimate_is_the_published_object_byte_for_byte() -> None:
    assert encode_message(ESTIMATE) == (
        b'{"type":"estimate","symbol":"FROG","side":"buy","minute":1743687000000000000,"interval_s":60,"n_books":58,'
        b'"n_rejected":0,"n_late":0,"covered_s":60.0,"mid":31.225,"half_spread":0.025,"volume_continuous":null,'
        b'"volume_auction":100,"sizes":[10,12.5],"slippage":[0.0,null],"coverage":[1.0,0.42],"lower_bound":[0.03,null]}'
    )


def test_model_is_the_published_object_byte_for_byte() -> None:
    assert encode_message(MODEL) == (
        b'{"type":"model","symbol":"FROG","side":"sell","as_of":1743687000000000000,"kind":"linear",'
        b'"unit":"price_per_share","intercept":true,"half_spread":0.02,"beta":0.000012,"alpha":0.0,"eta":null,'
        b'"delta":null,"se":{"beta":1e-7},"n_eff":31.5,"r2":0.97,"prior":false,"regime":0,"fitted_range":[10,1000],'
        b'"bands":[{"intervals":60,"n_eff":5.5,"level":[0.8,0.95],"log_middle":-0.125,"log_width":[0.25,0.5],'
        b'"coverage":[0.75,1.0]}],"bias":1.25,'
        b'"forecast":{"intervals":[5,60],"half_spread":[0.021,0.022],"beta":[0.00001,0.00002],"alpha":null,"eta":null},'
        b'"trust":1.0,"capture":null}'
    )


def test_plan_is_the_published_object_byte_for_byte() -> None:
    assert encode_message(PLAN) == (
        b'{"type":"plan","cl_ord_id":"A1","symbol":"FROG","side":"buy","plan_version":3,"as_of":1743687000000000000,'
        b'"reason":"minute","status":"active","text":null,"group_id":null,"order_qty":50000,"cum_qty":1200,'
        b'"leaves_qty":48800,"shortfall_qty":0,"interval_s":60,"child_slices":1,"extrapolated_qty":0,'
        b'"start":[1743687000000000000,1743687000000000060],"qty":[48799.5,0.5],"cap":[60000,null],'
        b'"expected_cost":812.4,"expected_cost_bps":5.3,"twap_cost":940.1,"saving_bps":0.8,"cost_band":[690.2,951.7],'
        b'"model":{"kind":"linear","unit":"price_per_share","as_of":1743687000000000000,"prior":false,'
        b'"transient_share":0.0,"resilience_half_life_s":null},'
        b'"certificate":{"solver":"exact","multiplier":0.031,"kkt_residual":3e-12,"gap":null},'
        b'"cost_band_95":[600.0,1101.25],"lifted_qty":0,"blind":false,"cl_ord_ids":[],'
        b'"mid":null,"limit_px":null,"expected_shortfall_qty":null,"end":null,"window":null,'
        b'"participation_rate":null,"min_participation_rate":null,"min_clip_qty":null,"urgency":0.0,"currency":null,'
        b'"multiplier":1.0,"expected_cost_ticks":null,"auctions":[],"avg_px":null,"would_px":null,"would_qty":null}'
    )


def test_quantities_are_the_same_however_many_were_written_before() -> None:
    quanta = tuple(k * QUANTA // 4 for k in range(10_000))
    for _ in range(2):
        written = orjson.loads(encode_message(replace(PLAN, qty=quanta, cap=(*quanta[1:], None))))
        assert written["qty"] == [format_qty(one) for one in quanta]
        assert written["cap"] == [*written["qty"][1:], None]
        assert all(type(one) is type(format_qty(k)) for one, k in zip(written["qty"], quanta, strict=True))


def test_alert_is_the_published_object_byte_for_byte() -> None:
    assert encode_message(ALERT) == (
        b'{"type":"alert","kind":"shortfall","symbol":"FROG","cl_ord_id":"A1","as_of":1743687000000000000,'
        b'"text":"caps hold 10 less than the order"}'
    )


def test_timestamps_as_strings_are_strings_everywhere() -> None:
    plan = orjson.loads(encode_message(PLAN, "string"))
    assert plan["as_of"] == plan["start"][0] == plan["model"]["as_of"] == str(T0)
    assert orjson.loads(encode_message(ESTIMATE, "string"))["minute"] == str(T0)
    assert orjson.loads(encode_message(replace(PLAN, model=None, certificate=None, cost_band=None)))["model"] is None


def test_output_record_has_key_and_schema() -> None:
    record = encode_output(Output(Topic.PLANS_LATEST, "A1", PLAN, T0, (Topic.TICKS, 5)))
    assert (record.topic, record.key) == (Topic.PLANS_LATEST, b"A1")
    assert record.headers == (("schema", b"impactd.plan/1"),)


def test_dead_letter_keeps_bytes_and_key_and_states_why_in_headers() -> None:
    record = encode_output(Output(Topic.DLQ, None, LETTER, T0, None), source_partition=3)
    assert (record.topic, record.key, record.value) == (Topic.DLQ, b"FROG", b'{"type":')
    headers = dict(record.headers)
    assert headers["reason"] == b"truncated"
    assert (headers["source_topic"], headers["source_partition"], headers["source_offset"]) == (b"ticks", b"3", b"17")
    assert headers["codec"] == b"json"


def test_dead_letter_of_a_codec_name_that_is_no_text_still_has_headers() -> None:
    assert dict(dead_letter_record(replace(LETTER, codec="a\udc80")).headers)["codec"] == b"a\\udc80"


def test_dead_letter_over_the_limit_is_cut_with_its_hash() -> None:
    raw = b"x" * 1000
    record = dead_letter_record(replace(LETTER, raw=raw), max_bytes=100)
    headers = dict(record.headers)
    assert record.value == raw[:100]
    assert headers["original_bytes"] == b"1000"
    assert headers["sha256"] == hashlib.sha256(raw).hexdigest().encode()


def test_dead_letter_with_a_key_that_is_too_long_is_cut_and_marked_as_such() -> None:
    record = dead_letter_record(replace(LETTER, key=b"k" * 900_000))
    headers = dict(record.headers)
    assert (len(record.key or b""), record.value) == (1_024, LETTER.raw)
    assert headers["original_key_bytes"] == b"900000"
    assert headers["sha256"] == hashlib.sha256(LETTER.raw).hexdigest().encode()


def test_dead_letter_line_holds_the_bytes_in_base64() -> None:
    line = orjson.loads(encode_line(Output(Topic.DLQ, None, LETTER, T0, None)))
    assert base64.b64decode(line["value"]) == LETTER.raw
    assert base64.b64decode(line["key"]) == b"FROG"
    assert (line["type"], line["reason"], line["source_offset"]) == ("dlq", "truncated", 17)
    assert encode_line(Output(Topic.ALERTS, "FROG", ALERT, T0, None)) == encode_message(ALERT)
