"""Damaged files through their codecs: whatever the bytes, each record is answered, alike in every batching.

A file is good records with lines lost, repeated, exchanged or damaged in bytes and numbers. Of codecs that build books
from changes these are streams of changes.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import orjson

from impactd.wire.codec import REASONS, Decoded, Limits
from impactd.wire.content import Content
from impactd.wire.decoder import join
from impactd.wire.registry import CODECS
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileFormatError, FileOptions
from tests.checks.codec_checks import good_records
from tests.checks.codec_samples import samples_of
from tests.wire.helpers import assert_same_batch
from tests.wire.ticks.captures.test_codec import STREAMS
from tests.wire.ticks.dbn.samples import head
from tests.wire.ticks.dbn.test_orders import mbo

LIMITS: Final = Limits(max_message_bytes=20_000, max_levels=20)
_SIZES: Final = (4_096, 1, 7)
_NUMBER: Final = re.compile(rb"-?\d+(?:\.\d+)?")
_VALUES: Final = (
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"",
    b"null",
    b"9223372036854775807",
    b"4294967295",
    b"1e-300",
    b"true",
)


@dataclass(frozen=True)
class Kind:
    """A codec's good file: its name, what precedes the records, and records that are joined."""

    codec: str
    file_name: str
    header: bytes
    records: Sequence[bytes]
    join: Callable[[Sequence[bytes]], bytes]


def lines(records: Sequence[bytes]) -> bytes:
    return b"".join(record + b"\n" for record in records)


def kinds() -> dict[str, Kind]:
    """Return the kinds of files by name."""
    found = {}
    for name in CODECS.names():
        samples = samples_of(name)
        found[name] = Kind(name, samples.file_name, samples.header, good_records(samples, 12), samples.join)
    changes = [one if isinstance(one, bytes) else orjson.dumps(one) for stream in STREAMS.values() for one in stream]
    found["capture-json, changes"] = Kind("capture-json", "c.jsonl", b"", changes, lines)
    name = "tardis-incremental-csv"
    samples = samples_of(name)
    messages = [samples.book("FROG", 10**18 + 10**6 * k, [(31.0, 1.0 + k)], [(32.0, 2.0)]) for k in range(8)]
    messages[1:] = [message.replace(b"true", b"false") for message in messages[1:]]
    found[f"{name}, changes"] = Kind(name, "t.csv", samples.header, messages, lines)
    orders = [mbo("R"), *(mbo("AACMT"[k % 5], "AB"[k % 2], 100 + k % 3, 2, k % 7, 128, k) for k in range(20))]
    found["dbn, orders"] = Kind("dbn", "day.dbn", head(schema=0), orders, b"".join)
    return found


@dataclass(slots=True)
class FileReport:
    """What became of damaged files."""

    kind: str
    files: int = 0
    rows: int = 0
    unreadable: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """Return the report as one line."""
        return (
            f"{self.kind:<32} {self.files:>8,} files: {self.rows:,} rows, {self.reasons.total():,} records refused for "
            f"{len(self.reasons)} reasons, {self.unreadable:,} files refused whole"
        )


def damaged(kind: Kind, rng: random.Random) -> bytes:
    """Return a file with one to four kinds of damage."""
    records = list(kind.records)
    is_text = kind.codec != "dbn"
    for _ in range(rng.randrange(1, 5)):
        if not records:
            break
        at = rng.randrange(len(records))
        match rng.randrange(6 if is_text else 4):
            case 0:
                del records[at]
            case 1:
                records.insert(rng.randrange(len(records) + 1), records[at])
            case 2:
                other = rng.randrange(len(records))
                records[at], records[other] = records[other], records[at]
            case 3:
                data = bytearray(records[at])
                for _ in range(rng.randrange(1, 4)):
                    if data:
                        data[rng.randrange(len(data))] = rng.randrange(256)
                records[at] = bytes(data)
            case 4:
                numbers = list(_NUMBER.finditer(records[at]))
                if numbers:
                    found = rng.choice(numbers)
                    value = rng.choice((*_VALUES, b"%d" % (int(float(found[0])) + rng.choice((-1, 1)))))
                    records[at] = records[at][: found.start()] + value + records[at][found.end() :]
            case _:
                records[at] = records[at][: rng.randrange(len(records[at]) + 1)]
    data = kind.header + kind.join(records)
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data


def read(kind: Kind, data: bytes, size: int) -> Decoded | None:
    """Decode a file in batches of `size`; None where it is refused whole."""
    content = Content(kind.file_name, iter([data]))
    try:
        codec = CODECS.get(kind.codec).from_header(content.head, FileOptions(FileSymbols("FROG"), LIMITS))
        batches = list(codec.batches(content, size))
    except FileFormatError:
        return None
    offsets = np.concatenate([batch.offsets for batch in batches]) if batches else np.empty(0, np.int64)
    assert (np.diff(offsets) > 0).all()
    decoded = join([batch.decoded for batch in batches]) if batches else None
    if decoded is not None:
        assert np.isin(decoded.batch.offset, offsets).all()
        assert np.isin([letter.offset for letter in decoded.refused], offsets).all()
    return decoded


def run_files(name: str, n: int, seed: int) -> FileReport:
    """Read `n` damaged files of a kind."""
    kind = kinds()[name]
    report = FileReport(name)
    for i in range(n):
        rng = random.Random(f"{name} {seed} {i}")
        data = damaged(kind, rng)
        try:
            whole = read(kind, data, _SIZES[0])
            other = read(kind, data, rng.choice(_SIZES[1:]))
            assert (whole is None) == (other is None)
            report.files += 1
            if whole is None or other is None:
                report.unreadable += 1
                continue
            assert_same_batch(whole.batch, other.batch)
            assert (whole.refused, whole.skipped_unknown) == (other.refused, other.skipped_unknown)
            _check_form(whole)
        except Exception as error:
            error.add_note(f"{name}: file {i} of seed {seed}: {data[:2_000]!r}")
            raise
        report.rows += len(whole.batch)
        report.reasons.update(letter.reason for letter in whole.refused)
    return report


def _check_form(decoded: Decoded) -> None:
    batch = decoded.batch
    for column, count in ((batch.bid_px, batch.n_bid), (batch.ask_sz, batch.n_ask)):
        beyond = np.arange(batch.n_levels) >= count[:, None]
        assert np.isnan(column[beyond]).all()
        assert not np.signbit(column[~beyond][column[~beyond] == 0.0]).any()
    for letter in decoded.refused:
        assert letter.reason in REASONS
        assert 0 < len(letter.detail) <= 200
