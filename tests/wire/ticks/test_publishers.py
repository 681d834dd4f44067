"""A symbol's book is of one publisher and one instrument, whatever the codec, the batches and the restarts."""

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
from impactd.core.base.venue import VenueRule
from impactd.core.books.aggregator import MinuteAggregator
from impactd.wire.codec import Limits
from impactd.wire.live_books import LiveBooks
from impactd.wire.registry import CODECS
from tests.core.builders import EngineHarness
from tests.core.rows import Row, play
from tests.wire.helpers import T0, keep
from tests.wire.ticks.databento import samples as databento
from tests.wire.ticks.dbn.samples import record
from tests.wire.ticks.dbn.test_orders import mbo

S = 1_000_000_000
DAY = 86_400 * S


Ids = tuple[int, int]
"""Publisher and instrument."""


def csv(ids: Ids, ts: int, px: float) -> bytes:
    fields = databento.book("FROG", ts, [(px, 300)], [(px + 0.02, 200)]).split(b",")
    fields[3:5] = (b"%d" % one for one in ids)
    return b",".join(fields)


def csv_trade(ids: Ids, ts: int, px: float) -> bytes:
    fields = databento.trade("FROG", ts, px, 100).split(b",")
    fields[3:5] = (b"%d" % one for one in ids)
    return b",".join(fields)


def json(ids: Ids, ts: int, px: float) -> bytes:
    value = orjson.loads(databento.json_record("FROG", ts, [(px, 300)], [(px + 0.02, 200)]))
    value["hd"]["publisher_id"], value["hd"]["instrument_id"] = ids
    return orjson.dumps(value)


def dbn(ids: Ids, ts: int, px: float) -> bytes:
    return record(ids[1], ts, [(px, 300)], [(px + 0.02, 200)], publisher=ids[0])


MAKERS: dict[str, tuple[str, Callable[[Ids, int, float], bytes]]] = {
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
        decoded = decoder.decode_columns(values[first:cut], range(first, cut), [T0 + 2 * DAY] * n, keys)
        assert not decoded.refused
        minutes += play(tape, decoded.batch)
        state, tape, first = tape.dump(), MinuteAggregator(CoreSettings().books), cut
        tape.load(state)
    return [
        (one.n_books, one.rejected, one.mid, (one.publisher, one.other_publisher, one.instrument, one.other_instrument))
        for one in minutes
    ], state


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("theirs", "reason", "told"),
    [((39, 700), "publisher", (2, 39, 500, 0)), ((2, 2**32 - 1), "instrument", (2, 0, 500, 2**32 - 1))],
    ids=["publisher", "instrument"],
)
def test_rows_of_another_book_are_rejected_in_any_batches(
    kind: str, theirs: Ids, reason: str, told: tuple[int, ...], seed: int
) -> None:
    codec, make = MAKERS[kind]
    rng = random.Random(seed)
    ours = (2, 500)
    who = [ours, *(rng.choice([ours, theirs]) for _ in range(60)), ours]
    # Theirs is another price, by which a mean of both would be off.
    values = [make(one, T0 + 3 * at * S, {ours: 31.19, theirs: 35.0}[one]) for at, one in enumerate(who)]
    minutes, state = states(codec, values, [])
    assert states(codec, values, [rng.randrange(1, len(values)) for _ in range(6)]) == (minutes, state)
    assert minutes
    for _, rejected, mid, ids in minutes:
        assert mid == pytest.approx(31.2, abs=0.02)
        assert ids == told
        assert set(rejected) == {reason}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_new_instrument_takes_over_on_the_next_day_or_once_the_old_one_is_silent(kind: str) -> None:
    codec, make = MAKERS[kind]
    rows = 2 if kind == "csv-trades" else 1
    midnight = (T0 // DAY + 1) * DAY
    old, new, third = (2, 500), (2, 501), (2, 502)
    at = [(old, -90), (old, -1), (new, 0), (old, 1), (new, 2), (third, 61), (third, 62), (new, 63), (third, 122)]
    minutes, _ = states(codec, [make(one, midnight + s * S, 31.0) for one, s in at], [3, 6])
    found = [(rejected, ids) for _, rejected, _, ids in minutes]
    assert found == [
        ({}, (2, 0, 500, 0)),
        ({}, (2, 0, 500, 0)),
        ({"instrument": rows}, (2, 0, 501, 500)),
        # The third one waits for a minute without a book.
        ({"instrument": 2 * rows}, (2, 0, 502, 501)),
    ]


def test_scanned_and_reference_lines_give_the_same_publisher() -> None:
    codec = CODECS.get("databento-mbp10-csv")(Limits())
    ids = [2, 39, 0, 2**32 - 1, 10**11]
    values = [csv((one, one), T0, 31.0) for one in ids]
    for twin in (codec, codec.reference()):
        batch = twin.decode_columns(values, range(5), [T0] * 5).batch
        assert batch.publisher.tolist() == [2, 39, 0, 2**32 - 1, publisher_number(str(10**11))]
        assert batch.instrument.tolist() == batch.publisher.tolist()


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


@pytest.mark.parametrize(
    ("codec", "lines"),
    [
        ("wide-csv", "time,symbol,isin,bid_price_1,bid_size_1,ask_price_1,ask_size_1\n{ts},FROG,{what},31,5,32,5"),
        (
            "long-csv",
            "time,symbol,isin,side,level,price,size\n{ts},FROG,{what},bid,1,31,5\n{ts},FROG,{what},ask,1,32,5",
        ),
    ],
)
def test_tables_name_the_instrument_in_their_column_of_ids(codec: str, lines: str) -> None:
    header, _, rows = lines.partition("\n")
    decoder: Any = CODECS.get(codec)
    what = ("US1", "US2", "")
    values = [rows.format(ts=T0, what=one).encode() for one in what]
    batch = decoder(Limits(), header).decode_columns(values, range(3), [T0] * 3).batch
    assert batch.instrument.tolist() == [publisher_number(one) for one in what]


def test_a_venue_of_several_publishers_has_instrument_ids_of_each() -> None:
    values = [csv((2, 500), T0, 31.0), csv((39, 700), T0, 31.0)]
    for publishers, expected in ((("2",), ("39",)), [500, 700]), ((("2", "39"), ()), [0, 0]):
        venues = tuple(VenueRule(name, publishers=of) for name, of in zip(("XNAS", "ARCX"), publishers, strict=True))
        batch = (
            CODECS.get("databento-mbp10-csv")(Limits(venues=venues)).decode_columns(values, range(2), [T0] * 2).batch
        )
        assert batch.instrument.tolist() == expected


def read_in_batches(sent: list[bytes], sizes: tuple[int, ...]) -> tuple[list[list[float]], list[tuple[int, str, str]]]:
    """Return the bids after each order and what is refused, the same whatever the size of the batches."""
    read = []
    for size in sizes:
        state: dict[str, bytes] = {}
        rows, refused = [], []
        for at in range(0, len(sent), size):
            books = LiveBooks("dbn", Limits(), state)
            part = sent[at : at + size]
            decoded = books.decode_columns(
                part, range(at, at + len(part)), [T0] * len(part), [b"FROG"] * len(part), None
            )
            keep(state, books.advance(at + len(part)))
            rows += [decoded.batch.bid_px[i, : decoded.batch.n_bid[i]].tolist() for i in range(len(decoded.batch))]
            refused += [(one.offset, one.reason, one.symbol) for one in decoded.refused]
        read.append((rows, refused))
    assert all(one == read[0] for one in read)
    return read[0]


def test_scanned_and_reference_lines_have_no_instrument_where_a_venue_has_several_publishers() -> None:
    header, line = databento.MBP10_HEADER.split(","), csv((2, 500), T0, 31.0).split(b",")
    of = [at for at, name in enumerate(header) if name != "publisher_id"]
    limits = Limits(venues=(VenueRule(name="XNAS", publishers=("2", "39")),))
    made: Any = CODECS.get("databento-mbp10-csv")
    codec = made(limits, ",".join(header[at] for at in of))
    for twin in (codec, codec.reference()):
        batch = twin.decode_columns([b",".join(line[at] for at in of)], [0], [T0]).batch
        assert batch.instrument.tolist() == [0]


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
    rows, refused = read_in_batches(sent, (1, 3, 7))
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


def test_orders_of_another_instrument_change_no_book_until_the_next_day() -> None:
    frog, other = "FROG", "ARL"
    day = DAY - T0 % DAY
    sent = [
        mbo("R"),
        mbo("A", "B", 3_100, 5, 1),
        mbo("R", symbol=other, at=1),
        mbo("A", "B", 9_100, 5, 1, symbol=other, at=1),
        mbo("A", "B", 3_101, 5, 3, at=2),
        mbo("A", "B", 9_100, 5, 1, symbol=other, at=day),  # not without a clear
        mbo("R", symbol=other, at=day + 1),
        mbo("A", "B", 9_200, 5, 1, symbol=other, at=day + 2),
        mbo("A", "B", 3_102, 5, 4, at=day + 3),
    ]
    rows, refused = read_in_batches(sent, (1, 2, 9))
    assert refused == [(at, "instrument", frog) for at in (2, 3, 5, 8)]
    assert rows == [[], [31.0], [31.01, 31.0], [], [92.0]]


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


def test_alert_names_both_instruments_and_then_the_one_that_took_over() -> None:
    harness = EngineHarness()
    begin = T0 // (60 * S) * 60 * S
    sent = [(500 + k % 2, k * 5) for k in range(12)] + [(501, at) for at in (60, 65, 120, 130, 190)]
    harness.run([Row(begin + s * S, ((99.0, 1.0),), ((101.0, 1.0),), instrument=of) for of, s in sent])
    texts = [alert.text for alert in harness.alerts("other_instrument")]
    assert len(texts) == 3
    assert "6 ticks rejected: instruments 500 and 501 have one symbol, and its book is now of 500" in texts[0]
    assert "2 ticks rejected: instruments 500 and 501 have one symbol, and its book is now of 500" in texts[1]
    assert "book is of instrument 501 from now on: instrument 500" in texts[2]


@given(st.text(max_size=30))
def test_numbers_of_publishers_fit_and_short_ones_are_read_back(text: str) -> None:
    number = publisher_number(text)
    assert 0 <= number < 2**63
    if text.isascii() and not text.isdigit() and len(text) <= 7:
        assert (number == NO_PUBLISHER) == (text == "")
        assert not text or publisher_text(number) == text.lstrip("\0")
