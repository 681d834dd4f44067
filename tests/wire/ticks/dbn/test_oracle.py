"""DBN against Databento's own library: files that it makes, in every schema and version that is read."""

from __future__ import annotations

import datetime as dt
import io
import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE
from impactd.shell.recorded import read_ticks
from impactd.wire.codec import Decoded
from impactd.wire.content import Content
from impactd.wire.decoder import join
from impactd.wire.registry import detect
from impactd.wire.tick_codec import FileOptions
from tests.wire.helpers import T0

dbn = pytest.importorskip("databento_dbn")

#: Schema: record class, layout, levels.
SCHEMAS: Final = {
    "mbp-1": ("MBP1Msg", "after", 1),
    "mbp-10": ("MBP10Msg", "after", 10),
    "tbbo": ("MBP1Msg", "before", 1),
    "trades": ("TradeMsg", "alone", 0),
    "bbo-1s": ("BBOMsg", "sample", 1),
    "bbo-1m": ("BBOMsg", "sample", 1),
    "cmbp-1": ("CMBP1Msg", "after", 1),
    "cbbo-1s": ("CBBOMsg", "sample", 1),
    "cbbo-1m": ("CBBOMsg", "sample", 1),
    "tcbbo": ("CMBP1Msg", "before", 1),
}
RTYPES: Final = {"bbo-1s": 195, "bbo-1m": 196, "cmbp-1": 177, "cbbo-1s": 192, "cbbo-1m": 193, "tcbbo": 194}
#: Version 1 does not have them.
CONSOLIDATED: Final = ("cmbp-1", "cbbo-1s", "cbbo-1m", "tcbbo")
IDS: Final = {6292: "FROG", 1108: "ARL"}


@dataclass
class _Interval:
    start_date: dt.date
    end_date: dt.date
    symbol: str


@dataclass
class _Mapping:
    raw_symbol: str
    intervals: list[_Interval]


def make(schema: str, version: int, n: int = 200) -> bytes:
    """Return a file of random records, extremes among them."""
    rng = random.Random(f"{schema} {version}")
    days = (dt.date(2025, 4, 1), dt.date(2025, 5, 1))
    metadata = dbn.Metadata(
        dataset="XNAS.ITCH",
        start=T0,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.from_str(schema),
        symbols=list(IDS.values()),
        mappings=[_Mapping(name, [_Interval(*days, str(number))]) for number, name in IDS.items()],
        version=version,
    )
    return bytes(metadata) + b"".join(bytes(_record(rng, schema, T0 + i * 1_000_003)) for i in range(n))


def _record(rng: random.Random, schema: str, ts: int) -> Any:
    kind, layout, n_levels = SCHEMAS[schema]
    consolidated = kind in ("CMBP1Msg", "CBBOMsg")
    pair = dbn.ConsolidatedBidAskPair if consolidated else dbn.BidAskPair

    def px() -> int:
        return rng.choice((rng.randrange(10**12), rng.randrange(-(10**9), 10**17), 31_200_000_000))

    def level() -> Any:
        bid, ask = (dbn.UNDEF_PRICE if rng.random() < 0.1 else px() for _ in range(2))
        sizes = (rng.choice((0, 100, 2**32 - 1, rng.randrange(2**32))) for _ in range(2))
        return pair(bid, ask, *sizes)

    is_trade = layout in ("before", "alone") or rng.random() < 0.3
    fields: dict[str, Any] = {
        "publisher_id": 2,
        "instrument_id": rng.choice(list(IDS)),
        "ts_event": ts,
        "price": px(),
        "size": rng.randrange(2**32 - 1),
        "side": dbn.Side(rng.choice("ABN")),
        "ts_recv": ts + rng.randrange(10**6),
        "flags": rng.choice((0, 128, 130, 8, 255)),
    }
    if layout != "sample":
        fields["action"] = dbn.Action("T" if is_trade else rng.choice("ACMRFN"))
    if kind in ("MBP1Msg", "MBP10Msg", "TradeMsg"):
        fields["depth"] = 0
    if schema in RTYPES:
        fields["rtype"] = RTYPES[schema]
    if n_levels:
        levels = [level() for _ in range(n_levels)]
        fields["levels"] = levels if n_levels > 1 else levels[0]
    return getattr(dbn, kind)(**fields)


def ours(data: bytes, pieces: int = 1 << 16) -> Decoded:
    content = Content("day.dbn", iter([data[i : i + pieces] for i in range(0, len(data), pieces)]))
    codec = detect(content.head)
    assert codec is not None
    return join([b.decoded for b in codec.from_header(content.head, FileOptions()).batches(content, 64)])


def theirs(data: bytes, layout: str) -> list[tuple[Any, ...]]:
    """Return the rows that the library's records stand for: (kind, flags, symbol, ts, bids, asks, px, qty, side)."""
    decoder = dbn.DBNDecoder()
    decoder.write(data)
    rows: list[tuple[Any, ...]] = []
    for record in decoder.decode():
        if isinstance(record, dbn.Metadata):
            continue
        name = IDS[record.instrument_id]
        action = "" if layout == "sample" else str(record.action)
        levels = [] if layout == "alone" else record.levels
        sides: list[list[tuple[float, float]]] = [[], []]
        for level in [] if action == "R" else levels:
            for side, raw, sz in ((0, level.bid_px, level.bid_sz), (1, level.ask_px, level.ask_sz)):
                if raw != dbn.UNDEF_PRICE or sz:
                    sides[side].append((float(raw) if raw == dbn.UNDEF_PRICE else raw / 10**9, float(sz)))
        mid = layout == "after" and not int(record.flags) & 128 and action != "R"
        ts = record.ts_recv if layout == "sample" else record.ts_event
        made = [] if layout == "alone" else [(BOOK, MID_EVENT * mid, name, ts, *sides, None, None, 0)]
        if action == "T":
            depth = sum(sz for side in sides for _, sz in side)
            sign = {"B": 1, "A": -1, "N": 0}[str(record.side)]
            auction = mid and sign == 0 and record.size > depth
            trade = (TRADE, AUCTION * auction, name, ts, [], [], record.price / 10**9, float(record.size), sign)
            made.insert(1 if layout == "before" else 0, trade)
        rows += made
    return rows


def rows_of(decoded: Decoded) -> list[tuple[Any, ...]]:
    batch = decoded.batch
    return [
        (
            int(batch.kind[i]),
            int(batch.flags[i]),
            batch.symbols[batch.symbol[i]],
            int(batch.ts_event[i]),
            *(
                list(zip(px[i, : n[i]].tolist(), sz[i, : n[i]].tolist(), strict=True))
                for px, sz, n in (
                    (batch.bid_px, batch.bid_sz, batch.n_bid),
                    (batch.ask_px, batch.ask_sz, batch.n_ask),
                )
            ),
            None if np.isnan(batch.px[i]) else float(batch.px[i]),
            None if np.isnan(batch.qty[i]) else float(batch.qty[i]),
            int(batch.aggressor[i]),
        )
        for i in range(len(batch))
    ]


@pytest.mark.parametrize(
    ("schema", "version"),
    [(schema, v) for schema in SCHEMAS for v in (1, 2, 3) if v > 1 or schema not in CONSOLIDATED],
)
def test_rows_are_those_of_the_library(schema: str, version: int) -> None:
    data = make(schema, version)
    decoded = ours(data)
    assert not decoded.refused
    assert rows_of(decoded) == theirs(data, SCHEMAS[schema][1])


def test_compressed_file_is_recognised_and_read(tmp_path: Path) -> None:
    zstd = pytest.importorskip("backports.zstd")
    data = make("mbp-10", 3)
    path = tmp_path / "xnas-itch-20250403.mbp-10.dbn.zst"
    path.write_bytes(zstd.compress(data[:5_000]) + zstd.compress(data[5_000:]))
    assert rows_of(join(list(read_ticks(path)))) == rows_of(ours(data))


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("encoding", ["CSV", "JSON"])
@pytest.mark.parametrize("pretty", [(True, True), (False, False), (True, False), (False, True)])
def test_text_of_the_library_gives_the_same_rows(schema: str, encoding: str, pretty: tuple[bool, bool]) -> None:
    data = make(schema, 3)
    out = io.BytesIO()
    transcoder = dbn.Transcoder(
        out,
        dbn.Encoding.from_str(encoding.lower()),
        dbn.Compression.NONE,
        pretty_px=pretty[0],
        pretty_ts=pretty[1],
        map_symbols=True,
    )
    transcoder.write(data)
    transcoder.flush()
    content = Content("day.txt", iter([out.getvalue()]))
    codec = detect(content.head)
    assert codec is not None
    assert codec.name.startswith("databento")
    found = join([b.decoded for b in codec.from_header(content.head, FileOptions()).batches(content, 50)])
    assert not found.refused
    pairs = zip(rows_of(found), rows_of(ours(data)), strict=True)
    assert all(left == right for left, right in pairs)


def test_rows_are_in_the_order_of_the_file() -> None:
    batch = ours(make("mbp-10", 3)).batch
    assert all(a <= b for a, b in pairwise(batch.ts_event.tolist()))
