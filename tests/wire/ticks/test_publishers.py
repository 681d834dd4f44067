"""A symbol's book is of one publisher, whatever the codec, the batches and the restarts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.base.publisher import NO_PUBLISHER, publisher_number, publisher_text
from impactd.core.base.settings import CoreSettings
from impactd.core.books.aggregator import MinuteAggregator
from impactd.wire.codec import Limits
from impactd.wire.live_books import LiveBooks
from impactd.wire.registry import CODECS
from tests.core.builders import EngineHarness
from tests.core.rows import Row, play
from tests.wire.helpers import T0, keep
from tests.wire.ticks.databento import samples as databento
from tests.wire.ticks.dbn.samples import IDS, record
from tests.wire.ticks.dbn.test_orders import mbo

S = 1_000_000_000


def csv(publisher: int, ts: int, px: float) -> bytes:
    fields = databento.book("FROG", ts, [(px, 300)], [(px + 0.02, 200)]).split(b",")
    fields[3] = b"%d" % publisher
    return b",".join(fields)


def csv_trade(publisher: int, ts: int, px: float) -> bytes:
    fields = databento.trade("FROG", ts, px, 100).split(b",")
    fields[3] = b"%d" % publisher
    return b",".join(fields)


def json(publisher: int, ts: int, px: float) -> bytes:
    value = orjson.loads(databento.json_record("FROG", ts, [(px, 300)], [(px + 0.02, 200)]))
    value["hd"]["publisher_id"] = publisher
    return orjson.dumps(value)


def dbn(publisher: int, ts: int, px: float) -> bytes:
    return record(IDS["FROG"], ts, [(px, 300)], [(px + 0.02, 200)], publisher=publisher)


MAKERS: dict[str, tuple[str, Callable[[int, int, float], bytes]]] = {
    "csv": ("databento-mbp10-csv", csv),
    "csv-trades": ("databento-mbp10-csv", csv_trade),
    "json": ("databento-json", json),
    "dbn": ("dbn", dbn),
}


def states(codec: str, values: list[bytes], cuts: list[int]) -> tuple[list[Any], dict[str, bytes]]:
    """Return the minutes and the state of records that are read in batches; the tape begins again at each cut."""
    decoder, tape, minutes, first = CODECS.get(codec)(Limits()), MinuteAggregator(CoreSettings().books), [], 0
    for cut in sorted({*cuts, len(values)}):
        n = cut - first
        keys = [b"FROG"] * n
        decoded = decoder.decode_columns(values[first:cut], range(first, cut), [T0] * n, keys)
        assert not decoded.refused
        minutes += play(tape, decoded.batch)
        state, tape, first = tape.dump(), MinuteAggregator(CoreSettings().books), cut
        tape.load(state)
    return [(one.n_books, one.rejected, one.mid, one.publisher, one.other_publisher) for one in minutes], state


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_another_publisher_are_rejected_in_any_batches(kind: str, seed: int) -> None:
    codec, make = MAKERS[kind]
    rng = random.Random(seed)
    who = [2, *(rng.choice([2, 39]) for _ in range(60)), 2]
    # Theirs is another price, by which a mean of both would be off.
    values = [make(one, T0 + 3 * at * S, {2: 31.19, 39: 35.0}[one]) for at, one in enumerate(who)]
    minutes, state = states(codec, values, [])
    assert states(codec, values, [rng.randrange(1, len(values)) for _ in range(6)]) == (minutes, state)
    assert minutes
    for _, rejected, mid, first, other in minutes:
        assert mid == pytest.approx(31.2, abs=0.02)
        assert (first, other) == (2, 39)
        assert set(rejected) == {"publisher"}


def test_scanned_and_reference_lines_give_the_same_publisher() -> None:
    codec = CODECS.get("databento-mbp10-csv")(Limits())
    values = [csv(2, T0, 31.0), csv(39, T0, 31.0), csv(0, T0, 31.0), csv(10**11, T0, 31.0)]
    for twin in (codec, codec.reference()):
        batch = twin.decode_columns(values, range(4), [T0] * 4).batch
        assert batch.publisher.tolist() == [2, 39, 0, publisher_number(str(10**11))]


@pytest.mark.parametrize(
    ("codec", "lines"),
    [
        ("wide-csv", "time,symbol,exchange,bid_price_1,bid_size_1,ask_price_1,ask_size_1\n{ts},FROG,{who},31,5,32,5"),
        ("long-csv", "time,symbol,venue,side,level,price,size\n{ts},FROG,{who},bid,1,31,5\n{ts},FROG,{who},ask,1,32,5"),
    ],
)
def test_tables_name_the_publisher_in_their_column_of_venues(codec: str, lines: str) -> None:
    header, _, rows = lines.partition("\n")
    decoder: Any = CODECS.get(codec)
    values = [rows.format(ts=T0, who=who).encode() for who in ("XNAS", "ARCX", "")]
    batch = decoder(Limits(), header).decode_columns(values, range(3), [T0] * 3).batch
    assert list(map(publisher_text, batch.publisher.tolist())) == ["XNAS", "ARCX", "0"]


def test_orders_of_another_publisher_change_no_book_and_are_refused_in_any_batches() -> None:
    sent = [
        mbo("R"),
        mbo("R", publisher=39),
        mbo("A", "B", 3_100, 5, 1),
        mbo("A", "A", 3_102, 5, 2),
        mbo("A", "B", 9_100, 5, 1, publisher=39),
        mbo("C", "B", 3_100, 5, 1, publisher=39),
        mbo("A", "B", 3_101, 5, 3),
    ]
    read = []
    for size in (1, 3, 7):
        state: dict[str, bytes] = {}
        rows, refused = [], []
        for at in range(0, len(sent), size):
            books = LiveBooks("dbn", Limits(), state)
            part = sent[at : at + size]
            decoded = books.decode_columns(part, range(at, at + len(part)), [T0] * len(part), [b"FROG"] * 7, None)
            keep(state, books.advance(at + len(part)))
            rows += [decoded.batch.bid_px[i, : decoded.batch.n_bid[i]].tolist() for i in range(len(decoded.batch))]
            refused += [(one.offset, one.reason, one.symbol) for one in decoded.refused]
        read.append((rows, refused))
    assert read[0] == read[1] == read[2]
    rows, refused = read[0]
    assert refused == [(at, "publisher", "FROG") for at in (1, 4, 5)]
    assert rows[-1] == [31.01, 31.0]


def test_another_publishers_clear_begins_a_book_that_has_ended() -> None:
    values = [
        mbo("R"),
        mbo("A", "B", 3_100, 5, 1),
        mbo("C", "B", 3_100, 5, 99),
        mbo("R", publisher=39),
        mbo("A", "B", 3_000, 5, 1, publisher=39),
    ]
    books = LiveBooks("dbn", Limits())
    decoded = books.decode_columns(values, range(5), [T0] * 5, [b"FROG"] * 5, None)
    assert [one.reason for one in decoded.refused] == ["gap"]
    assert decoded.batch.publisher.tolist()[-1] == 39


def test_alert_comes_once_a_minute_and_names_both_with_a_remedy() -> None:
    harness = EngineHarness()
    begin = T0 // (60 * S) * 60 * S
    rows = [
        Row(begin + k * 5 * S, ((99.0, 1.0),), ((101.0, 1.0),), publisher=publisher_number(("XNAS", "ARCX")[k % 2]))
        for k in range(30)
    ]
    harness.run(rows)
    alerts = harness.alerts("other_publisher")
    assert [alert.symbol for alert in alerts] == ["FROG"] * 2
    assert "6 ticks of publisher ARCX" in alerts[0].text
    assert "is of publisher XNAS" in alerts[0].text
    assert "[[venues]]" in alerts[0].text


@given(st.text(max_size=30))
def test_numbers_of_publishers_fit_and_short_ones_are_read_back(text: str) -> None:
    number = publisher_number(text)
    assert 0 <= number < 2**63
    if text.isascii() and not text.isdigit() and len(text) <= 7:
        assert (number == NO_PUBLISHER) == (text == "")
        assert not text or publisher_text(number) == text.lstrip("\0")
