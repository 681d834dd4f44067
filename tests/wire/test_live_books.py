"""Books built live: the rows of the file, whatever the batches, commits and restarts; and one saved form."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.inputs.ticks import TickBatch
from impactd.wire.codec import Decoded, Limits
from impactd.wire.content import Content
from impactd.wire.decoder import join
from impactd.wire.live_books import CHANGES, LiveBooks
from impactd.wire.registry import CODECS
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileOptions
from tests.wire.helpers import T0, keep, reasons
from tests.wire.ticks.dbn.samples import head as dbn_head
from tests.wire.ticks.dbn.test_orders import mbo

LIMITS = Limits(max_levels=5)
MS = 1_000_000


class Sent(NamedTuple):
    key: bytes | None
    value: bytes


def binance(rng: random.Random, n: int) -> list[Sent]:
    """Return two symbols: changes before a snapshot, in its reach, behind it; snapshots name no symbol."""
    sent, number = [], {"BTCUSDT": 10, "ETHUSDT": 500}
    for at in range(n):
        symbol = rng.choice(list(number))
        levels = [[str(rng.randrange(90, 110) / 2), str(rng.choice([0, 1, 2.5]))] for _ in range(rng.randrange(4))]
        if at in (2, 5) or rng.random() < 0.05:
            last = number[symbol] - rng.randrange(2)
            message: dict[str, Any] = {
                "lastUpdateId": last,
                "bids": [["44.5", "1"], ["44", "3"]],
                "asks": [["56", "2"]],
            }
        elif rng.random() < 0.1:
            message = {"e": "trade", "E": 1, "s": symbol, "T": 1, "p": "50", "q": "2", "m": True}
        else:
            first = number[symbol] + 1 + 3 * (rng.random() < 0.03)
            number[symbol] = last = first + rng.randrange(3)
            message = {"e": "depthUpdate", "E": 1, "s": symbol, "U": first, "u": last, "b": levels, "a": []}
        sent.append(Sent(symbol.encode(), b"%d %s" % (T0 + at * MS, orjson.dumps(message))))
    return sent


def coinbase(rng: random.Random, n: int) -> list[Sent]:
    """Return changes without numbers."""
    sent = []
    for at in range(n):
        product, time = rng.choice(["BTC-USD", "ETH-USD"]), "2025-04-03T13:30:00.1Z"
        message: dict[str, Any] = {"product_id": product, "time": time}
        if at < 2 or rng.random() < 0.08:
            message |= {"type": "snapshot", "bids": [["44.5", "1"], ["44", "3"]], "asks": [["56", "2"]]}
        else:
            side = rng.choice(["buy", "sell"])
            change = [side, str(rng.randrange(90, 110) / 2), str(rng.choice([0, 1, 2.5]))]
            message |= {"type": "l2update", "changes": [change]}
        sent.append(Sent(product.encode(), b"%d %s" % (T0 + at * MS, orjson.dumps(message))))
    return sent


def tardis(rng: random.Random, n: int) -> list[Sent]:
    sent = []
    for at in range(n):
        begins = at < 2 or rng.random() < 0.08
        rows = (
            [("bid", 44.5, 1), ("ask", 56, 2)] if begins else [("bid", rng.randrange(80, 100) / 2, rng.choice([0, 2]))]
        )
        us = (T0 + at * MS) // 1_000
        lines = [f"binance,BTCUSDT,{us},{us},{str(begins).lower()},{side},{px},{sz}" for side, px, sz in rows]
        sent.append(Sent(b"BTCUSDT", "\n".join(lines).encode()))
    return sent


def orders(rng: random.Random, n: int) -> list[Sent]:
    """Return single orders, one or several a record, whose events span records."""
    sent: list[Sent] = []
    live: dict[str, list[int]] = {"FROG": [], "ARL": []}
    number = 0
    for at in range(n):
        symbol = rng.choice(list(live))
        records = []
        for _ in range(rng.randrange(1, 4)):
            number += 1
            flags = rng.choice([0, 128])
            if at < 2 or rng.random() < 0.05:
                records.append(mbo("R", flags=flags, at=number, symbol=symbol))
                live[symbol] = []
            elif live[symbol] and rng.random() < 0.4:
                gone = 7 if rng.random() < 0.05 else live[symbol].pop()
                records.append(mbo("C", "B", 3_100, 5, gone, flags=flags, at=number, symbol=symbol))
            elif rng.random() < 0.1:
                records.append(mbo("T", "B", 3_100, 5, 0, flags=flags, at=number, symbol=symbol))
            else:
                live[symbol].append(number)
                side = rng.choice("BA")
                px = rng.randrange(3_000, 3_010) if side == "B" else rng.randrange(3_010, 3_020)
                records.append(mbo("A", side, px, 5, number, flags=flags, at=number, symbol=symbol))
        sent.append(Sent(symbol.encode(), b"".join(records)))
    return sent


def as_json(sent: Sequence[Sent]) -> list[Sent]:
    """Return the same orders as Databento's JSON, a line each."""
    found = []
    for key, value in sent:
        for at in range(0, len(value), 56):
            one = value[at : at + 56]
            words = np.frombuffer(one, "<i8")
            what = int(words[4])
            px = int(words[3])
            record = {
                "hd": {"ts_event": str(words[1]), "rtype": 160, "publisher_id": 2, "instrument_id": 1},
                "ts_recv": str(words[5]),
                "action": chr(one[38]),
                "side": chr(one[39]),
                "price": None if px == 2**63 - 1 else f"{px / 1e9:.9f}",
                "size": what & 0xFFFFFFFF,
                "order_id": str(words[2]),
                "flags": one[36],
            }
            found.append(Sent(key, orjson.dumps(record)))
    return found


FEEDS: dict[str, tuple[str, Callable[[random.Random, int], list[Sent]]]] = {
    "binance": ("capture-json", binance),
    "coinbase": ("capture-json", coinbase),
    "tardis": ("tardis-incremental-csv", tardis),
    "mbo": ("dbn", orders),
    "mbo-json": ("databento-mbo-json", lambda rng, n: as_json(orders(rng, n))),
}


def run(
    codec: str, sent: Sequence[Sent], fetches: Sequence[int], commits: Sequence[int], restarts: Sequence[int]
) -> tuple[TickBatch, dict[int, dict[str, bytes]]]:
    """Read `sent` as the service does; return the rows that commits took in, and the state as of each commit.

    Fetches end at `fetches`, commits at `commits`; after those at `restarts` the process begins again.
    """
    state: dict[str, bytes] = {}
    books, held = LiveBooks(codec, LIMITS, state), [Decoded(TickBatch.empty())]
    taken, states, fetched, done = [], {}, 0, 0
    for to in sorted({*commits, len(sent)}):
        while fetched < to:
            end = min(end for end in (*fetches, len(sent)) if end > fetched)
            held.append(decode(books, sent[fetched:end], fetched))
            fetched = end
        whole = join(held).batch
        taken.append(whole.take((whole.offset >= done) & (whole.offset < to)))
        keep(state, books.advance(to))
        states[to] = dict(state)
        done = to
        if to in restarts:
            books, held, fetched = LiveBooks(codec, LIMITS, state), [Decoded(TickBatch.empty())], to
    return TickBatch.concat(taken), states


def decode(books: LiveBooks, sent: Sequence[Sent], first: int = 0) -> Decoded:
    n = len(sent)
    return books.decode_columns(
        [one.value for one in sent], range(first, first + n), [T0] * n, [one.key for one in sent], None
    )


def contents(batch: TickBatch) -> list[Any]:
    return [
        (
            int(batch.offset[i]),
            batch.symbols[batch.symbol[i]],
            int(batch.kind[i]),
            int(batch.ts_event[i]),
            batch.bid_px[i, : batch.n_bid[i]].tolist(),
            batch.bid_sz[i, : batch.n_bid[i]].tolist(),
            batch.ask_px[i, : batch.n_ask[i]].tolist(),
            batch.ask_sz[i, : batch.n_ask[i]].tolist(),
            str(batch.px[i]),
            str(batch.qty[i]),
        )
        for i in range(len(batch))
    ]


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(sorted(FEEDS)), st.integers(0, 2**32))
def test_batches_commits_and_restarts_change_no_row_and_no_state(data: st.DataObject, feed: str, seed: int) -> None:
    codec, make = FEEDS[feed]
    rng = random.Random(seed)
    sent = make(rng, 60)
    for _ in range(data.draw(st.integers(0, 3))):
        at = rng.randrange(len(sent))
        sent[at] = rng.choice([
            Sent(sent[at].key, sent[at].value[: rng.randrange(len(sent[at].value))]),
            Sent(None, b"{"),
            sent[rng.randrange(len(sent))],
        ])  # fmt: skip
    cuts = st.lists(st.integers(1, len(sent)), max_size=8)
    fetches, commits, restarts = data.draw(cuts), data.draw(cuts), data.draw(cuts)
    once, states = run(codec, sent, [], commits, [])
    rows, again = run(codec, sent, fetches, commits, restarts)
    assert contents(rows) == contents(once)
    assert again == states


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("seed", range(8))
def test_live_gives_the_rows_of_the_file(feed: str, seed: int) -> None:
    codec, make = FEEDS[feed]
    sent = make(random.Random(seed), 100)
    if feed == "binance":
        # A snapshot names no symbol: a file has one.
        sent = [one for one in sent if one.key == b"BTCUSDT"]
    if feed == "mbo":
        # A message that is refused loses its prints, of which a file has each on its own.
        sent = [Sent(key, value[at : at + 56]) for key, value in sent for at in range(0, len(value), 56)]
    live, _ = run(codec, sent, [7, 30], [11, 20, 25], [20])
    separator = b"" if codec == "dbn" else b"\n"
    first = dbn_head(schema=0) if codec == "dbn" else b""
    if codec == "tardis-incremental-csv":
        first = b"exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"
    if codec == "databento-mbo-json":
        sent = [
            Sent(one.key, orjson.dumps(orjson.loads(one.value) | {"symbol": (one.key or b"").decode()})) for one in sent
        ]
    data = first + separator.join(one.value for one in sent) + separator
    content = Content("day", iter([data]))
    file = CODECS.get(codec).from_header(
        content.head, FileOptions(FileSymbols("BTCUSDT" if feed == "binance" else None), LIMITS)
    )
    found = join([batch.decoded for batch in file.batches(content, 13)])
    assert [row[1:] for row in contents(live)] == [row[1:] for row in contents(found.batch)]
    assert len(live)


@pytest.mark.parametrize("feed", FEEDS)
def test_a_gap_names_the_symbol_whose_book_ends(feed: str) -> None:
    codec, make = FEEDS[feed]
    sent = [one for at, one in enumerate(make(random.Random(5), 300)) if at >= 6 and at % 11]
    found = decode(LiveBooks(codec, LIMITS), sent)
    gaps = [(item.symbol or "", item.key) for item in found.refused if item.reason == "gap"]
    assert gaps
    assert all(symbol.encode() == key for symbol, key in gaps)


def test_a_gap_ends_the_book_and_the_next_snapshot_begins_it() -> None:
    def change(first: int) -> Sent:
        message = {"e": "depthUpdate", "E": 1, "s": "X", "U": first, "u": first, "b": [["9", "4"]], "a": []}
        return Sent(b"X", b"%d %s" % (T0 + first, orjson.dumps(message)))

    snapshot = {"lastUpdateId": 5, "bids": [["10", "1"]], "asks": [["11", "2"]]}
    sent = [Sent(b"X", b"%d %s" % (T0, orjson.dumps(snapshot | {"lastUpdateId": last}))) for last in (5, 20)]
    books = LiveBooks("capture-json", LIMITS)
    values = [sent[0], change(6), change(8), change(9), sent[1], change(21)]
    decoded = books.decode_columns([one.value for one in values], range(6), [T0] * 6, [one.key for one in values], None)
    assert reasons(decoded) == ["gap"]
    assert decoded.refused[0].offset == 2
    assert [(int(offset), int(n)) for offset, n in zip(decoded.batch.offset, decoded.batch.n_bid, strict=True)] == [
        (0, 1), (1, 2), (2, 0), (4, 1), (5, 2),
    ]  # fmt: skip


def test_a_record_that_cannot_be_read_ends_the_book_of_its_key_alone() -> None:
    snapshot = {"type": "snapshot", "time": "2025-04-03T13:30:00Z", "bids": [["10", "1"]], "asks": [["11", "2"]]}
    update = {"type": "l2update", "time": "2025-04-03T13:30:01Z", "changes": [["buy", "9", "1"]]}

    def of(product: str, message: dict[str, Any]) -> Sent:
        return Sent(product.encode(), orjson.dumps({"product_id": product} | message))

    sent = [of("A", snapshot), of("B", snapshot), Sent(b"A", b"{"), of("A", update), of("B", update)]
    books = LiveBooks("capture-json", LIMITS)
    found = decode(books, sent)
    assert [(item.offset, item.reason) for item in found.refused] == [(2, "truncated"), (3, "gap")]
    assert [row[:2] for row in contents(found.batch)][-1] == (4, "B")
    sent[2] = Sent(None, b"{")
    books = LiveBooks("capture-json", LIMITS)
    found = decode(books, sent)
    assert [item.offset for item in found.refused] == [2, 3, 4]


@pytest.mark.parametrize("feed", ["coinbase", "mbo"])
def test_records_that_are_gone_end_books_without_numbers(feed: str) -> None:
    codec, make = FEEDS[feed]
    sent = make(random.Random(3), 30)
    state: dict[str, bytes] = {}
    books = LiveBooks(codec, LIMITS, state)
    decode(books, sent)
    books.advance(30)
    books.skip(40)
    last = [one for one in sent if b"snapshot" not in one.value][-1]
    found = decode(books, [last], 40)
    assert reasons(found) == ["gap"]
    changed = {key: value for key, value in books.advance(41).items() if value is not None}
    assert changed
    assert all(key.startswith(CHANGES) for key in changed)


def test_state_is_rewritten_once_its_changes_are_larger_than_its_books() -> None:
    sent = [replace_time(one, at) for at, one in enumerate(coinbase(random.Random(1), 4_000))]
    written, sizes, state = 0, [], dict[str, bytes]()
    books = LiveBooks("capture-json", LIMITS, state)
    for start in range(0, len(sent), 50):
        part = sent[start : start + 50]
        decode(books, part, start)
        changes = books.advance(start + len(part))
        keep(state, changes)
        written += sum(len(value) for value in changes.values() if value is not None)
        sizes.append(sum(map(len, state.values())))
    volume = sum(len(one.value) for one in sent)
    assert max(sizes) < 450_000
    assert written < 3 * volume
    assert any(not key.startswith(CHANGES) for key in state)


def replace_time(sent: Sent, at: int) -> Sent:
    return sent._replace(value=b"%d %s" % (T0 + at, sent.value.split(b" ", 1)[1]))


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_are_answered_the_same_in_any_batches(feed: str, seed: int) -> None:
    codec, make = FEEDS[feed]
    rng = random.Random(seed)
    sent = make(rng, 60)
    for _ in range(12):
        at = rng.randrange(len(sent))
        value = bytearray(sent[at].value)
        for _ in range(rng.randrange(1, 4)):
            value[rng.randrange(len(value))] = rng.randrange(256)
        sent[at] = Sent(rng.choice([sent[at].key, sent[at].key, None, b"OTHER"]), bytes(value))
    once, states = run(codec, sent, [], [20, 40], [])
    rows, again = run(codec, sent, list(range(1, 60, 7)), [20, 40], [20, 40])
    assert contents(rows) == contents(once)
    assert again == states
