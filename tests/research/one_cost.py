"""The cost of one order by every surface; ``python -m tests.research.one_cost`` writes the table of docs/method.md.

``python -m tests.research.one_cost first`` prints what the first plans of cold starts expect, and what is paid.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from impactd import ImpactModel, OptimizerConfig, SolverType, TradeAllocator, read_books, realised_cost
from impactd.cli.hours import session_settings
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Topic
from impactd.research.backtest.evaluate import Outcome
from impactd.research.backtest.run import backtest, for_backtest
from impactd.research.backtest.windows import Question
from impactd.research.compare import choose_model, compare_strategies, recorded_day
from impactd.research.differences import of_schedule
from impactd.shell.live.board import Board
from impactd.shell.replay import Sources, replay
from impactd.shell.tally import OrderSummary
from tests import paths

PAGE: Final = paths.ROOT / "docs" / "method.md"
MARKS: Final = ("<!-- one cost -->\n", "<!-- end of one cost -->\n")
MINUTE_NS: Final = 60_000_000_000
#: Intervals of `impactd compare` and `report` by default.
INTERVALS: Final = 50


class Case(NamedTuple):
    """A recorded day, its symbol, the session's open and an order of it."""

    path: Path
    symbol: str
    open_ns: int
    qty: int
    lot: int
    minutes: int = 390


class Row(NamedTuple):
    """One surface's costs, currency; None where it has none."""

    surface: str
    expected: float | None
    twap: float | None
    realised: float | None
    apart: tuple[str, ...] = ()


def frog(data_dir: Path) -> Case:
    return Case(data_dir / "FROG_2025-04-03_mbp10.csv.gz", "FROG", 1_743_687_000_000_000_000, 20_000, 1)


def us_settings() -> CoreSettings:
    return for_backtest(session_settings(None, (), "America/New_York", "09:30-16:00")[0])


def shanghai_settings() -> CoreSettings:
    """Return the hours in which the Chinese days were recorded."""
    return for_backtest(session_settings(None, (), "Asia/Shanghai", "09:40-14:50")[0])


def replayed(case: Case, settings: CoreSettings, directory: Path, side: str, *, wait_minutes: int = 0) -> OrderSummary:
    start, close = case.open_ns + wait_minutes * MINUTE_NS, case.open_ns + case.minutes * MINUTE_NS
    order = {"type": "new", "cl_ord_id": "A1", "symbol": case.symbol, "side": side, "order_qty": case.qty}
    times = {"ts_event": start, "start": start, "end": close, "lot_size": case.lot}
    orders = directory / "orders.jsonl"
    orders.write_bytes(orjson.dumps(order | times) + b"\n")
    (summary,) = replay(Sources([case.path], orders), settings, directory / "out").orders
    return summary


def backtested(case: Case, settings: CoreSettings) -> Mapping[str, Outcome]:
    """Return the session's order by side, under a cap that never binds."""
    question = Question(qty=(float(case.qty),), kinds=("session",), trimmed=False, depth_cap=1e6, lot=case.lot * QUANTA)
    test = backtest([case.path], settings, question, strategies=["engine"])
    return {outcome.priced.side: outcome for outcome in test.outcomes if outcome.priced.symbol == case.symbol}


def path_of(out: Path) -> dict[int, float]:
    """Return what an order executed by interval, shares, read off a replay's plans."""
    path: dict[int, float] = {}
    for line in (out / "plans.jsonl").read_bytes().splitlines():
        plan = orjson.loads(line)
        at = plan["as_of"] // MINUTE_NS * MINUTE_NS
        path = {start: qty for start, qty in path.items() if start < at}
        path |= {start // MINUTE_NS * MINUTE_NS: qty for start, qty in zip(plan["start"], plan["qty"], strict=True)}
    return path


def page(out: Path) -> Row:
    """Return what the live page shows once it has read what a replay wrote."""
    board = Board()
    for topic in (Topic.ESTIMATES, Topic.MODELS, Topic.PLANS, Topic.TCA):
        for line in (out / f"{topic.value}.jsonl").read_bytes().splitlines():
            board.take(topic, line)
    story = board.order("A1")
    assert story is not None
    first = next(
        plan for plan in map(orjson.loads, (out / "plans.jsonl").read_bytes().splitlines()) if plan["expected_cost"]
    )
    saving = story["saving"]
    return Row("live page", first["expected_cost"], saving["twap_cost"], saving["cost"], ("size grid",))


def rows(case: Case) -> list[Row]:
    """Return the costs of buying by every surface."""
    settings = us_settings()
    with tempfile.TemporaryDirectory() as name:
        done = replayed(case, settings, Path(name), "buy")
        path, shown = path_of(Path(name) / "out"), page(Path(name) / "out")
    tested = backtested(case, settings)["buy"]
    day = recorded_day(case.path, symbol=case.symbol, session=settings.session)
    chosen, _ = choose_model(day.slippage)
    fast = OptimizerConfig(default_solver=SolverType.EXACT)
    table = compare_strategies(
        day.slippage, case.qty, INTERVALS, config=fast, chosen=chosen, walks=day.walks
    ).set_index("strategy")
    best, even = (table.loc[f"{chosen} with a half-spread, {what}"] for what in ("exact", "equal parts"))
    books = read_books(case.path, symbol=case.symbol)
    python = realised_cost(books, path)
    model = ImpactModel("linear")
    model.fit_model(day.slippage)
    batch = TradeAllocator(model, case.qty, INTERVALS, fast).optimize()
    apart = of_schedule(n_fitted=day.slippage["time"].nunique(), n_intervals=INTERVALS, intercept=True)
    at_books = tuple(name for name in apart if name != "fitted curve")
    expected = None if tested.expected is None else tested.expected.expected_cost
    cost = tested.priced.cost
    return [
        Row("`impactd replay`", done.expected_cost, done.twap_cost, done.cost),
        Row("`impactd backtest`", expected, cost["twap"], cost["engine"]),
        shown,
        Row("`impactd.realised_cost` of the replay's schedule", None, None, python["cost"]),
        Row("`impactd compare`, `report`, at the books", None, even["walked_cost"], best["walked_cost"], at_books),
        Row(
            "`impactd compare`, `report`, by the model", best["total_impact"], even["total_impact"], None, tuple(apart)
        ),
        Row(
            "`TradeAllocator`, linear through the origin",
            batch["optimal_cost"],
            batch["equal_cost"],
            None,
            tuple(batch["differences"]),
        ),
    ]


def figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def written(found: list[Row]) -> str:
    """Return the table as Markdown."""
    head = "| surface | expected | TWAP | realised | what sets it apart |\n|---|---:|---:|---:|---|\n"
    cells = [(row.surface, *map(figure, row[1:4]), ", ".join(row.apart)) for row in found]
    return head + "".join(f"| {' | '.join(cell)} |\n" for cell in cells)


def documented() -> list[list[str]]:
    """Return the cells of the table on the page."""
    text = PAGE.read_text("utf-8")
    table = text[text.index(MARKS[0]) + len(MARKS[0]) : text.index(MARKS[1])]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def arl(data_dir: Path) -> Case:
    return Case(data_dir / "ARL_2025-07-17_mbp10.csv.gz", "ARL", 1_752_759_000_000_000_000, 1_200, 1)


def first_plans(data_dir: Path) -> Iterator[str]:
    """Yield a line for each first plan of the recorded days that begin with the open."""
    for case in (frog(data_dir), arl(data_dir)):
        for wait in (0, 5, 15, 30):
            with tempfile.TemporaryDirectory() as name:
                done = replayed(case, us_settings(), Path(name), "buy", wait_minutes=wait)
            low, high = done.band_95 or (math.nan, math.nan)
            paid = math.nan if done.cost is None else done.cost
            held = "inside" if low <= paid <= high else "outside"
            yield (
                f"{case.symbol} {wait:>2} min after the open: expected {figure(done.expected_cost)}, "
                f"paid {figure(paid)}, {held} {figure(low)} to {figure(high)}"
            )


if __name__ == "__main__":
    directory = paths.data_dir()
    assert directory is not None, "the recorded days are not there"
    if sys.argv[1:] == ["first"]:
        for line in first_plans(directory):
            print(line, flush=True)  # noqa: T201  (its output)
        sys.exit()
    text = PAGE.read_text("utf-8")
    before, after = text[: text.index(MARKS[0]) + len(MARKS[0])], text[text.index(MARKS[1]) :]
    PAGE.write_text(before + written(rows(frog(directory))) + after, "utf-8")
