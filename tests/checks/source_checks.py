"""What every feed source promises (`impactd.research.sources`), whatever its vendor's records look like.

A check takes a source's name, its samples and a directory, and raises AssertionError. The test that runs them takes
every source from the registry.
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd import ValidationError, fetch_source, read_source
from impactd.research.sources import SOURCES, Source, source
from tests.research.sources.tables import books_of

T0 = 1_767_623_400_125_000_000
SECOND = 1_000_000_000
BID, ASK = (31.2, 300.0), (31.25, 200.0)
Level = tuple[float, float] | None


@dataclass(frozen=True)
class SourceSamples:
    """Records of one source.

    Attributes
    ----------
    quote : callable
        (symbol, ns, bid, ask) to the records of one book of a level a side; None for an empty side. JSON can hold them.
    """

    quote: Callable[[str, int, Level, Level], list[Any]]


def samples_of(name: str) -> SourceSamples:
    """Return the samples of one of our sources."""
    found = import_module(f"tests.research.sources.{name}_samples").SAMPLES
    assert isinstance(found, SourceSamples)
    return found


def _quotes(samples: SourceSamples, *symbols: str) -> list[Any]:
    return [
        record
        for i in range(3)
        for symbol in symbols
        for record in samples.quote(symbol, T0 + i * SECOND, BID, (31.25, 200.0 + i))
    ]


def check_is_a_source(name: str, samples: SourceSamples, directory: Path) -> None:
    assert name in SOURCES
    assert isinstance(source(name), Source)


def check_quotes_are_books(name: str, samples: SourceSamples, directory: Path) -> None:
    table = read_source(name, _quotes(samples, "FROG"))
    assert books_of(table) == [(T0 + i * SECOND, [BID], [(31.25, 200.0 + i)]) for i in range(3)]
    assert list(table.columns) == ["time", "side", "price", "size", "level"]
    assert table.attrs["refused"] == {}


def check_empty_side_is_empty(name: str, samples: SourceSamples, directory: Path) -> None:
    later = samples.quote("FROG", T0 + 9 * SECOND, BID, None)
    assert books_of(read_source(name, [*_quotes(samples, "FROG"), *later]))[-1] == (T0 + 9 * SECOND, [BID], [])


def check_symbols_are_kept_apart(name: str, samples: SourceSamples, directory: Path) -> None:
    table = read_source(name, _quotes(samples, "FROG", "ARL"))
    assert table.attrs["symbols"] == ["FROG", "ARL"]
    for symbol in ("FROG", "ARL"):
        mine = table[table["symbol"] == symbol]
        assert books_of(mine) == books_of(read_source(name, _quotes(samples, symbol)))
        assert books_of(read_source(name, _quotes(samples, "FROG", "ARL"), symbol=symbol)) == books_of(mine)


def check_bad_record_refuses_itself_alone(name: str, samples: SourceSamples, directory: Path) -> None:
    good = _quotes(samples, "FROG")
    bad = [dict.fromkeys(good[-1], "x") | {key: good[-1][key] for key in list(good[-1])[:n]} for n in (0, 1)]
    table = read_source(name, [*good, *bad])
    assert books_of(table)[:3] == books_of(read_source(name, good))
    with pytest.raises(ValidationError):
        read_source(name, bad)


def check_nothing_is_an_error(name: str, samples: SourceSamples, directory: Path) -> None:
    with pytest.raises(ValidationError):
        read_source(name, [])


def check_file_gives_the_same_books(name: str, samples: SourceSamples, directory: Path) -> None:
    records = _quotes(samples, "FROG")
    lines = b"".join(orjson.dumps(record) + b"\n" for record in records)
    contents = {
        "a.json": orjson.dumps(records),
        "b.json": orjson.dumps({"status": "OK", "results": records}),
        "c.jsonl": lines,
        "d.jsonl.gz": gzip.compress(lines),
    }
    for file, content in contents.items():
        (directory / file).write_bytes(content)
        assert books_of(read_source(name, directory / file)) == books_of(read_source(name, records))


def check_fetch_gives_books_or_an_error_of_ours(name: str, samples: SourceSamples, directory: Path) -> None:
    with contextlib.suppress(ValidationError):
        assert len(fetch_source(name, "FROG", "2025-04-03T13:30Z", "2025-04-03T13:31Z"))


Check = Callable[[str, SourceSamples, Path], None]

CHECKS: tuple[Check, ...] = (
    check_is_a_source,
    check_quotes_are_books,
    check_empty_side_is_empty,
    check_symbols_are_kept_apart,
    check_bad_record_refuses_itself_alone,
    check_nothing_is_an_error,
    check_file_gives_the_same_books,
    check_fetch_gives_books_or_an_error_of_ours,
)
