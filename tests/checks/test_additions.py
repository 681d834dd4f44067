"""Model kind, solver, codec and feed source of another package: added by the public registries alone, and used."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.optimize import nnls

from impactd import ImpactModel, TradeAllocator, read_books, read_source
from impactd.cli import cli
from impactd.config import load
from impactd.core.allocator.cost import gradient
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Found, Solution, SolveFailure, solve_by
from impactd.core.allocator.solvers.registry import SOLVERS, get_solver
from impactd.core.base.registry import Registry
from impactd.core.base.settings import ModelSettings, PlanSettings
from impactd.core.model.kinds.base import Coefficients, Float, MinuteFit, scaled_variation
from impactd.core.model.kinds.registry import MODEL_KINDS, impact_model
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
from tests.checks.model_checks import ALL_CHECKS as KIND_CHECKS
from tests.checks.solver_checks import CHECKS as SOLVER_CHECKS
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


# -- a model kind and a solver ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Root:
    """``g = s + eta sqrt(q)``."""

    intercept: bool

    kind = "root"
    has_linear_term = False
    candidates = (0.5,)

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        return cls(settings.intercept)

    @property
    def n_terms(self) -> int:
        return 1 + self.intercept

    def fit(self, sizes: Float, g: Float, weight: Float, q_ref: float) -> tuple[MinuteFit, ...]:
        columns = [np.sqrt(sizes / q_ref)] if not self.intercept else [np.ones(len(g)), np.sqrt(sizes / q_ref)]
        root = np.sqrt(weight)
        terms, norm = nnls(np.stack(columns, axis=1) * root[:, None], g * root)
        variation = float((weight * (g - np.average(g, weights=weight)) ** 2).sum())
        spread = float(terms[0]) if self.intercept else 0.0
        scaled = scaled_variation(variation, g, weight)
        return (MinuteFit(spread, float(terms[-1]), 0.5, q_ref, float(norm) ** 2, scaled, len(g), self.n_terms),)

    def excess_shape(self, u: Float, shape: float) -> Float:
        del shape
        return np.sqrt(u)

    def coefficients(self, excess: Float, shape: float, q_ref: float) -> Coefficients:
        del shape
        return Coefficients(None, None, excess / np.sqrt(q_ref), 0.5)


@dataclass(slots=True)
class Bisection:
    """Bisects the price of a share, and for each price the quantity of each interval."""

    effort: float = 1.0
    name: str = "bisection"
    bounded: bool = True

    def solve(self, problem: Problem, qty: float) -> Solution | SolveFailure:
        return solve_by(self.name, problem, qty, self._bisect)

    def _bisect(self, problem: Problem, qty: float) -> Found | SolveFailure:
        if not problem.separable or problem.nested:
            return SolveFailure(self.name, Failure.UNSUPPORTED, "needs intervals that are independent")
        low, high = 0.0, float(np.max(gradient(problem, qty, np.full(len(problem), qty))))
        for _ in range(60):
            price = 0.5 * (low + high)
            low, high = (low, price) if self._at(problem, qty, price).sum() > qty else (price, high)
        return self._at(problem, qty, high), 60, None

    @staticmethod
    def _at(problem: Problem, qty: float, price: float) -> Float:
        """Return what each interval trades up to a marginal cost of `price`."""
        low, high = np.zeros(len(problem)), np.minimum(problem.cap, qty)
        for _ in range(60):
            middle = 0.5 * (low + high)
            is_dear = gradient(problem, qty, middle) > price
            low, high = np.where(is_dear, low, middle), np.where(is_dear, middle, high)
        return low


@pytest.fixture
def root() -> Iterator[str]:
    MODEL_KINDS.register("root", Root)
    yield "root"
    MODEL_KINDS.forget("root")


@pytest.fixture
def bisection() -> Iterator[str]:
    SOLVERS.register("bisection", Bisection)
    yield "bisection"
    SOLVERS.forget("bisection")
    get_solver.cache_clear()


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "origin"])
@pytest.mark.parametrize("check", KIND_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_added_model_kind_keeps_the_contract(check: Any, intercept: bool) -> None:  # noqa: FBT001  # a parameter of the test
    check(impact_model(ModelSettings(kind="root", intercept=intercept)))


@pytest.mark.parametrize("check", SOLVER_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_added_solver_keeps_the_contract(check: Any, bisection: str) -> None:
    check(get_solver(bisection))


@pytest.mark.usefixtures("pipe")
def test_added_kind_and_solver_are_accepted_and_used(root: str, bisection: str, tmp_path: Path) -> None:
    named = {"IMPACTD__MODEL__KIND": root, "IMPACTD__PLANS__SOLVERS": bisection}
    loaded = load(None, environ=named).settings.core()
    assert (loaded.model.kind, loaded.plans.solvers) == (root, (bisection,))
    records = [
        pipe_book("FROG", T0 + i * SECOND, [(31.2 - 0.01 * k, 300 + i) for k in range(5)], [(31.22, 300), (31.25, 900)])
        for i in range(0, 900, 5)
    ]
    (tmp_path / "day.txt").write_bytes(PIPE.file(records))
    order = {"type": "new", "cl_ord_id": "B1", "symbol": "FROG", "side": "buy", "order_qty": 900, "ts_event": T0}
    order |= {"start": T0 + 300 * SECOND, "end": T0 + 1_200 * SECOND}
    (tmp_path / "orders.jsonl").write_bytes(orjson.dumps(order))
    args = ["replay", "--data", tmp_path / "day.txt", "--orders", tmp_path / "orders.jsonl", "--out", tmp_path]
    args += ["--set", f"model.kind={root}", "--set", f"plans.solvers={bisection}"]
    done = CliRunner().invoke(cli, list(map(str, args)))
    assert done.exit_code == 0, done.output
    models, plans = ((tmp_path / f"{name}.jsonl").read_bytes().splitlines() for name in ("models", "plans"))
    assert {orjson.loads(line)["kind"] for line in models} == {root}
    solvers = {orjson.loads(line)["certificate"]["solver"] for line in plans if b'"status":"active"' in line}
    assert solvers == {bisection}


def test_added_kind_and_solver_are_in_the_batch_api(root: str, bisection: str) -> None:
    model = ImpactModel(root)
    model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(20, 10)))
    allocator = TradeAllocator(model, 10_000, 20)
    own, exact = allocator.solve_with(bisection), allocator.optimize("exact")
    assert own["optimal_cost"] == pytest.approx(exact["optimal_cost"], rel=1e-9)


# -- nothing but the registries lists their names ---------------------------------------------------------------------

REGISTRIES: dict[str, Registry[Any]] = {
    "core/allocator/solvers/registry.py": SOLVERS,
    "core/model/kinds/registry.py": MODEL_KINDS,
    "research/sources/base.py": SOURCES,
    "wire/registry.py": CODECS,
}

#: Where a list of names is the default of a setting, which is a choice among them.
DEFAULTS = {"core/base/settings.py": PlanSettings().solvers}


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


@cache
def _lists_of_texts() -> list[tuple[str, int, frozenset[str]]]:
    """Return file, line and texts of every list of texts in the package."""
    return [
        (str(path.relative_to(PACKAGE)), line, frozenset(texts))
        for path in PACKAGE.rglob("*.py")
        for line, texts in _listed(ast.parse(path.read_text(encoding="utf-8")))
        if len(texts) >= 2
    ]


@pytest.mark.parametrize("home", REGISTRIES)
def test_no_list_of_names_is_outside_its_registry(home: str) -> None:
    names = set(REGISTRIES[home].names())
    found = {
        f"{file}:{line}"
        for file, line, texts in _lists_of_texts()
        if len(texts & names) >= 2 and texts != set(DEFAULTS.get(file, ()))
    }
    assert {place.partition(":")[0] for place in found} == {home}
