"""A research script as the batch API's contract has it: names, defaults, results and errors."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest

import impactd
from impactd import (
    ImpactModel,
    ModelConfig,
    ModelFittingError,
    OptimizationError,
    OptimizerConfig,
    ProductionMonitor,
    SolverType,
    TradeAllocator,
    ValidationError,
    convert_live_data_to_system_format,
)


def test_script_from_books_to_a_schedule_runs_as_it_is() -> None:
    config = ModelConfig(base_price=50.0, volatility_factor=0.5, memory_limit_mb=200, progress_logging=False)
    for model_type in ("linear", "nonlinear"):
        model = ImpactModel(model_type=model_type, config=config)
        orderbook_data = model.generate_synthetic_orderbook(n_snapshots=50, n_levels=10)
        assert len(orderbook_data) == 50 * 2 * 10
        assert list(orderbook_data.columns) == ["time", "side", "price", "size", "level"]
        assert set(orderbook_data["side"]) == {"bid", "ask"}
        slippage_data = model.estimate_slippage(orderbook_data)
        assert len(slippage_data) == len(slippage_data.drop_duplicates(["time", "size", "side"]))
        results = model.fit_model(slippage_data)
        assert results["metrics"]["test_r2"] > 0.8
        assert {"test_r2", "train_r2", "rmse", "cv_scores"} <= results["metrics"].keys()
        assert "params" in results
        sizes = np.array([[100.0, 500.0], [1_000.0, 2_000.0]])
        assert model.predict_impact(sizes).shape == sizes.shape
        allocator = TradeAllocator(model, total_shares=100_000, n_intervals=50)
        for optimized in (
            allocator.optimize(),
            allocator.optimize(solver=SolverType.EXACT),
            allocator.scipy_optimize(),
            allocator.cvxpy_optimize(),
        ):
            allocation = optimized["optimal_allocation"]
            assert isinstance(allocation, np.ndarray)
            assert len(allocation) == 50
            assert (allocation >= 0).all()
            assert abs(allocation.sum() - 100_000) <= 1e-6
            assert optimized["optimal_cost"] <= optimized["equal_cost"]
            assert optimized["improvement_pct"] >= 0
            assert {"solver_used", "certificate"} <= optimized.keys()
            assert optimized["improvement_basis"] == "hindsight"


def test_defaults_are_those_of_the_contract() -> None:
    assert (ModelConfig().base_price, ModelConfig().volatility_factor) == (100.0, 0.5)
    assert (ModelConfig().memory_limit_mb, ModelConfig().progress_logging) == (200, False)
    config = OptimizerConfig()
    assert (config.default_solver, config.max_iterations) == (SolverType.CVXPY, 1000)
    assert (config.tolerance, config.timeout_seconds) == (1e-8, 300)
    assert {kind.name for kind in SolverType} == {"ANALYTICAL", "EXACT", "SCIPY", "CVXPY", "AUTO"}
    assert inspect.signature(ImpactModel).parameters["model_type"].default == "linear"
    assert inspect.signature(TradeAllocator).parameters["n_intervals"].default == 50
    generate = inspect.signature(ImpactModel.generate_synthetic_orderbook).parameters
    assert (generate["n_snapshots"].default, generate["n_levels"].default) == (100, 10)


def test_quotes_of_one_level_go_all_the_way() -> None:
    n = 120
    quotes = pd.DataFrame(
        {
            "timestamp": pd.date_range("2025-04-03 13:30", periods=n, freq="1s", tz="UTC"),
            "bid_price": 99.98 - 0.01 * (np.arange(n) % 3),
            "ask_price": 100.02 + 0.01 * (np.arange(n) % 2),
            "bid_size": 500 + 10 * np.arange(n),
            "ask_size": 400 + 20 * np.arange(n),
        }
    )
    books = convert_live_data_to_system_format(quotes)
    model = ImpactModel()
    model.fit_model(model.estimate_slippage(books, [50, 100, 200, 300, 390]))
    assert (model.predict_impact([100.0, 200.0]) > 0).all()


def test_errors_carry_their_code_and_a_remedy() -> None:
    model = ImpactModel()
    with pytest.raises(ValidationError) as missing:
        model.estimate_slippage(pd.DataFrame({"time": [1], "side": ["bid"], "price": [1.0]}))
    assert missing.value.code == 1002
    assert "size" in str(missing.value)
    books = model.generate_synthetic_orderbook(5, 3)
    with pytest.raises(ValidationError) as malformed:
        model.estimate_slippage(books.assign(price="abc"))
    assert malformed.value.code == 1001
    with pytest.raises(ModelFittingError) as little:
        model.predict_impact([100.0])
    assert little.value.code == 2001
    model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(20, 10)))
    with pytest.raises(OptimizationError) as caps:
        TradeAllocator(model, 1_000, 10, max_interval_qty=50.0).optimize()
    assert caps.value.code == 3002
    for error in (missing, malformed, little, caps):
        # What is wrong, and then what to do.
        assert "; " in str(error.value)


def test_monitor_states_healthy_attention_or_too_little() -> None:
    monitor = ProductionMonitor()
    assert monitor.generate_monitoring_report()["status"] not in {"HEALTHY", "NEEDS ATTENTION"}
    for _ in range(5):
        monitor.log_performance("optimize", 0.5)
        monitor.log_accuracy(100.0, 104.0)
    assert monitor.generate_monitoring_report()["status"] == "HEALTHY"
    for _ in range(20):
        monitor.log_performance("optimize", 5.0)
    assert monitor.generate_monitoring_report()["status"] == "NEEDS ATTENTION"


def test_every_name_of_the_contract_is_exported() -> None:
    names = (
        "ImpactModel ModelConfig TradeAllocator OptimizerConfig SolverType ProductionMonitor ValidationError "
        "ModelFittingError OptimizationError convert_live_data_to_system_format read_books write_books"
    )
    assert set(names.split()) <= set(impactd.__all__)
