"""Strategies, sizes and models side by side, as functions and as commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from impactd import ImpactModel, ModelFittingError, OptimizerConfig, ValidationError, write_books
from impactd.cli import cli
from impactd.research.compare import (
    MODELS,
    STRATEGIES,
    TOTALS,
    Day,
    choose_model,
    compare_days,
    compare_strategies,
    generated_day,
    recorded_day,
    sensitivity,
)
from impactd.research.fitted import model_types


@pytest.fixture(scope="module")
def day() -> Day:
    return generated_day(n_snapshots=60)


def test_strategies_all_linear_solvers_give_one_saving(day: Day) -> None:
    table = compare_strategies(day.slippage, 50_000, 20).set_index("strategy")
    assert len(table) == len(STRATEGIES) + 2
    solved = table[(table["model"] == "linear") & (table["outcome"] == "solved")].drop("linear, equal parts")
    assert len(solved) >= 6
    np.testing.assert_allclose(solved["total_impact"], solved["total_impact"].iloc[0], rtol=1e-6)
    assert (solved["kkt_residual"] <= 1e-8).all()
    assert table.loc["linear, equal parts", "improvement_pct"] == 0.0
    assert table.loc["linear, equal parts", "spread"] == 0.0


def test_strategies_nonlinear_costs_least_under_the_nonlinear_cost(day: Day) -> None:
    table = compare_strategies(day.slippage, 50_000, 20).set_index("strategy")
    least = table.loc["nonlinear, exact", "nonlinear_impact"]
    assert least <= table["nonlinear_impact"].min() * (1 + 1e-9)


def test_strategies_failure_has_its_row_and_its_words(day: Day) -> None:
    # More intervals than the dense solvers take, and no time for anyone.
    table = compare_strategies(day.slippage, 50_000, 501, config=OptimizerConfig(timeout_seconds=1e-3))
    table = table.set_index("strategy")
    assert table.loc["linear, clarabel", "outcome"] == "timed_out"
    assert "timeout_seconds" in str(table.loc["linear, clarabel", "text"])
    assert table.loc["linear, exact", "outcome"] == "solved"
    assert np.isnan(table.loc["linear, clarabel", "total_impact"])


def test_sensitivity_linear_saving_does_not_depend_on_the_total(day: Day) -> None:
    table = sensitivity(day.slippage)
    linear = table[table["model"] == "linear"]
    assert linear["total_shares"].tolist() == list(TOTALS)
    np.testing.assert_allclose(linear["improvement_pct"], linear["improvement_pct"].iloc[0], rtol=1e-9)
    np.testing.assert_allclose(linear["total_impact"] / linear["total_shares"] ** 2, 0.0, atol=1e-3)


def test_choice_is_the_least_error_out_of_sample(day: Day) -> None:
    name, scores = choose_model(day.slippage)
    assert scores["model"].tolist() == list(MODELS)
    assert scores.set_index("model")["rmse"].idxmin() == name


def test_choice_of_a_line_is_no_more_than_a_line() -> None:
    sizes = np.linspace(100.0, 1_000.0, 8)
    rows = [(pd.Timestamp("2025-06-02 14:00", tz="UTC"), "buy", q, 0.01 + 1e-5 * q) for q in sizes]
    _, scores = choose_model(pd.DataFrame(rows, columns=["time", "side", "size", "slippage"]))
    scores = scores.set_index("model")
    assert scores.loc["linear", "rmse"] == pytest.approx(0.0, abs=1e-12)
    assert scores.loc["linear, through the origin", "rmse"] > 1e-3


def test_choice_without_data_is_2001() -> None:
    rows = [(pd.Timestamp("2025-06-02 14:00", tz="UTC"), "buy", 100.0, 0.01)]
    with pytest.raises(ModelFittingError) as error:
        choose_model(pd.DataFrame(rows, columns=["time", "side", "size", "slippage"]))
    assert error.value.code == 2001


def test_days_differences_are_recorded_less_generated(day: Day) -> None:
    other = generated_day(1, n_snapshots=60)
    played = Day("played", recorded=True, slippage=other.slippage)
    result = compare_days([day, played], 20_000, 20)
    assert set(result.strategies["day"]) == {day.name, "played"}
    assert set(result.chosen) == {day.name, "played"}
    row = result.differences.set_index("strategy").loc["linear, exact"]
    assert row["difference_pct"] == pytest.approx(row["improvement_pct"] - row["generated_pct"])


def test_days_none_is_1001() -> None:
    with pytest.raises(ValidationError):
        compare_days([])


def test_days_recorded_one_is_compared(data_dir: Path) -> None:
    frog = recorded_day(data_dir / "FROG_2025-04-03_mbp10.csv.gz")
    name, scores = choose_model(frog.slippage)
    # Through the origin real curves do not go: the spread is most of a small trade's cost.
    assert name != "linear, through the origin"
    assert scores.set_index("model").loc["linear", "test_r2"] > 0.9


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    books = ImpactModel().generate_synthetic_orderbook(60, 5, seed=7)
    return write_books(books, tmp_path / "DEMO.csv.gz")


def test_compare_command_shows_both_days_and_their_difference(recorded: Path) -> None:
    result = CliRunner().invoke(cli, ["compare", "--data", str(recorded), "--intervals", "20"])
    assert result.exit_code == 0, result.output
    assert "Strategies: generated (seed 0)" in result.output
    assert "Strategies: DEMO.csv.gz" in result.output
    assert "Recorded less generated" in result.output
    assert "linear, trust-constr" in result.output


def test_compare_command_writes_json(recorded: Path) -> None:
    result = CliRunner().invoke(cli, ["compare", str(recorded), "--intervals", "10", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert {row["day"] for row in said["strategies"]} == {"generated (seed 0)", "DEMO.csv.gz"}
    assert said["chosen"].keys() == {"generated (seed 0)", "DEMO.csv.gz"}


def test_sensitivity_command_shows_each_total(recorded: Path) -> None:
    result = CliRunner().invoke(cli, ["sensitivity", "--data", str(recorded), "--shares", "1000", "--shares", "5000"])
    assert result.exit_code == 0, result.output
    assert "1,000" in result.output
    assert "5,000" in result.output
    said = CliRunner().invoke(cli, ["sensitivity", "--shares", "1000", "--json"])
    rows = json.loads(said.stdout)["generated (seed 0)"]
    assert [(row["model"], row["total_shares"]) for row in rows] == [(model, 1000.0) for model in model_types()]


@pytest.mark.parametrize("command", ["compare", "sensitivity"])
def test_command_on_a_file_without_books_exits_2_in_one_line(tmp_path: Path, command: str) -> None:
    path = tmp_path / "X.csv"
    path.write_text("a,b\n", encoding="utf-8")
    result = CliRunner().invoke(cli, [command, "--data", str(path)])
    assert result.exit_code == 2
    assert "[1001]" in result.output
    assert len(result.output.strip().splitlines()) == 1
