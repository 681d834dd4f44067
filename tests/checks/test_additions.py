"""A codec and a feed source of another package: added through the public registries alone, and used."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from click.testing import CliRunner

from impactd import read_books, read_source
from impactd.cli import cli
from impactd.config import load
from impactd.core.base.registry import Registry
from impactd.research.sources import SOURCES, Snapshots
from impactd.wire.codec import FieldError
from impactd.wire.content import Head
from impactd.wire.fields import parse_number, parse_symbol
from impactd.wire.registry import CODECS
from impactd.wire.rows import RowBuilder
from impactd.wire.tick_codec import TickCodec
from impactd.wire.times import parse_text_time
from tests.checks.codec_checks import CHECKS as CODEC_CHECKS
from tests.checks.codec_samples import CodecSamples, Side
from tests.checks.source_checks import CHECKS as SOURCE_CHECKS
from tests.checks.source_checks import SourceSamples
from tests.paths import PACKAGE

T0 = 1_743_687_000_000_000_000
SECOND = 1_000_000_000


class PipeCodec(TickCodec):
    """Lines ``symbol|time|price*size price*size|price*size``: bids, then asks."""

    name = "pipe"

    @classmethod
    def detects(cls, head: Head) -> bool:
        return head.line.count("|") == 3

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        try:
            symbol, time, *sides = value.decode().split("|")
        except ValueError:
            raise FieldError("encoding", "not UTF-8, or no |; send symbol|time|bids|asks") from None
        if len(sides) != 2:
            raise FieldError("truncated", "send symbol|time|bids|asks")
        bids, asks = ([self._level(text) for text in side.split(" ") if text] for side in sides)
        if max(len(bids), len(asks)) > self.limits.max_levels:
            raise FieldError("too_deep", f"send at most {self.limits.max_levels} levels")
        levels = [([px for px, _ in side], [sz for _, sz in side]) for side in (bids, asks)]
        builder.add_book(
            record, parse_symbol(symbol), 0, parse_text_time(time, "time", self.limits.time_unit), 0, *levels
        )
        return 0

    @staticmethod
    def _level(text: str) -> tuple[float, float]:
        px, star, sz = text.partition("*")
        if not star:
            raise FieldError("truncated", "send price*size")
        return parse_number(px, "price"), parse_number(sz, "size")


def pipe_book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    sides = (" ".join(f"{px}*{sz}" for px, sz in side) for side in (bids, asks))
    return "|".join((symbol, str(ts_event), *sides)).encode()


PIPE = CodecSamples(pipe_book, file_name="day.txt")


class PairSource:
    """Records ``{"s": symbol, "t": ns, "b": [price, size] or null, "a": ...}``."""

    def books(self, records: Iterable[Any]) -> pd.DataFrame:
        snapshots = Snapshots("t", "s")
        for record in records:
            with snapshots.one(record):
                sides = [[tuple(record[side])] if record[side] else [] for side in ("b", "a")]
                snapshots.add(int(record["t"]), *sides, record["s"])
        return snapshots.table()

    def fetch(self, symbol: str, start: pd.Timestamp, end: pd.Timestamp) -> list[Any]:
        return [pair_quote(symbol, at.value, (1.0, 2.0), (1.1, 3.0)) for at in (start, end)]


def pair_quote(symbol: str, ts_ns: int, bid: Any, ask: Any) -> dict[str, Any]:
    return {"s": symbol, "t": ts_ns, "b": bid, "a": ask}


@pytest.fixture
def pipe() -> Iterator[str]:
    CODECS.register("pipe", PipeCodec)
    yield "pipe"
    CODECS.forget("pipe")


@pytest.fixture
def pair() -> Iterator[str]:
    SOURCES.register("pair", PairSource)
    yield "pair"
    SOURCES.forget("pair")


@pytest.mark.parametrize("check", CODEC_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_added_codec_keeps_the_contract(check: Any, pipe: str) -> None:
    check(pipe, PIPE)


def test_added_codec_is_accepted_and_used(pipe: str, tmp_path: Path) -> None:
    records = [pipe_book("FROG", T0 + i * SECOND, [(31.2, 300 + i)], [(31.22, 300)]) for i in range(0, 150, 5)]
    (tmp_path / "day.txt").write_bytes(PIPE.file(records))
    assert load(None, environ={"IMPACTD__WIRE__CODEC": pipe}).settings.wire.codec == pipe
    for args in ([], ["--codec", pipe]):
        out = tmp_path / f"out{len(args)}"
        done = CliRunner().invoke(cli, ["replay", "--data", str(tmp_path / "day.txt"), "--out", str(out), *args])
        assert done.exit_code == 0, done.output
        estimates = [orjson.loads(line) for line in (out / "estimates.jsonl").read_bytes().splitlines()]
        assert {(estimate["symbol"], estimate["side"]) for estimate in estimates} == {("FROG", "buy"), ("FROG", "sell")}
        assert estimates[0]["mid"] == pytest.approx(31.21)
    assert len(read_books(tmp_path / "day.txt")) == 60


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_added_source_keeps_the_contract(check: Any, pair: str, tmp_path: Path) -> None:
    check(pair, SourceSamples(lambda *given: [pair_quote(*given)]), tmp_path)


def test_added_source_is_accepted_and_used(pair: str, tmp_path: Path) -> None:
    data, books = tmp_path / "quotes.json", tmp_path / "FROG.csv"
    quotes = [pair_quote("FROG", T0 + i * SECOND, [31.2, 300 + i], [31.22, 300]) for i in range(0, 150, 5)]
    data.write_bytes(orjson.dumps(quotes))
    assert len(read_source(pair, data)) == 60
    assert pair in CliRunner().invoke(cli, ["convert", "--list"]).output
    done = CliRunner().invoke(cli, ["convert", "--source", pair, "--data", str(data), "--out", str(books)])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli, ["replay", "--data", str(books), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "estimates.jsonl").stat().st_size > 0


# -- nothing but the registries lists their names ---------------------------------------------------------------------

REGISTRIES: dict[str, Registry[Any]] = {"wire/registry.py": CODECS, "research/sources/base.py": SOURCES}


def _listed(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """Yield the line and the texts of every literal that lists texts, and of every chain of comparisons with them."""
    for node in ast.walk(tree):
        match node:
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items) | ast.BoolOp(values=items):
                pass
            case ast.Dict(keys=items):
                pass
            case ast.Match(cases=cases):
                items = [case.pattern.value for case in cases if isinstance(case.pattern, ast.MatchValue)]
            case ast.If():
                items = [node.test, *(inner.test for inner in node.orelse if isinstance(inner, ast.If))]
            case _:
                continue
        texts = {leaf.value for item in items if item for leaf in ast.walk(item) if isinstance(leaf, ast.Constant)}
        yield getattr(node, "lineno", 0), {text for text in texts if isinstance(text, str)}


@pytest.mark.parametrize("home", REGISTRIES)
def test_no_list_of_names_is_outside_its_registry(home: str) -> None:
    names = set(REGISTRIES[home].names())
    found = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        for line, texts in _listed(ast.parse(path.read_text(encoding="utf-8")))
        if len(texts & names) >= 2
    }
    assert {place.partition(":")[0] for place in found} == {home}
