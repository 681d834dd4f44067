"""Recorded files: however they are named, compressed, cut or merged."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import importlib
import io
import lzma
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impactd.core.base.topics import Topic
from impactd.core.inputs.ticks import TickBatch
from impactd.shell.files import InputFileError, merge_files, read_events, read_ticks
from impactd.wire.codec import Decoded, Limits
from impactd.wire.decoder import join
from tests.wire.helpers import assert_same_batch, reasons
from tests.wire.ticks.databento.test_codec import HEADER, row

T0 = 1_743_687_000_000_000_000
FROG = "FROG_2025-04-03_mbp10.csv.gz"
ARL = "ARL_2025-07-17_mbp10.csv.gz"


def tick(ts: int, symbol: str = "FROG", **changes: object) -> bytes:
    obj = {"type": "trade", "symbol": symbol, "ts_event": ts, "px": 31.2, "qty": 5} | changes
    return orjson.dumps(obj)


def read(path: Path, **options: object) -> Decoded:
    return join([Decoded(TickBatch.empty()), *read_ticks(path, **options)])  # type: ignore[arg-type]  # options of any type


def merged(*paths: Path, batch_rows: int = 4096) -> Decoded:
    return join([Decoded(TickBatch.empty()), *merge_files(paths, batch_rows=batch_rows)])


def text(*lines: bytes) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._day.csv", b"x")
        archive.writestr("day.csv", data)
    return buffer.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ".bz2": bz2.compress,
    ".zip": zipped,
    ".gz.zip": lambda data: zipped(gzip.compress(data)),
}
with contextlib.suppress(ImportError):
    PACKERS[".zst"] = importlib.import_module("backports.zstd").compress
    # What pzstd begins with: a frame to skip, of four bytes.
    PACKERS[".zstd"] = lambda data: b"\x50\x2a\x4d\x18" + struct.pack("<II", 4, 7) + PACKERS[".zst"](data)
STREAMS = [ending for ending in PACKERS if ending not in {"", ".zip", ".gz.zip"}]


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\n  \n"])
def test_json_lines_file_in_any_wrapping_gives_its_rows(tmp_path: Path, ending: str, end: bytes) -> None:
    path = tmp_path / f"day.jsonl{ending}"
    path.write_bytes(PACKERS[ending](tick(T0) + b"\n\n" + tick(T0 + 1) + end))
    decoded = read(path)
    assert not decoded.refused
    assert decoded.batch.ts_event.tolist() == [T0, T0 + 1]
    assert decoded.batch.offset.tolist() == [1, 3]
    assert decoded.batch.ts_record.tolist() == [T0, T0]


@pytest.mark.parametrize("ending", PACKERS)
def test_compression_is_recognised_by_the_content_for_any_name(tmp_path: Path, ending: str) -> None:
    for name in ("day.jsonl", "day.jsonl.gz", "day.xz", "DAY"):
        path = tmp_path / name
        path.write_bytes(PACKERS[ending](tick(T0) + b"\n"))
        assert read(path).batch.ts_event.tolist() == [T0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    for name, lines in (("a.jsonl", [tick(T0), tick(T0 + 1)]), ("b.csv", [HEADER.encode(), row(), row()])):
        path = tmp_path / name
        path.write_bytes(mark + text(*lines).decode().encode(encoding))
        assert len(read(path).batch) == 2
        assert not read(path).refused


def test_lines_may_end_in_carriage_returns_alone(tmp_path: Path) -> None:
    path = tmp_path / "FROG.csv"
    path.write_bytes(text(HEADER.encode(), row(), row(action="T", size=1)).replace(b"\n", b"\r"))
    decoded = read(path)
    assert (decoded.batch.offset.tolist(), decoded.refused) == ([2, 3, 3], [])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89HDF" + bytes(200), "HDF5.*to_csv"),
        (bytes(257) + b"ustar", "tar archive; unpack"),
        (b"\x04\x22\x4d\x18" + bytes(20), "LZ4.*lz4 -d"),
        (b"\xff\x06\0\0sNaPpY" + bytes(20), "Snappy.*gzip"),
        (b"Obj\x01" + bytes(20), "Avro.*JSON lines"),
        (b"ORC" + bytes(20), "ORC.*Parquet"),
        (pickle.dumps([1, 2]), "pickle.*read_pickle"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20), "Excel.*CSV"),
        (bytes(100), "binary file"),
    ],
    ids=["hdf5", "tar", "lz4", "snappy", "avro", "orc", "pickle", "xls", "unknown"],
)
def test_binary_file_is_named_with_the_remedy(tmp_path: Path, data: bytes, said: str) -> None:
    for name in ("day.dbn", "day.json"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputFileError, match=said):
            read(tmp_path / name)


@pytest.mark.parametrize("names", [(), ("a.csv", "b.csv")])
def test_zip_archive_of_no_or_several_files_is_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    with pytest.raises(InputFileError, match=f"holds {len(names)} files.*unpack it"):
        read(path)


def test_workbook_is_named_though_it_is_a_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "books.csv"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("[Content_Types].xml", "xl/workbook.xml", "xl/worksheets/sheet1.xml"):
            archive.writestr(name, b"<x/>")
    with pytest.raises(InputFileError, match=r"Excel workbook.*CSV"):
        read(path)


@pytest.mark.parametrize("ending", PACKERS)
def test_databento_file_is_recognised_by_its_header(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"day.csv{ending}"
    path.write_bytes(PACKERS[ending](text(HEADER.encode(), row(), row(action="T", size=1))))
    decoded = read(path)
    assert decoded.batch.symbols == ("FROG",)
    assert decoded.batch.offset.tolist() == [2, 3, 3]


def test_long_csv_file_is_recognised_by_its_header_and_symbol_by_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "ETHUSDT_2024.csv"
    lines = [b"time,side,price,size,level"]
    for ts in (T0, T0 + 1):
        lines += [b"%d,bid,31.2,300,0" % ts, b"%d,ask,31.3,200,0" % ts]
    path.write_bytes(text(*lines))
    for size in (1, 2, 4096):
        decoded = read(path, batch_rows=size)
        assert decoded.batch.symbols == ("ETHUSDT",)
        assert decoded.batch.offset.tolist() == [2, 4]
        assert not decoded.refused
    assert read(path, symbol="ETH").batch.symbols == ("ETH",)


@pytest.mark.parametrize("name", ["e.jsonl", "e.csv", "e.csv.gz", "e.jsonl.xz"])
def test_empty_file_gives_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    assert list(read_ticks(path)) == []
    assert list(merge_files([path])) == []


def test_file_with_a_header_only_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(HEADER.encode() + b"\n")
    assert list(read_ticks(path)) == []


def test_json_file_that_ends_in_the_middle_of_a_line_refuses_that_line(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_bytes(text(tick(T0)) + tick(T0 + 1)[:-5])
    decoded = read(path)
    assert decoded.batch.ts_event.tolist() == [T0]
    assert [(r.reason, r.offset, r.raw) for r in decoded.refused] == [("truncated", 2, tick(T0 + 1)[:-5])]
    assert decoded.refused[0].ts_record == T0


@pytest.mark.parametrize("n_bytes", [2, 4, 5, 60])
def test_csv_file_that_ends_in_the_middle_of_a_line_refuses_that_line(tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes(text(HEADER.encode(), row()) + row()[:-n_bytes])
    decoded = read(path)
    assert len(decoded.batch) == 1
    assert reasons(decoded) == ["truncated"]


def test_csv_file_needs_no_last_line_end(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes(text(HEADER.encode(), row(symbol="F"), row()) + row(symbol="F"))
    decoded = read(path)
    assert not decoded.refused
    assert [decoded.batch.symbols[code] for code in decoded.batch.symbol] == ["F", "FROG", "F"]


def test_long_csv_that_ends_in_the_middle_refuses_the_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "A.csv"
    path.write_bytes(
        text(b"time,side,price,size,level", b"%d,bid,1,5,0" % T0, b"%d,bid,2,5,0" % (T0 + 1)) + b"%d,a" % (T0 + 1)
    )
    decoded = read(path)
    assert decoded.batch.ts_event.tolist() == [T0]
    assert reasons(decoded) == ["truncated"]


@pytest.mark.parametrize("ending", STREAMS)
def test_compressed_file_cut_in_the_middle_keeps_what_precedes_the_cut(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"day.jsonl{ending}"
    rng = np.random.default_rng(1)
    lines = [tick(T0 + i, px=float(rng.random())) for i in range(60_000)]
    data = PACKERS[ending](text(*lines))
    path.write_bytes(data[: len(data) * 2 // 3])
    decoded = read(path)
    assert 1_000 < len(decoded.batch) < 60_000
    assert decoded.batch.ts_event.tolist() == [T0 + i for i in range(len(decoded.batch))]
    assert reasons(decoded) == ["truncated"]
    assert "compressed stream ends early" in decoded.refused[0].detail


@pytest.mark.parametrize("ending", STREAMS)
@pytest.mark.parametrize("name", ["day.jsonl", "day.csv"])
def test_compressed_file_of_which_nothing_is_left_is_one_record_that_is_refused(
    tmp_path: Path, ending: str, name: str
) -> None:
    path = tmp_path / f"{name}{ending}"
    path.write_bytes(PACKERS[ending](text(HEADER.encode(), row()))[:30])
    decoded = read(path)
    assert (len(decoded.batch), reasons(decoded)) == (0, ["truncated"])
    assert "compressed stream ends early" in decoded.refused[0].detail


@pytest.mark.parametrize("ending", STREAMS)
def test_compressed_file_that_is_damaged_reports_it(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"day.jsonl{ending}"
    data = bytearray(PACKERS[ending](text(*(tick(T0 + i) for i in range(5_000)))))
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(bytes(data))
    assert "corrupt" in reasons(read(path)) or "truncated" in reasons(read(path))


def test_line_over_the_limit_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_bytes(text(tick(T0), b"x" * 5_000_000, tick(T0 + 1)))
    decoded = read(path, limits=Limits(max_message_bytes=1000))
    assert decoded.batch.ts_event.tolist() == [T0, T0 + 1]
    assert [(r.reason, r.offset, len(r.raw)) for r in decoded.refused] == [("too_large", 2, 1000)]


def test_files_that_cannot_be_used_are_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"absent\.jsonl: No such file"):
        read(tmp_path / "absent.jsonl")
    with pytest.raises(InputFileError, match="is a directory"):
        read(tmp_path)
    odd = tmp_path / "odd.csv"
    odd.write_bytes(b"a,b,c\n1,2,3\n")
    with pytest.raises(InputFileError, match="name the codec: "):
        read(odd)
    with pytest.raises(InputFileError, match="no column ts_event"):
        read(odd, codec="databento-mbp10-csv")
    with pytest.raises(InputFileError, match="codec 'avro' does not exist"):
        read(odd, codec="avro")


def test_file_with_an_unknown_name_is_recognised_by_its_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "ticks.log"
    path.write_bytes(text(tick(T0)))
    assert len(read(path).batch) == 1


def test_events_file_gives_events_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    cancel = orjson.dumps({"type": "cancel", "cl_ord_id": "A1", "symbol": "FROG", "ts_event": T0 + 1})
    path.write_bytes(text(b"{}", cancel, b'{"type":"x"}') + cancel[:-4])
    decoded = read_events(path, Topic.ORDERS)
    assert [(e.offset, e.ts_record) for e in decoded.events] == [(2, T0)]
    assert [(r.offset, r.reason, r.ts_record) for r in decoded.refused] == [
        (1, "missing_field", 0),
        (3, "unknown_type", T0),
        (4, "truncated", T0),
    ]
    path.write_bytes(b"")
    assert read_events(path, Topic.ORDERS).events == []


@pytest.mark.parametrize("indent", [None, orjson.OPT_INDENT_2])
def test_events_file_may_be_an_array(tmp_path: Path, indent: int | None) -> None:
    cancel = {"type": "cancel", "cl_ord_id": "A1", "symbol": "FROG", "ts_event": T0 + 1}
    path = tmp_path / "orders.json"
    data = orjson.dumps([cancel, cancel | {"cl_ord_id": "A2"}], option=indent)
    path.write_bytes(data)
    assert [event.event.cl_ord_id for event in read_events(path, Topic.ORDERS).events] == ["A1", "A2"]
    path.write_bytes(data[:-9])
    decoded = read_events(path, Topic.ORDERS)
    assert [event.event.cl_ord_id for event in decoded.events] == ["A1"]
    assert [letter.reason for letter in decoded.refused] == ["truncated"]


def test_merge_orders_by_time_then_file_then_place(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    # In a the clock runs back once: T0 + 1 keeps its place behind T0 + 5.
    a.write_bytes(text(tick(T0, "A"), tick(T0 + 5, "A"), tick(T0 + 1, "A"), tick(T0 + 9, "A")))
    b.write_bytes(text(tick(T0, "B"), b"{", tick(T0 + 3, "B"), tick(T0 + 5, "B")))
    decoded = merged(a, b)
    batch = decoded.batch
    rows = [(batch.symbols[s], int(t) - T0) for s, t in zip(batch.symbol, batch.ts_event, strict=True)]
    assert rows == [("A", 0), ("B", 0), ("B", 3), ("A", 5), ("A", 1), ("B", 5), ("A", 9)]
    assert batch.offset.tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert [(r.offset, r.detail[:10]) for r in decoded.refused] == [(2, "b.jsonl:2:")]


def test_merge_keeps_a_records_rows_together_and_counts_skipped_records(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    a.write_bytes(text(b"[%b,%b]" % (tick(T0, "A"), tick(T0 + 5, "A")), b'{"type":"x"}'))
    b.write_bytes(text(tick(T0 + 3, "B"), tick(T0 + 6, "B")))
    decoded = merged(a, b)
    assert decoded.batch.ts_event.tolist() == [T0, T0 + 5, T0 + 3, T0 + 6]
    assert decoded.batch.offset.tolist() == [0, 0, 1, 3]
    assert decoded.skipped_unknown == 1


lines = st.lists(
    st.one_of(st.integers(0, 20), st.lists(st.integers(0, 20), max_size=3), st.sampled_from([b"{", b'{"type":"x"}'])),
    max_size=12,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, min_size=1, max_size=3))
def test_merge_does_not_depend_on_how_much_is_read_at_a_time(tmp_path: Path, files: list[list[object]]) -> None:
    paths = []
    for i, content in enumerate(files):
        path = tmp_path / f"{i}.jsonl"
        ticks = []
        for line in content:
            if isinstance(line, bytes):
                ticks.append(line)
            elif isinstance(line, int):
                ticks.append(tick(T0 + line, f"S{i}"))
            else:
                ticks.append(b"[%b]" % b",".join(tick(T0 + ts, f"S{i}") for ts in line))
        path.write_bytes(text(*ticks))
        paths.append(path)
    whole = merged(*paths)
    for size in (1, 2, 5):
        parts = merged(*paths, batch_rows=size)
        assert_same_batch(parts.batch, whole.batch)
        assert parts.refused == whole.refused
        assert parts.skipped_unknown == whole.skipped_unknown
    # One file's rows keep their order, and every record has a number of its own.
    per_file = [whole.batch.take(whole.batch.symbol == s) for s in range(len(whole.batch.symbols))]
    assert all((np.diff(batch.offset) >= 0).all() for batch in per_file)
    n_records = sum(len(content) for content in files)
    seen = {*whole.batch.offset.tolist(), *(r.offset for r in whole.refused)}
    assert seen <= set(range(n_records))


@pytest.mark.data
def test_recorded_days_merge_whatever_is_read_at_a_time(data_dir: Path) -> None:
    paths = [data_dir / FROG, data_dir / ARL]
    whole = merged(*paths)
    assert len(whole.batch) == 33_286 + 3_817 + 3_928 + 46
    assert whole.batch.offset[-1] == 33_286 + 3_928 - 1
    assert not whole.refused
    assert_same_batch(merged(*paths, batch_rows=1000).batch, whole.batch)


# --- venues ------------------------------------------------------------------------------


def of_databento(publisher: int, symbol: str) -> list[str]:
    levels = "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00"
    head = f"ts_event,publisher_id,instrument_id,action,side,price,size,flags,{levels},symbol"
    return [head, *(f"{T0 + i},{publisher},7,A,B,31.0,1,128,31.0,31.1,5,5,{symbol}" for i in range(3))]


def of_tardis(exchange: int, symbol: str) -> list[str]:
    head = "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount"
    return [head, *(f"{exchange},{symbol},{T0 // 1_000 + i},{T0 // 1_000 + i},31.1,5,31.0,5" for i in range(3))]


def of_long(venue: int, symbol: str) -> list[str]:
    lines = [
        f"{T0 + i},{venue},{symbol},{side},{px},5" for i in range(3) for side, px in (("bid", 31.0), ("ask", 31.1))
    ]
    return ["time,venue,symbol,side,price,size", *lines]


@pytest.mark.parametrize("make", [of_databento, of_tardis, of_long])
def test_files_of_two_venues_are_no_one_book(make: Callable[[int, str], list[str]], tmp_path: Path) -> None:
    def merged(*files: tuple[int, str]) -> list[str]:
        paths = [tmp_path / f"{k}.csv" for k in range(len(files))]
        for path, (venue, symbol) in zip(paths, files, strict=True):
            path.write_text("\n".join(make(venue, symbol)) + "\n", encoding="utf-8")
        batches = [decoded.batch for decoded in merge_files(paths)]
        return sorted({batch.symbols[code] for batch in batches for code in batch.symbol})

    assert merged((2, "X"), (2, "X"), (39, "Y")) == ["X", "Y"]
    with pytest.raises(InputFileError, match=r"1\.csv: 'X' is of \w+ 39, and of \w+ 2 in .*0\.csv.*one at a time"):
        merged((2, "X"), (39, "X"))
