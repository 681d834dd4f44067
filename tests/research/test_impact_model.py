"""Generated books, slippage, fits and predictions of the batch API."""

from __future__ import annotations

import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from impactd import ImpactModel, ModelConfig, ValidationError, read_books
from impactd.core.base.settings import ModelSettings
from impactd.core.books.walk import walk
from impactd.core.model.kinds.registry import impact_model
from impactd.research.fitted import LEAST_ORIGIN_R2
from impactd.research.regression import ImpactRegressor, as_design
from tests.research.errors import fails


def history(n_snapshots: int = 50, n_levels: int = 10, seed: int = 0) -> pd.DataFrame:
    return ImpactModel().generate_synthetic_orderbook(n_snapshots, n_levels, seed=seed)


def slippage_of(curve: dict[str, list[tuple[float, float]]], side: str = "buy") -> pd.DataFrame:
    rows = [(time, side, size, g) for time, cells in curve.items() for size, g in cells]
    table = pd.DataFrame(rows, columns=["time", "side", "size", "slippage"])
    return table.assign(time=pd.to_datetime(table["time"]))


# -- generated books -------------------------------------------------------------------------------------------------


def test_generate_gives_two_rows_a_level_and_snapshot() -> None:
    books = history(7, 3)
    assert list(books.columns) == ["time", "side", "price", "size", "level"]
    assert len(books) == 7 * 3 * 2
    assert books["time"].nunique() == 7
    assert set(books["side"]) == {"bid", "ask"}
    assert sorted(set(books["level"])) == [0, 1, 2]


def test_generate_same_seed_gives_same_books() -> None:
    pd.testing.assert_frame_equal(history(seed=3), history(seed=3))
    assert not history(seed=3).equals(history(seed=4))
    configured = ImpactModel(config=ModelConfig(seed=3)).generate_synthetic_orderbook(50, 10)
    pd.testing.assert_frame_equal(configured, history(seed=3))


def test_generate_spread_is_wide_and_depth_thin_at_the_open() -> None:
    books = history(100, 10)
    best = books[books["level"] == 0].pivot_table(index="time", columns="side", values="price")
    spread = (best["ask"] - best["bid"]).to_numpy()
    depth = books.groupby("time")["size"].sum().to_numpy()
    assert spread[:5].mean() > 1.5 * spread[40:60].mean()
    assert depth[:5].mean() < depth[-5:].mean()


@pytest.mark.parametrize(("n_snapshots", "n_levels"), [(0, 10), (10, 0), (10, 101), (2.5, 10), (True, 10), ("10", 10)])
def test_generate_bad_counts_are_1001(n_snapshots: object, n_levels: object) -> None:
    with fails(1001, "n_levels" if n_snapshots == 10 else "n_snapshots"):
        ImpactModel().generate_synthetic_orderbook(n_snapshots, n_levels)  # type: ignore[arg-type]  # wrong on purpose


def test_generate_beyond_memory_limit_is_1001_before_the_work() -> None:
    model = ImpactModel(config=ModelConfig(memory_limit_mb=10))
    with fails(1001, "memory_limit_mb"):
        model.generate_synthetic_orderbook(10_000_000, 100)


# -- slippage ---------------------------------------------------------------------------------------------------------


def test_estimate_equals_the_core_walk() -> None:
    books = history(5, 4)
    sizes = [50.0, 333.0, 1e6]
    table = ImpactModel().estimate_slippage(books, sizes)
    assert len(table) == 5 * 2 * 3
    for (time, side, size), row in table.set_index(["time", "side", "size"]).iterrows():
        snapshot = books[books["time"] == time]
        bid, ask = (snapshot[snapshot["side"] == name] for name in ("bid", "ask"))
        levels = ask if side == "buy" else bid
        mid = (bid["price"].iloc[0] + ask["price"].iloc[0]) / 2
        expected, filled = walk(levels["price"].to_numpy(), levels["size"].to_numpy(), size, mid)
        np.testing.assert_allclose(row["slippage"], expected, rtol=1e-12)
        assert row["coverage"] == float(filled == size)


def test_estimate_size_beyond_depth_is_nan_with_a_lower_bound() -> None:
    row = ImpactModel().estimate_slippage(history(1, 2), [1e6]).iloc[0]
    assert np.isnan(row["slippage"])
    assert row["coverage"] == 0.0
    assert row["lower_bound"] > row["half_spread"]


def test_estimate_default_sizes_follow_the_depth() -> None:
    books = history(20, 10)
    thin = ImpactModel().estimate_slippage(books)
    deep = ImpactModel().estimate_slippage(books.assign(size=books["size"] * 10))
    assert thin["size"].nunique() == 16
    np.testing.assert_allclose(sorted(set(deep["size"])), 10 * np.array(sorted(set(thin["size"]))), rtol=0.02)
    assert thin["coverage"].mean() > 0.95


@pytest.mark.parametrize("shift", [0, 1])
def test_estimate_order_and_numbering_of_rows_do_not_matter(shift: int) -> None:
    books = history(6, 5)
    shuffled = books.sample(frac=1.0, random_state=1).assign(level=lambda t: t["level"] + shift)
    model = ImpactModel()
    pd.testing.assert_frame_equal(model.estimate_slippage(shuffled), model.estimate_slippage(books))


@pytest.mark.parametrize("kind", ["text", "naive", "nanoseconds", "category"])
def test_estimate_takes_times_in_any_form(kind: str) -> None:
    books = history(4, 3)
    times = {
        "text": books["time"].map(lambda t: t.isoformat()),
        "naive": books["time"].dt.tz_localize(None),
        "nanoseconds": books["time"].astype("int64"),
        "category": books["time"].astype("category"),
    }
    table = ImpactModel().estimate_slippage(books.assign(time=times[kind]), [100.0])
    plain = ImpactModel().estimate_slippage(books, [100.0])
    np.testing.assert_array_equal(table["slippage"], plain["slippage"])


def test_estimate_one_level_works() -> None:
    books = history(20, 1)
    table = ImpactModel().estimate_slippage(books)
    held = table[table["coverage"] == 1.0]
    assert len(held) > 0
    np.testing.assert_allclose(held["slippage"], held["half_spread"])
    result = ImpactModel("linear").fit_model(table)
    assert np.isfinite(result["metrics"]["test_r2"])


def test_estimate_unusable_snapshots_are_left_out_and_counted() -> None:
    books = history(4, 2)
    first, second = books["time"].unique()[:2]
    books.loc[(books["time"] == first) & (books["side"] == "bid"), "price"] += 10.0
    books.loc[(books["time"] == second) & (books["level"] == 1), "size"] = -5.0
    table = ImpactModel().estimate_slippage(books, [10.0])
    assert table["time"].nunique() == 2
    assert table.attrs["rejected"] == {"crossed": 1, "size": 1}


def test_estimate_only_unusable_snapshots_is_1001() -> None:
    books = history(2, 2)
    books.loc[books["side"] == "bid", "price"] += 10.0
    with fails(1001, "orderbook_data"):
        ImpactModel().estimate_slippage(books)


@pytest.mark.parametrize("column", ["time", "side", "price", "size", "level"])
def test_estimate_missing_column_is_1002_and_named(column: str) -> None:
    with fails(1002, column):
        ImpactModel().estimate_slippage(history(2, 2).drop(columns=column))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("price", "n/a"),
        ("size", "many"),
        ("side", "middle"),
        ("level", 0.5),
        ("level", 5_000),
        ("time", "noon"),
        ("time", None),
    ],
)
def test_estimate_malformed_value_is_1001_and_named(column: str, value: object) -> None:
    books = history(2, 2)
    books[column] = books[column].astype(object)
    books.loc[3, column] = value
    with fails(1001, column):
        ImpactModel().estimate_slippage(books)


def test_estimate_text_that_is_numbers_will_do() -> None:
    books = history(2, 2)
    table = ImpactModel().estimate_slippage(books.assign(price=books["price"].map(str)), [10.0])
    pd.testing.assert_frame_equal(table, ImpactModel().estimate_slippage(books, [10.0]))


@pytest.mark.parametrize("sizes", [[], [0.0], [-1.0], [float("nan")], ["x"]])
def test_estimate_bad_trade_sizes_are_1001(sizes: list[float]) -> None:
    with fails(1001, "trade_sizes"):
        ImpactModel().estimate_slippage(history(2, 2), sizes)


def test_estimate_level_twice_is_1001() -> None:
    books = history(2, 2)
    with fails(1001, "level"):
        ImpactModel().estimate_slippage(pd.concat([books, books.iloc[[3]]]))


@pytest.mark.parametrize("table", [None, [], pd.DataFrame(columns=["time", "side", "price", "size", "level"])])
def test_estimate_of_nothing_is_1001(table: object) -> None:
    with pytest.raises(ValidationError) as error:
        ImpactModel().estimate_slippage(table)  # type: ignore[arg-type]  # wrong on purpose
    assert error.value.code == 1001


def test_estimate_minutes_without_books_have_no_row() -> None:
    books = history(4, 2)
    start = pd.Timestamp("2025-06-02 13:30", tz="UTC")
    minutes = dict(zip(books["time"].unique(), (0, 1, 200, 201), strict=True))
    books["time"] = books["time"].map(lambda t: start + pd.Timedelta(minutes=minutes[t]))
    table = ImpactModel().estimate_slippage(books, [10.0], interval="1min")
    # The second book stands for an hour, until the feed counts as lost.
    seen = ((table["time"] - start).dt.total_seconds() / 60).astype(int)
    assert sorted(set(seen)) == [*range(61), 200, 201]


# -- memory -----------------------------------------------------------------------------------------------------------


def ten_million_rows() -> pd.DataFrame:
    n, levels = 500_000, 10
    k = np.arange(levels)
    price = np.concatenate([100.0 - 0.01 * (1 + k), 100.0 + 0.01 * (1 + k)])
    time = pd.DatetimeIndex(np.int64(1_743_687_000_000_000_000) + np.arange(n) * 40_000_000, tz="UTC")
    return pd.DataFrame(
        {
            "time": time.repeat(2 * levels),
            "side": pd.Categorical.from_codes(np.tile(np.repeat([0, 1], levels), n), ["bid", "ask"]),
            "price": np.tile(price, n),
            "size": np.full(n * 2 * levels, 100.0),
            "level": np.tile(k, 2 * n).astype(np.int8),
        }
    )


def resident(field: str) -> float:
    """Return a figure of this process's memory in bytes: VmRSS now, VmHWM at its highest."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(1024.0 * int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{field}:"))


def test_estimate_ten_million_rows_stays_within_the_limit_or_reports_it() -> None:
    books = ten_million_rows()
    model = ImpactModel(config=ModelConfig(memory_limit_mb=200))
    with fails(1001, "memory_limit_mb"):
        model.estimate_slippage(books)
    resettable = Path("/proc/self/clear_refs")
    if resettable.exists():
        # 5: the highest mark of resident memory begins again from what is resident now.
        resettable.write_text("5", encoding="ascii")
        before = resident("VmRSS")
    table = model.estimate_slippage(books, interval="1min")
    if resettable.exists():
        assert resident("VmHWM") - before < 200e6
    assert len(table) == 334 * 2 * 16
    assert model.fit_model(table)["metrics"]["n_intervals"] == 334
    tracemalloc.start()
    try:
        model.estimate_slippage(books, interval="5min")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200e6


def test_estimate_in_parts_gives_the_same_as_at_once() -> None:
    books = history(60, 10)
    parts = ImpactModel(config=ModelConfig(memory_limit_mb=0.3))
    for sizes in (None, [100.0, 300.0]):
        table = parts.estimate_slippage(books, sizes)
        pd.testing.assert_frame_equal(table, ImpactModel().estimate_slippage(books, sizes))
    whole = ImpactModel().estimate_slippage(books, interval="5min")
    pd.testing.assert_frame_equal(parts.estimate_slippage(books, interval="5min"), whole)


def test_progress_logging_shows_a_bar_and_log_lines(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = ImpactModel("linear", ModelConfig(progress_logging=True, memory_limit_mb=2))
    with caplog.at_level(logging.INFO, logger="impactd.research"):
        books = model.generate_synthetic_orderbook(300, 5)
        model.fit_model(model.estimate_slippage(books))
    shown = capfd.readouterr().err
    assert "generating books" in shown
    assert "fitting curves" in shown
    assert any("fitted linear" in record.message for record in caplog.records)


def test_progress_logging_off_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    model = ImpactModel()
    model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(20, 3)))
    assert capfd.readouterr() == ("", "")


# -- fits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("model_type", ["linear", "nonlinear", "quadratic", "power"])
def test_fit_fifty_generated_snapshots_reaches_r2(model_type: str, seed: int) -> None:
    model = ImpactModel(model_type)
    metrics = model.fit_model(model.estimate_slippage(history(seed=seed)))["metrics"]
    assert metrics["test_r2"] > 0.8
    assert metrics["train_r2"] >= metrics["test_r2"]
    assert len(metrics["cv_scores"]) == 5
    assert metrics["rmse"] > 0.0


def test_fit_score_of_unseen_times_is_stated_apart() -> None:
    model = ImpactModel()
    metrics = model.fit_model(model.estimate_slippage(history()))["metrics"]
    assert metrics["test_r2_unseen_times"] < metrics["test_r2"]


@pytest.mark.parametrize("seed", range(3))
def test_fit_no_type_named_generated_books_have_the_line_through_the_origin(seed: int) -> None:
    model = ImpactModel()
    result = model.fit_model(model.estimate_slippage(history(seed=seed)))
    metrics = result["metrics"]
    assert (metrics["model"], metrics["intercept"], metrics["basis"]) == ("linear", False, "origin_fits")
    assert metrics["test_r2_within"] >= LEAST_ORIGIN_R2
    assert metrics["fits"]
    assert result["params"]["half_spread"] == 0.0


@pytest.mark.parametrize("interval", ["1min", None])
@pytest.mark.parametrize("name", ["FROG_2025-04-03_mbp10.csv.gz", "ARL_2025-07-17_mbp10.csv.gz"])
def test_fit_no_type_named_recorded_books_have_the_least_error_out_of_sample(
    data_dir: Path, name: str, interval: str | None
) -> None:
    config = ModelConfig(memory_limit_mb=2_000)
    slippage = ImpactModel(config=config).estimate_slippage(
        read_books(data_dir / name, symbol=name.partition("_")[0]), interval=interval
    )
    model = ImpactModel(config=config)
    metrics = model.fit_model(slippage)["metrics"]
    assert metrics["basis"] == "least_error"
    assert metrics["intercept"]
    assert metrics["rmse"] == min(metrics["rmse_by_model"].values())
    assert metrics["test_r2_within"] > 0.8
    assert model.model_type == metrics["model"]
    # A model that is named is what its name says, whether or not it fits.
    named = ImpactModel("linear").fit_model(slippage)["metrics"]
    assert (named["intercept"], named["basis"], named["fits"]) == (False, "named", False)
    assert named["rmse"] == metrics["rmse_by_model"]["linear, through the origin"]


def test_fit_that_does_not_fit_warns(caplog: pytest.LogCaptureFixture) -> None:
    curve = {f"2025-06-02 14:{minute:02}": [(q, 0.05 + 1e-6 * q) for q in (100, 200, 300, 400)] for minute in range(9)}
    assert not ImpactModel("linear").fit_model(slippage_of(curve))["metrics"]["fits"]
    assert "ModelConfig(intercept=True)" in caplog.text


def test_fit_books_of_one_level_pass_through_the_origin_although_that_does_not_fit() -> None:
    model = ImpactModel()
    metrics = model.fit_model(model.estimate_slippage(history(n_levels=1)))["metrics"]
    assert (metrics["intercept"], metrics["basis"], metrics["fits"]) == (False, "no_rise", False)


@pytest.mark.parametrize("intercept", [True, False])
def test_fit_intercept_that_is_given_is_not_chosen(intercept: bool) -> None:  # noqa: FBT001  (a parameter)
    model = ImpactModel(config=ModelConfig(intercept=intercept))
    metrics = model.fit_model(model.estimate_slippage(history()))["metrics"]
    assert (metrics["model"], metrics["intercept"], metrics["basis"]) == ("linear", intercept, "given")


def test_fit_known_curves_are_found() -> None:
    sizes = [100.0, 200.0, 400.0, 800.0]
    cells = {f"2025-06-02 14:0{i}": [(q, (1 + i) * 1e-4 * q + 1e-7 * q * q) for q in sizes] for i in range(3)}
    result = ImpactModel("nonlinear").fit_model(slippage_of(cells))
    intervals = result["params"]["intervals"]
    np.testing.assert_allclose(intervals["beta"], [1e-4, 2e-4, 3e-4], rtol=1e-9)
    np.testing.assert_allclose(intervals["alpha"], 1e-7, rtol=1e-9)
    assert result["params"]["eta"] is None
    assert result["metrics"]["test_r2"] == pytest.approx(1.0)


def test_fit_power_finds_the_exponent() -> None:
    cells = {f"2025-06-02 14:0{i}": [(q, 0.01 + 1e-3 * q**0.6) for q in (50.0, 100.0, 400.0, 900.0)] for i in range(3)}
    params = ImpactModel("power").fit_model(slippage_of(cells))["params"]
    assert params["delta"] == 0.6
    assert params["half_spread"] == pytest.approx(0.01)
    assert params["eta"] == pytest.approx(1e-3)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("kind", ["linear", "quadratic", "power"])
def test_fit_groups_equal_the_core_fit(kind: str, intercept: bool) -> None:  # noqa: FBT001  (a parameter)
    rng = np.random.default_rng(0)
    sizes = np.tile(np.linspace(100.0, 1500.0, 9), 6)
    group = np.repeat(np.arange(6), 9)
    g = 0.01 + 2e-5 * sizes * (1 + group) + 1e-3 * rng.random(54)
    weight = 0.95 + 0.05 * rng.random(54)
    regressor = ImpactRegressor(kind, intercept).fit(as_design(group, sizes), g, weight)
    curves = regressor.curves_
    model = impact_model(ModelSettings(kind=kind, intercept=intercept))
    for i in range(6):
        rows = group == i
        fits = model.fit(sizes[rows], g[rows], weight[rows], curves.q_ref)
        fit = next(fit for fit in fits if kind != "power" or fit.shape == curves.shape[i])
        assert curves.half_spread[i] == pytest.approx(fit.half_spread, rel=1e-9, abs=1e-15)
        assert curves.excess[i] == pytest.approx(fit.excess, rel=1e-9)
        assert curves.shape[i] == pytest.approx(fit.shape, rel=1e-6, abs=1e-9)


def test_fit_one_snapshot_has_no_score_of_unseen_times() -> None:
    model = ImpactModel()
    metrics = model.fit_model(model.estimate_slippage(history(1, 10)))["metrics"]
    assert metrics["n_intervals"] == 1
    assert metrics["test_r2_unseen_times"] is None


@pytest.mark.parametrize("model_type", ["linear", "nonlinear", "quadratic", "power"])
def test_fit_too_few_sizes_is_2001(model_type: str) -> None:
    table = slippage_of({"2025-06-02 14:00": [(100.0, 0.01)], "2025-06-02 14:01": [(100.0, 0.02)]})
    with fails(2001, "slippage_data"):
        ImpactModel(model_type).fit_model(table)


def test_fit_few_sizes_are_scored_in_fewer_folds() -> None:
    table = slippage_of({"2025-06-02 14:00": [(q, 1e-4 * q) for q in (100.0, 200.0, 300.0, 400.0)]})
    metrics = ImpactModel().fit_model(table)["metrics"]
    assert len(metrics["cv_scores"]) == 2
    assert metrics["test_r2"] == pytest.approx(1.0)


def test_fit_sides_at_different_times_are_scored_each_by_its_own() -> None:
    sizes = (100.0, 200.0, 300.0, 400.0)
    buys = slippage_of({f"2025-06-02 14:0{i}": [(q, 1e-4 * q) for q in sizes] for i in range(4)})
    sells = slippage_of({"2025-06-02 15:00": [(q, 3e-4 * q) for q in sizes]}, "sell")
    result = ImpactModel().fit_model(pd.concat([buys, sells], ignore_index=True))
    assert result["metrics"]["test_r2_unseen_times"] == pytest.approx(1.0)
    assert result["params"]["sell"]["beta"] == pytest.approx(3e-4)


def test_fit_nothing_held_is_2001() -> None:
    model = ImpactModel()
    with fails(2001, "slippage_data"):
        model.fit_model(model.estimate_slippage(history(3, 2), [1e6, 2e6]))


def test_fit_flat_curves_are_2002() -> None:
    table = slippage_of({"2025-06-02 14:00": [(q, 0.0) for q in (100.0, 200.0, 300.0, 400.0)]})
    with fails(2002, "slippage_data"):
        ImpactModel().fit_model(table)


@pytest.mark.parametrize("column", ["time", "side", "size", "slippage"])
def test_fit_missing_column_is_1002(column: str) -> None:
    table = ImpactModel().estimate_slippage(history(2, 3)).drop(columns=column)
    with fails(1002, column):
        ImpactModel().fit_model(table)


# -- prediction -------------------------------------------------------------------------------------------------------


def test_predict_has_the_shape_of_its_input() -> None:
    model = ImpactModel("nonlinear")
    model.fit_model(model.estimate_slippage(history()))
    for sizes in (100.0, [100.0, 200.0], np.ones((2, 3, 4)), []):
        assert model.predict_impact(sizes).shape == np.shape(sizes)
    assert model.predict_impact(0.0) == 0.0
    curve = model.predict_impact(np.linspace(0.0, 1_000.0, 20))
    assert (np.diff(curve) > 0.0).all()
    both = (model.predict_impact(500.0, side="buy") + model.predict_impact(500.0, side="sell")) / 2
    assert model.predict_impact(500.0) == pytest.approx(float(both))


@pytest.mark.parametrize("sizes", [[-1.0], [float("nan")], ["x"]])
def test_predict_bad_sizes_are_1001(sizes: list[float]) -> None:
    model = ImpactModel()
    model.fit_model(model.estimate_slippage(history(5, 5)))
    with pytest.raises(ValidationError) as error:
        model.predict_impact(sizes)
    assert error.value.code == 1001


def test_predict_before_a_fit_is_2001() -> None:
    with fails(2001, "model"):
        ImpactModel().predict_impact([1.0])


def test_model_of_unknown_type_is_1001() -> None:
    with fails(1001, "model_type"):
        ImpactModel("cubic")


@pytest.mark.parametrize(
    "field",
    [
        {"base_price": 0},
        {"base_price": "x"},
        {"volatility_factor": -1},
        {"memory_limit_mb": 0},
        {"seed": -1},
        {"progress_logging": 1},
    ],
)
def test_config_bad_value_is_1001_and_named(field: dict[str, object]) -> None:
    with fails(1001, next(iter(field))):
        ModelConfig(**field)  # type: ignore[arg-type]  # wrong on purpose
