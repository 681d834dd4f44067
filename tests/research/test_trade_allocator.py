"""Schedules of the batch API: solvers that agree, limits that are kept, failures that are shown."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from impactd import (
    ImpactModel,
    OptimizationError,
    OptimizerConfig,
    SolverType,
    TradeAllocator,
)
from impactd.core.allocator.cost import schedule_cost
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure
from impactd.core.allocator.solvers.registry import SOLVERS, get_solver
from impactd.research import solver_process
from impactd.research.solver_process import TimedOut, solve
from impactd.research.trade_allocator import CHAINS, mapped
from tests.research.errors import fails

EXACT = OptimizerConfig(default_solver=SolverType.EXACT)


@pytest.fixture(scope="module")
def linear() -> ImpactModel:
    return fitted("linear")


@pytest.fixture(scope="module")
def nonlinear() -> ImpactModel:
    """Return a model of curves that bend upward, which generated books do not."""
    return of_curves("nonlinear", bend=1e-8)


@pytest.fixture(scope="module")
def straightened() -> ImpactModel:
    """Return the lines through the same curves."""
    return of_curves("linear", bend=1e-8)


def of_curves(model_type: str, bend: float) -> ImpactModel:
    rng = np.random.default_rng(5)
    sizes = np.linspace(100.0, 2_000.0, 8)
    rows = []
    for minute, (slope, curve) in enumerate(rng.uniform(0.5, 2.0, (50, 2))):
        time_ = pd.Timestamp("2025-06-02 14:00", tz="UTC") + pd.Timedelta(minutes=minute)
        rows += [(time_, "buy", q, slope * 1e-5 * q + curve * bend * q * q) for q in sizes]
    model = ImpactModel(model_type)
    model.fit_model(pd.DataFrame(rows, columns=["time", "side", "size", "slippage"]))
    return model


def fitted(model_type: str, n_snapshots: int = 50, n_levels: int = 10) -> ImpactModel:
    model = ImpactModel(model_type)
    model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(n_snapshots, n_levels)))
    return model


def check_schedule(result: dict[str, object], total: float) -> None:
    x = result["optimal_allocation"]
    assert isinstance(x, np.ndarray)
    assert (x >= 0.0).all()
    assert abs(x.sum() - total) <= 1e-6


# -- the linear case --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["analytical", "exact", "clarabel", "osqp", "scs", "slsqp", "trust-constr"])
def test_every_solver_linear_case_agrees_with_the_closed_form(linear: ImpactModel, solver: str) -> None:
    allocator = TradeAllocator(linear, 20_000, 30)
    result = allocator.solve_with(solver)
    share = 1.0 / allocator.problem.curve.b
    expected = schedule_cost(allocator.problem, 20_000 * share / share.sum())
    check_schedule(result, 20_000)
    assert result["optimal_cost"] == pytest.approx(expected, rel=1e-6)
    assert result["solver_used"] == solver
    assert result["certificate"]["kkt_residual"] <= 1e-8
    assert [attempt["outcome"] for attempt in result["attempts"]] == ["solved"]


@pytest.mark.parametrize("total", [1.0, 50_000.0, 200_000.0, 1e9])
def test_saving_of_the_linear_case_is_one_less_hm_over_am_whatever_the_size(linear: ImpactModel, total: float) -> None:
    allocator = TradeAllocator(linear, total, config=EXACT)
    result = allocator.optimize()
    b = allocator.problem.curve.b
    assert result["improvement_pct"] == pytest.approx(100.0 * (1.0 - 1.0 / np.mean(1.0 / b) / np.mean(b)), rel=1e-9)
    assert result["improvement_basis"] == "hindsight"
    check_schedule(result, total)


def test_both_libraries_return_the_same_dict(linear: ImpactModel) -> None:
    allocator = TradeAllocator(linear, 20_000, 20)
    scipy, cvxpy = allocator.scipy_optimize(), allocator.cvxpy_optimize()
    assert scipy.keys() == cvxpy.keys()
    assert scipy["solver_used"] in CHAINS[SolverType.SCIPY]
    assert cvxpy["solver_used"] in CHAINS[SolverType.CVXPY]
    assert scipy["optimal_cost"] == pytest.approx(cvxpy["optimal_cost"], rel=1e-6)


def test_default_solver_is_cvxpy(linear: ImpactModel) -> None:
    result = TradeAllocator(linear, 20_000, 20).optimize()
    assert result["solver_used"] == "clarabel"
    assert not result["fell_back"]


# -- other curves -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [5_000.0, 50_000.0])
def test_nonlinear_plan_costs_no_more_than_the_linear_plan_under_the_nonlinear_cost(
    straightened: ImpactModel, nonlinear: ImpactModel, total: float
) -> None:
    plan = TradeAllocator(straightened, total, config=EXACT).optimize()["optimal_allocation"]
    allocator = TradeAllocator(nonlinear, total, config=EXACT)
    assert allocator.optimize()["optimal_cost"] < schedule_cost(allocator.problem, plan)


@pytest.mark.parametrize("model_type", ["nonlinear", "quadratic", "power"])
def test_convex_kinds_solvers_agree(model_type: str) -> None:
    allocator = TradeAllocator(fitted(model_type, 20), 10_000, 20)
    exact = allocator.optimize("exact")["optimal_cost"]
    assert allocator.solve_with("clarabel")["optimal_cost"] == pytest.approx(exact, rel=1e-6)
    assert allocator.solve_with("slsqp")["optimal_cost"] == pytest.approx(exact, rel=1e-6)


def test_risk_brings_the_trade_forward(linear: ImpactModel) -> None:
    plain = TradeAllocator(linear, 20_000, config=EXACT).optimize()["optimal_allocation"]
    averse = TradeAllocator(linear, 20_000, config=EXACT, risk=1e-5).optimize()
    check_schedule(averse, 20_000)
    assert averse["optimal_allocation"][:10].sum() > plain[:10].sum()
    assert averse["objective"] > averse["optimal_cost"]


def test_caps_are_kept_and_equal_parts_obey_them_too(linear: ImpactModel) -> None:
    caps = np.full(50, 500.0)
    caps[:5] = 0.0
    allocator = TradeAllocator(linear, 20_000, max_interval_qty=caps, config=EXACT)
    result = allocator.optimize()
    check_schedule(result, 20_000)
    assert (result["optimal_allocation"] <= caps + 1e-9).all()
    assert (allocator.equal_allocation() <= caps + 1e-9).all()
    assert result["improvement_pct"] > 0.0


@pytest.mark.parametrize("name", ["exact", "clarabel", "slsqp"])
@pytest.mark.parametrize(("total", "n"), [(1_000.0, 6), (300.0, 7), (1.0, 10), (20_000.0, 49)])
def test_caps_of_an_equal_part_give_the_equal_split(linear: ImpactModel, total: float, n: int, name: str) -> None:
    allocator = TradeAllocator(linear, total, n, max_interval_qty=total / n, config=EXACT)
    found = allocator.solve_with(name)
    np.testing.assert_allclose(found["optimal_allocation"], total / n, rtol=1e-9)
    assert math.fsum(found["optimal_allocation"]) == total
    np.testing.assert_allclose(allocator.equal_allocation(), total / n, rtol=1e-9)


def test_caps_too_small_is_3002_and_named(linear: ImpactModel) -> None:
    with fails(3002, "max_interval_qty"):
        TradeAllocator(linear, 1_000, max_interval_qty=10)


# -- intervals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_intervals", [1, 7, 25, 50, 100, 390])
def test_fitted_intervals_are_mapped_onto_any_number(linear: ImpactModel, n_intervals: int) -> None:
    result = TradeAllocator(linear, 10_000, n_intervals, EXACT).optimize()
    assert result["optimal_allocation"].shape == (n_intervals,)
    check_schedule(result, 10_000)


@pytest.mark.parametrize("n_intervals", [1, 3, 6, 7, 13])
def test_mapped_intervals_keep_the_mean(n_intervals: int) -> None:
    terms = np.random.default_rng(0).random((4, 6))
    np.testing.assert_allclose(mapped(terms, n_intervals).mean(axis=1), terms.mean(axis=1), rtol=1e-12)


def test_plan_beyond_the_fitted_range_reports_it(linear: ImpactModel) -> None:
    assert TradeAllocator(linear, 1_000, config=EXACT).optimize()["extrapolated_qty"] == 0.0
    assert TradeAllocator(linear, 1e7, config=EXACT).optimize()["extrapolated_qty"] > 9e6


# -- failures ---------------------------------------------------------------------------------------------------------


def test_solver_that_cannot_is_followed_by_another_and_shown(nonlinear: ImpactModel) -> None:
    result = TradeAllocator(nonlinear, 10_000, 20).optimize(SolverType.ANALYTICAL)
    assert result["solver_used"] == "exact"
    assert result["fell_back"]
    assert [a["outcome"] for a in result["attempts"]] == ["unsupported", "solved"]
    assert "use exact" in result["attempts"][0]["text"]


def test_no_solver_left_is_3001_with_every_attempt(nonlinear: ImpactModel) -> None:
    allocator = TradeAllocator(nonlinear, 10_000, 20, OptimizerConfig(fallback=False))
    with fails(3001, "solver") as error:
        allocator.optimize(SolverType.ANALYTICAL)
    assert [a["outcome"] for a in error.value.attempts] == ["unsupported"]


def test_too_few_iterations_is_no_result_but_a_fallback(nonlinear: ImpactModel) -> None:
    config = OptimizerConfig(default_solver=SolverType.SCIPY, max_iterations=1, tolerance=1e-10)
    result = TradeAllocator(nonlinear, 50_000, 40, config).optimize()
    assert result["solver_used"] == "exact"
    assert result["attempts"][0]["solver"] == "slsqp"
    assert result["attempts"][0]["outcome"] in {"bad_certificate", "not_converged"}


#: With this price on inventory SLSQP takes half a minute for 490 intervals, and trust-constr more than that.
SLOW_RISK = 1e-4


def test_time_limit_stops_the_solver_and_the_fallback_answers(linear: ImpactModel) -> None:
    config = OptimizerConfig(timeout_seconds=3)
    allocator = TradeAllocator(linear, 100_000, 490, config, risk=SLOW_RISK)
    begin = time.monotonic()
    result = allocator.optimize(SolverType.SCIPY)
    # A limit on time is what is promised, so time is what is asserted: by 20%.
    assert time.monotonic() - begin < 1.2 * 3
    assert result["solver_used"] == "exact"
    assert result["fell_back"]
    assert [a["outcome"] for a in result["attempts"]] == ["timed_out", "solved"]
    check_schedule(result, 100_000)


def test_time_limit_without_fallback_is_3003(linear: ImpactModel) -> None:
    config = OptimizerConfig(timeout_seconds=2, fallback=False)
    allocator = TradeAllocator(linear, 100_000, 490, config, risk=SLOW_RISK)
    begin = time.monotonic()
    with fails(3003, "timeout_seconds") as error:
        allocator.optimize(SolverType.SCIPY)
    assert time.monotonic() - begin < 1.2 * 2
    assert [a["outcome"] for a in error.value.attempts] == ["timed_out"]


@pytest.mark.parametrize("n_intervals", [20, 9_999])
def test_time_limit_of_a_solver_that_hangs_is_kept_too(linear: ImpactModel, n_intervals: int) -> None:
    allocator = TradeAllocator(linear, 100_000, n_intervals, OptimizerConfig(timeout_seconds=1.5, fallback=False))
    child = worker()
    # Stopped, it neither reads nor answers: a large problem fills its pipe, a small one waits in it.
    os.kill(child, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(OptimizationError) as error:
        allocator.optimize()
    assert time.monotonic() - begin < 1.2 * 1.5
    assert error.value.code == 3003
    assert not is_running(child)


def test_cvxpy_more_intervals_than_it_can_take_is_answered_by_another(linear: ImpactModel) -> None:
    result = TradeAllocator(linear, 100_000, 10_001).optimize()
    assert result["solver_used"] == "exact"
    assert {a["outcome"] for a in result["attempts"][:-1]} <= {"unsupported", "not_installed"}
    assert "use exact" in result["attempts"][0]["text"]


def test_slsqp_a_day_of_minutes_is_certified(linear: ImpactModel) -> None:
    allocator = TradeAllocator(linear, 100_000, 390)
    result = allocator.solve_with("slsqp")
    assert result["certificate"]["kkt_residual"] <= 1e-8
    assert result["optimal_cost"] == pytest.approx(allocator.optimize("exact")["optimal_cost"], rel=1e-6)


def test_impact_that_lasts_costs_more_for_any_solver(linear: ImpactModel) -> None:
    allocator = TradeAllocator(linear, 10_000, 20, transient_share=1.0, half_life_intervals=8.0)
    result = allocator.optimize("exact")
    check_schedule(result, 10_000)
    assert result["optimal_cost"] > TradeAllocator(linear, 10_000, 20).optimize("exact")["optimal_cost"]
    assert allocator.solve_with("clarabel")["optimal_cost"] == pytest.approx(result["optimal_cost"], rel=1e-6)
    with fails(3001, "solver"):
        allocator.solve_with("analytical")


@pytest.mark.parametrize(
    "name", ["total_shares", "n_intervals", "solver", "impact_model", "side", "max_interval_qty", "transient_share"]
)
def test_bad_argument_is_1001_and_named(linear: ImpactModel, name: str) -> None:
    wrong = {
        "total_shares": lambda: TradeAllocator(linear, -5),
        "n_intervals": lambda: TradeAllocator(linear, 5, 0),
        "solver": lambda: TradeAllocator(linear, 5, config=EXACT).optimize("simplex"),
        "impact_model": lambda: TradeAllocator("linear", 5),  # type: ignore[arg-type]  # wrong on purpose
        "side": lambda: TradeAllocator(linear, 5, side="up"),
        "max_interval_qty": lambda: TradeAllocator(linear, 5, max_interval_qty=[1.0, 2.0]),
        "transient_share": lambda: TradeAllocator(linear, 5, transient_share=1.5),
    }
    with fails(1001, name):
        wrong[name]()


def test_model_that_is_not_fitted_is_2001() -> None:
    with fails(2001, "model"):
        TradeAllocator(ImpactModel(), 100)


@pytest.mark.parametrize("field", [{"timeout_seconds": 0}, {"max_iterations": 0}, {"tolerance": "x"}, {"fallback": 1}])
def test_optimizer_config_bad_value_is_1001_and_named(field: dict[str, object]) -> None:
    with fails(1001, next(iter(field))):
        OptimizerConfig(**field)  # type: ignore[arg-type]  # wrong on purpose


def test_optimisation_takes_little_memory(linear: ImpactModel) -> None:
    TradeAllocator(linear, 100_000, 390).optimize()
    tracemalloc.start()
    try:
        TradeAllocator(linear, 100_000, 390).optimize()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10e6


# -- the child process ------------------------------------------------------------------------------------------------


def small_problem() -> Problem:
    return Problem.from_impact(np.zeros(3), np.array([1.0, 2.0, 4.0]))


def worker() -> int:
    """Return the id of the process that solves, started if there is none."""
    return int(solver_process._running().submit(os.getpid).result(60.0))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def test_process_solves_stops_and_solves_again() -> None:
    solved = solve("slsqp", small_problem(), 7.0, time.monotonic() + 60.0)
    assert isinstance(solved, Solution)
    np.testing.assert_allclose(solved.qty, [4.0, 2.0, 1.0], rtol=1e-4)
    child = worker()
    os.kill(child, signal.SIGSTOP)
    assert isinstance(solve("slsqp", small_problem(), 7.0, time.monotonic() + 0.2), TimedOut)
    assert not is_running(child)
    assert isinstance(solve("slsqp", small_problem(), 7.0, time.monotonic()), TimedOut)
    assert isinstance(solve("slsqp", small_problem(), 7.0, time.monotonic() + 60.0), Solution)


def test_process_that_dies_is_started_again() -> None:
    child = worker()
    os.kill(child, signal.SIGKILL)
    assert isinstance(solve("exact", small_problem(), 7.0, time.monotonic() + 60.0), Solution)
    assert worker() != child


class Deadly:
    """A solver that brings its process down, or raises."""

    name = "deadly"
    bounded = False

    def __init__(self, effort: float) -> None:
        self.effort = effort

    def solve(self, problem: Problem, qty: float) -> Solution | SolveFailure:
        if self.effort == 1.0:
            os._exit(9)
        raise ZeroDivisionError(f"{len(problem)} {qty}")


@pytest.fixture
def deadly() -> Iterator[None]:
    SOLVERS.register("deadly", Deadly)
    yield
    SOLVERS.forget("deadly")


@pytest.mark.usefixtures("deadly")
@pytest.mark.parametrize(("effort", "words"), [(1.0, "killed"), (2.0, "ZeroDivisionError: 3 7.0")])
def test_process_solver_that_breaks_is_a_failure_and_the_next_solves(effort: float, words: str) -> None:
    found = solve("deadly", small_problem(), 7.0, time.monotonic() + 60.0, effort)
    assert isinstance(found, SolveFailure)
    assert found.reason is Failure.NOT_CONVERGED
    assert words in found.text
    assert isinstance(solve("exact", small_problem(), 7.0, time.monotonic() + 60.0), Solution)


#: A program without a guard against being run again: it prints its own id, and the worker's.
PROGRAM = """
import os, signal, sys, time
print(os.getpid())
from impactd.research import solver_process
print(solver_process._running().submit(os.getpid).result(), flush=True)
if "forks" in sys.argv:
    child = os.fork()
    if child == 0:
        print("fork", solver_process._running().submit(os.getpid).result(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_program(tmp_path: Path, *arguments: str) -> list[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    done = subprocess.run(
        [sys.executable, program, *arguments], capture_output=True, check=False, timeout=600, text=True
    )
    return done.stdout.splitlines()


def test_process_does_not_run_the_program_again_and_ends_when_it_is_killed(tmp_path: Path) -> None:
    lines = run_program(tmp_path)
    assert len(lines) == 2, lines
    deadline = time.monotonic() + 60.0
    while is_running(int(lines[1])):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_process_a_fork_has_one_of_its_own(tmp_path: Path) -> None:
    _, own, forked = run_program(tmp_path, "forks")
    assert forked != f"fork {own}"


def test_solver_that_is_not_installed_reports_it() -> None:
    pytest.importorskip("cvxpy")
    import cvxpy  # noqa: PLC0415  # heavy

    if "ECOS" in cvxpy.installed_solvers():
        pytest.skip("ECOS is installed")
    solver = get_solver("ecos")
    found = solver.solve(small_problem(), 7.0)
    assert isinstance(found, SolveFailure)
    assert found.reason is Failure.NOT_INSTALLED
