"""Research scripts in the shape in which desks keep them: each runs with nothing changed but its import lines.

The scripts are here in full.  Where the document that they come from lies beside the repository, its own code
blocks run too.
"""

# ruff: noqa: T201  (scripts print what they find)

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import impactd
from impactd import (
    ImpactModel,
    ModelConfig,
    OptimizerConfig,
    ProductionMonitor,
    SolverType,
    TradeAllocator,
    convert_live_data_to_system_format,
)
from tests import paths


def quotes(n: int = 390, seed: int = 3) -> pd.DataFrame:
    """Return a day of best quotes, as a market data interface gives them."""
    rng = np.random.default_rng(seed)
    mid = 31.0 + 0.01 * np.cumsum(rng.integers(-1, 2, n))
    half = 0.01 * rng.integers(1, 4, n)
    return pd.DataFrame(
        {
            "timestamp": pd.date_range("2024-01-02 14:30", periods=n, freq="1min", tz="UTC"),
            "bid_price": (mid - half).round(2),
            "ask_price": (mid + half).round(2),
            "bid_size": rng.integers(2, 12, n) * 100,
            "ask_size": rng.integers(2, 12, n) * 100,
        }
    )


def check_schedule(results: dict[str, Any], total: float) -> None:
    allocation = results["optimal_allocation"]
    assert abs(np.sum(allocation) - total) < 1e-6
    assert (allocation >= 0).all()
    assert 0.0 <= results["improvement_pct"] < 100.0


# -- quick start and configuration ------------------------------------------------------------------------------------


def test_quick_start(capsys: pytest.CaptureFixture[str]) -> None:
    config = ModelConfig(base_price=100.0, memory_limit_mb=500)
    impact_model = ImpactModel(model_type="linear", config=config)
    orderbook_data = impact_model.generate_synthetic_orderbook(n_snapshots=390, n_levels=20)
    slippage_data = impact_model.estimate_slippage(orderbook_data)
    fit_results = impact_model.fit_model(slippage_data)
    print(f"Model R² score: {fit_results['metrics']['test_r2']:.4f}")
    optimizer_config = OptimizerConfig(default_solver=SolverType.CVXPY, max_iterations=1000, timeout_seconds=60)
    allocator = TradeAllocator(impact_model=impact_model, total_shares=100000, n_intervals=390, config=optimizer_config)
    results = allocator.optimize()
    print(f"Cost improvement: {results['improvement_pct']:.2f}%")
    print(f"Total shares allocated: {results['optimal_allocation'].sum():,.0f}")
    print(f"Allocation range: {results['optimal_allocation'].min():.0f} - {results['optimal_allocation'].max():.0f}")
    assert fit_results["metrics"]["test_r2"] > 0.8
    assert results["improvement_pct"] > 0
    check_schedule(results, 100_000)
    assert "Total shares allocated: 100,000" in capsys.readouterr().out


@pytest.mark.parametrize("factor", [1e-9, 0.8, 1.2, 3, 1e6, math.nextafter(math.inf, 0.0)])
def test_configuration_any_positive_volatility_makes_books_that_bear_a_schedule(factor: float) -> None:
    for kind, price in (("linear", 150.0), ("nonlinear", 100.0)):
        model = ImpactModel(model_type=kind, config=ModelConfig(base_price=price, volatility_factor=factor))
        books = model.generate_synthetic_orderbook(n_snapshots=40)
        assert len(books) == 40 * 2 * 10
        assert np.isfinite(books["price"]).all()
        assert (books["size"] > 0).all()
        model.fit_model(model.estimate_slippage(books))
        check_schedule(TradeAllocator(model, 10_000, 20, OptimizerConfig(SolverType.EXACT)).optimize(), 10_000)


def test_solver_selection() -> None:
    model = ImpactModel(config=ModelConfig(base_price=100.0, memory_limit_mb=500, progress_logging=True))
    model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(60)))
    config = OptimizerConfig(default_solver=SolverType.CVXPY, max_iterations=1000, tolerance=1e-8)
    allocator = TradeAllocator(model, 10_000, 60, config)
    results_scipy = allocator.optimize(solver=SolverType.SCIPY)
    results_cvxpy = allocator.optimize(solver=SolverType.CVXPY)
    results_auto = allocator.optimize()
    assert results_scipy["optimal_cost"] == pytest.approx(results_cvxpy["optimal_cost"], rel=1e-6)
    assert results_auto["solver_used"] == results_cvxpy["solver_used"]


# -- dummy data -------------------------------------------------------------------------------------------------------


def dummy_data() -> dict[str, Any]:
    model = ImpactModel(model_type="linear")
    orderbook_data = model.generate_synthetic_orderbook(n_snapshots=390, n_levels=20)
    assert len(orderbook_data) > 0
    for column in ("time", "price", "size", "side"):
        assert column in orderbook_data.columns
    slippage_data = model.estimate_slippage(orderbook_data)
    model.fit_model(slippage_data)
    results = TradeAllocator(model, total_shares=100000, n_intervals=390).optimize()
    assert results["improvement_pct"] > 0
    assert abs(results["optimal_allocation"].sum() - 100000) < 1e-6
    return results


def test_dummy_data() -> None:
    assert len(dummy_data()["optimal_allocation"]) == 390


@pytest.mark.parametrize(
    ("n_snapshots", "n_levels", "total_shares"), [(100, 5, 10_000), (390, 20, 100_000), (1000, 50, 500_000)]
)
def test_stress(n_snapshots: int, n_levels: int, total_shares: int) -> None:
    model = ImpactModel(model_type="linear")
    orderbook_data = model.generate_synthetic_orderbook(n_snapshots=n_snapshots, n_levels=n_levels)
    slippage_data = model.estimate_slippage(orderbook_data)
    model.fit_model(slippage_data)
    results = TradeAllocator(model, total_shares=total_shares, n_intervals=n_snapshots).optimize()
    assert results["improvement_pct"] > 0
    check_schedule(results, total_shares)


# -- live and recorded frames -----------------------------------------------------------------------------------------


def by_hand(live_data: pd.DataFrame) -> pd.DataFrame:
    """Convert row by row, as scripts of their own do; the time is what the frame's index has."""
    formatted: list[dict[str, Any]] = []
    for idx, row in live_data.iterrows():
        formatted += [
            {"time": idx, "side": side, "price": row[f"{side}_price"], "size": row[f"{side}_size"], "level": 0}
            for side in ("bid", "ask")
        ]
    return pd.DataFrame(formatted)


@pytest.mark.parametrize("index", ["row numbers", "times"])
@pytest.mark.parametrize("convert", [convert_live_data_to_system_format, by_hand])
def test_live_frame(convert: Callable[[pd.DataFrame], pd.DataFrame], index: str) -> None:
    live_data = quotes()
    if index == "times":
        live_data.index = pd.DatetimeIndex(live_data["timestamp"], name="at")
    required_columns = ["timestamp", "bid_price", "ask_price", "bid_size", "ask_size"]
    assert all(col in live_data.columns for col in required_columns)
    formatted_data = convert(live_data)
    model = ImpactModel(model_type="linear")
    slippage_data = model.estimate_slippage(formatted_data)
    model.fit_model(slippage_data)
    results = TradeAllocator(model, total_shares=50000, n_intervals=390).optimize()
    check_schedule(results, 50_000)
    avg_volume = live_data[["bid_size", "ask_size"]].mean().mean()
    assert results["optimal_allocation"].max() <= avg_volume * 10
    assert 0 <= results["improvement_pct"] <= 50


def historical(path: Path) -> dict[str, Any]:
    historical_data = pd.read_csv(path)
    model = ImpactModel(model_type="linear")
    slippage_data = model.estimate_slippage(historical_data)
    model.fit_model(slippage_data)
    return TradeAllocator(model, total_shares=75000, n_intervals=390).optimize()


def benchmarks() -> dict[str, float]:
    found = {}
    start_time = time.perf_counter()
    model = ImpactModel()
    data = model.generate_synthetic_orderbook(n_snapshots=1000, n_levels=20)
    found["data_generation_time"] = time.perf_counter() - start_time
    start_time = time.perf_counter()
    slippage_data = model.estimate_slippage(data)
    model.fit_model(slippage_data)
    found["model_fitting_time"] = time.perf_counter() - start_time
    allocator = TradeAllocator(model, total_shares=100000, n_intervals=390)
    start_time = time.perf_counter()
    allocator.optimize()
    found["optimization_time"] = time.perf_counter() - start_time
    return found


def test_daily_test(tmp_path: Path) -> None:
    path = tmp_path / "historical_orderbook_sample.csv"
    ImpactModel().generate_synthetic_orderbook(390, 10, seed=4).to_csv(path, index=False)
    check_schedule(dummy_data(), 100_000)
    check_schedule(historical(path), 75_000)
    # What each takes belongs to the machine (`impactd selftest` holds it to limits); here they only have to run.
    assert all(seconds > 0.0 for seconds in benchmarks().values())


# -- monitor ----------------------------------------------------------------------------------------------------------


def test_monitor(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = ProductionMonitor()
    start_time = time.time()
    ImpactModel().generate_synthetic_orderbook(10)
    monitor.log_performance("optimization", max(time.time() - start_time, 0.0))
    print(monitor.generate_monitoring_report())
    assert "NOT ENOUGH DATA" in capsys.readouterr().out
    for _ in range(5):
        monitor.log_performance("optimization", 0.3)
        monitor.log_accuracy(predicted_impact=0.0185, actual_impact=0.019)
    print(monitor.generate_monitoring_report())
    said = capsys.readouterr().out
    assert "HEALTHY" in said
    assert "{" not in said


# -- complete example -------------------------------------------------------------------------------------------------


def test_complete_example(capsys: pytest.CaptureFixture[str]) -> None:
    model_config = ModelConfig(base_price=100.0, memory_limit_mb=200, progress_logging=True)
    optimizer_config = OptimizerConfig(default_solver=SolverType.CVXPY, max_iterations=1000, tolerance=1e-8)
    impact_model = ImpactModel(model_type="linear", config=model_config)
    orderbook_data = impact_model.generate_synthetic_orderbook(n_snapshots=100, n_levels=10)
    print(f"Generated {len(orderbook_data)} orderbook entries")
    slippage_data = impact_model.estimate_slippage(orderbook_data)
    print(f"Estimated slippage for {len(slippage_data)} scenarios")
    fit_results = impact_model.fit_model(slippage_data)
    print(f"Model fitted with R² = {fit_results['metrics']['test_r2']:.4f}")
    allocator = TradeAllocator(impact_model=impact_model, total_shares=50000, n_intervals=100, config=optimizer_config)
    results = allocator.optimize()
    print(f"  Total Shares: {results['optimal_allocation'].sum():,.0f}")
    print(f"  Cost Improvement: {results['improvement_pct']:.2f}%")
    print(f"  Allocation Range: {results['optimal_allocation'].min():.0f} - {results['optimal_allocation'].max():.0f}")
    print(f"  Solver Used: {results.get('solver_used', 'Unknown')}")
    said = capsys.readouterr().out
    assert "Generated 2000 orderbook entries" in said
    assert "Solver Used: clarabel" in said
    assert fit_results["metrics"]["test_r2"] > 0.8


# -- the document's own blocks ----------------------------------------------------------------------------------------


def blocks(document: Path) -> list[str]:
    """Return the document's blocks that use the system; those that only sketch its classes are left out."""
    found = re.findall(r"```python\n(.*?)```", document.read_text("utf-8"), re.DOTALL)
    return [
        re.sub(r"from working_\w+ import", "from impactd import", block)
        for block in found
        if not re.match(r"class (ModelConfig|OptimizerConfig)\b", block)
    ]


def test_blocks_of_the_document_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = paths.data_dir()
    document = paths.ROOT if directory is None else directory.parent / "original-write-up.md"
    if not document.is_file():
        pytest.skip("the document does not lie beside the repository")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    sample = tmp_path / "data" / "historical_orderbook_sample.csv"
    ImpactModel().generate_synthetic_orderbook(390, 10, seed=4).to_csv(sample, index=False)
    names = {name: getattr(impactd, name) for name in impactd.__all__ if name != "__version__"}
    scope: dict[str, Any] = {
        "__name__": "__main__",
        "time": time,
        "np": np,
        "pd": pd,
        "is_market_open": lambda: True,
        "test_with_live_data_sample": lambda: scope["test_with_live_data"]("polygon"),
        "generate_daily_test_report": lambda results: scope.update(report=results),
        "fetch_polygon_data": lambda *_: quotes(),
        **names,
    }
    # What the order of the document leaves to the reader: a fitted model before it is used.
    model = ImpactModel()
    model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook()))
    scope["model"] = model
    found = blocks(document)
    assert len(found) >= 11
    for block in found:
        exec(compile(block, document.name, "exec"), scope)  # noqa: S102  (the document's own code)
    for name in (
        "test_impact_model_basic_functionality",
        "test_optimization_constraints",
        "test_performance_benchmarks",
        "stress_test_system",
        "daily_production_test",
    ):
        scope[name]()
    assert {"synthetic", "historical", "live", "performance"} == set(scope["report"])
    assert all(scope["report"].values())
    said = capsys.readouterr().out
    assert "Live data test completed successfully" in said
    assert "Performance Metrics" in said or "Insufficient data" in said
