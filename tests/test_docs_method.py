"""The numbers of the worked example in docs/method.md, from the service's own code."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest

from impactd.cli import main
from impactd.core.allocator.allocate import allocate
from impactd.core.allocator.baseline import twap
from impactd.core.allocator.bounds import NO_CAP
from impactd.core.allocator.cost import gradient, schedule_cost
from impactd.core.allocator.problem import Problem
from impactd.core.base.quantity import QUANTA
from impactd.core.books.walk import walk
from tests.paths import ROOT
from tests.test_docs import blocks, own_files

PAGE = ROOT / "docs" / "method.md"

QTY = 1000
LOT = 100
CENTS = 100.0


def section(title: str) -> str:
    """Return the text under a heading of the worked example."""
    found = re.search(
        rf"^### {re.escape(title)}\n(.*?)(?=^##)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None, title
    return found[1]


def tables(title: str) -> Iterator[dict[str, list[str]]]:
    """Yield the tables of a section: a row's cells by its first one, without emphasis."""
    for block in re.findall(r"(?:^\|.*\n)+", section(title), re.MULTILINE):
        rows = [[cell.strip(" *$") for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        yield {row[0]: row[1:] for row in rows if not set(row[0]) <= set("-:")}


def numbers(cells: list[str]) -> list[float]:
    return [float(cell) for cell in cells if cell]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the buy side's estimate and model of the page's minute, by the page's own command."""
    directory = tmp_path_factory.mktemp("method")
    data, settings = (
        next(path for path in own_files(PAGE, directory) if path.suffix == end) for end in (".jsonl", ".toml")
    )
    assert main(["replay", "-c", str(settings), "--data", str(data), "--out", str(directory / "out")]) == 0
    return {
        kind: orjson.loads((directory / "out" / f"{kind}s.jsonl").read_bytes().splitlines()[0])
        for kind in ("estimate", "model")
    }


@pytest.fixture(scope="module")
def plain() -> tuple[Problem, npt.NDArray[np.float64]]:
    """Return the forecast of the page as a problem, and its plan."""
    forecast = np.array([numbers(row) for row in next(tables("One plan")).values() if row[0][:1].isdigit()])
    problem = Problem.from_impact(*forecast.T.copy())
    found = allocate(problem, QTY * QUANTA, LOT * QUANTA)
    assert not hasattr(found, "reason"), found
    return problem, found.qty()


def test_minute_of_the_page_is_what_the_books_give(replayed: dict[str, dict[str, Any]]) -> None:
    (rows,) = tables("One minute")
    estimate = replayed["estimate"]
    assert (estimate["side"], estimate["covered_s"]) == ("buy", 60.0)
    assert numbers(rows["slippage"][1:]) == pytest.approx(CENTS * np.array(estimate["slippage"]))
    assert numbers(rows["coverage"]) == estimate["coverage"]
    assert numbers(rows["lower bound"]) == pytest.approx(CENTS * np.array(estimate["lower_bound"]))
    books = [orjson.loads(line) for _, text in blocks(PAGE, "json") for line in text.splitlines()]
    walked = [row[1:] for name, row in rows.items() if name.startswith("10:")]
    for book, cells in zip(books, walked, strict=True):
        px, qty = np.array(book["asks"], np.float64).T
        for size, cell in zip(estimate["sizes"], cells, strict=True):
            g = CENTS * walk(px, qty, size, 100.0)[0]
            assert (cell == "censored") if np.isnan(g) else float(cell) == pytest.approx(g)
    ends = [*(book["ts_event"] for book in books[1:]), estimate["minute"] + 60_000_000_000]
    stood = [int((end - book["ts_event"]) / 1e9) for book, end in zip(books, ends, strict=True)]
    assert [row[0] for name, row in rows.items() if name.startswith("10:")] == [f"{seconds} s" for seconds in stood]
    by_tick = np.mean([float(cells[0]) for cells in walked])
    assert f"{by_tick:.2f} cents" in section("One minute")


def test_fit_of_the_page_is_the_minute_s(replayed: dict[str, dict[str, Any]]) -> None:
    model, (rows,) = replayed["model"], tables("One fit")
    s, beta = model["half_spread"], model["beta"]
    assert model["fitted_range"] == [100, 400]
    assert [float(row[0]) for name, row in rows.items() if name] == pytest.approx(
        [s, beta, s + 100 * beta, s + 400 * beta]
    )
    text = section("One fit")
    assert s == pytest.approx(replayed["estimate"]["half_spread"])
    assert f"shows, {CENTS * s:.1f} cents" in text


def assert_rows(
    rows: dict[str, list[str]],
    problem: Problem,
    qty: npt.NDArray[np.float64],
    columns: dict[str, npt.NDArray[np.float64]],
) -> None:
    """Fail unless a table's columns are those of a schedule."""
    expected = columns | {
        "$x_t$": qty, "$g_t(x_t)$": problem.curve.cost(qty) / qty, "cost": problem.curve.cost(qty),
        "sum": np.cumsum(qty), "marginal price": gradient(problem, float(QTY), qty),
    }  # fmt: skip
    head = [f"${name}$" if f"${name}$" in expected else name for name in rows["minute"]]
    for column, name in enumerate(head):
        cells = [float(rows[str(minute)][column]) for minute in (1, 2, 3)]
        assert cells == pytest.approx(expected[name].tolist()), name
    assert float(rows["sum"][head.index("$x_t$")]) == qty.sum() == QTY
    assert float(rows["sum"][head.index("cost")]) == pytest.approx(schedule_cost(problem, qty))


def test_plan_of_the_page_is_the_allocator_s(plain: tuple[Problem, npt.NDArray[np.float64]]) -> None:
    problem, qty = plain
    assert_rows(list(tables("One plan"))[1], problem, qty, {})
    even = twap(QTY * QUANTA, np.ones(3), np.full(3, NO_CAP), LOT * QUANTA) / QUANTA
    cost = schedule_cost(problem, even)
    text = section("One plan")
    assert "{:.0f}, {:.0f} and {:.0f}, costs {:.2f}".format(*even, cost) in text
    assert (
        f"saves {cost - schedule_cost(problem, qty):.2f}, {100 * (1 - schedule_cost(problem, qty) / cost):.0f}%" in text
    )


def test_plan_under_participation_is_the_best_of_all(plain: tuple[Problem, npt.NDArray[np.float64]]) -> None:
    problem, _ = plain
    title = "The same plan under a participation limit"
    (rows,) = tables(title)
    text = section(title)
    rate, *volume = (float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d", text)[:4])
    limit = rate / 100.0 * np.cumsum(volume)
    lots = [np.array(x, np.float64) * LOT for x in itertools.product(range(QTY // LOT + 1), repeat=3)]
    within = [x for x in lots if x.sum() == QTY and (np.cumsum(x) <= limit).all()]
    best = min(within, key=lambda x: schedule_cost(problem, x))
    assert_rows(rows, problem, best, {"limit of the sum": limit})
    # A limit on each minute by itself.
    caps = (rate / 100.0 * np.array(volume)).astype(np.int64) * QUANTA
    found = allocate(problem, QTY * QUANTA, LOT * QUANTA, caps)
    assert not hasattr(found, "reason"), found
    apart = found.qty()
    assert "{:.0f}, {:.0f} and {:.0f}, which".format(*apart) in text
    assert f"costs {schedule_cost(problem, apart):.2f}" in text
    prices = gradient(problem, float(QTY), best)
    assert f"would save {prices[2] - prices[1]:.3f}" in text


def test_tables_of_the_page_are_all_recomputed() -> None:
    example = PAGE.read_text(encoding="utf-8").partition("## A worked example")[2].partition("\n## ")[0]
    titles = re.findall(r"^### (.*)$", example, re.MULTILINE)
    assert titles == ["One minute", "One fit", "One plan", "The same plan under a participation limit"]
    assert [len(list(tables(title))) for title in titles] == [1, 1, 2, 1]
