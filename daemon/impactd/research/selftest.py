"""The daily self-test of research and service: are the results right, and fast enough.

Each check is a function of its inputs and of `SelftestSection`; one that raises
has failed with its reason, and the others continue.  Times of operations and errors of predictions go through
`ProductionMonitor`, whose verdict is a check like the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd

from impactd.config.operation import SelftestSection
from impactd.core.allocator.solvers.base import Failure
from impactd.core.allocator.solvers.registry import SOLVERS
from impactd.core.base.settings import BookSettings
from impactd.research.compare import Day, choose_model
from impactd.research.errors import OptimizationError, ResearchError
from impactd.research.impact_model import ImpactModel
from impactd.research.monitor import ATTENTION, ProductionMonitor
from impactd.research.options import ModelConfig, OptimizerConfig, SolverType
from impactd.research.trade_allocator import TradeAllocator
from impactd.shell.sample import Sample

#: The generated day: as many intervals as a session has minutes, and an order that needs several levels.
_SNAPSHOTS: Final = 390
_LEVELS: Final = 20
_SHARES: Final = 100_000.0

#: Solvers of one problem may differ in cost by so much.
_AGREEMENT: Final = 1e-6

#: Times that each operation is measured; the best counts, since a busy machine only ever adds.
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One check and what it found."""

    name: str
    healthy: bool
    text: str
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selftest:
    """All checks."""

    checks: tuple[Check, ...]
    #: `ProductionMonitor`'s report over the same operations and predictions.
    monitoring: dict[str, Any]

    @property
    def healthy(self) -> bool:
        """Whether every check is."""
        return all(check.healthy for check in self.checks)


def run_selftest(
    limits: SelftestSection, days: Sequence[Callable[[], Day]] = (), sample: Callable[[], Sample] | None = None
) -> Selftest:
    """Run all checks.

    Parameters
    ----------
    sample : callable, optional
        Gives a sample of the live ticks, or raises why there is none.
    """
    monitor = ProductionMonitor()
    runner = _Runner(limits, monitor)
    checks = [_guarded("generated day", runner.generated), _guarded("solvers", runner.solvers)]
    for number, day in enumerate(days, 1):
        checks.append(_guarded(f"recorded day {number}", partial(runner.day, day)))
    if sample is not None:
        checks.append(_guarded("live sample", lambda: runner.live(sample())))
    checks.append(_guarded("benchmarks", runner.benchmarks))
    report = monitor.generate_monitoring_report()
    healthy = report["status"] != ATTENTION
    said = "; ".join([report["status"], *report["reasons"]])
    checks.append(Check("monitoring", healthy, said))
    return Selftest(tuple(checks), report)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this check's finding, and the others continue
        said = str(error) if isinstance(error, ResearchError) else repr(error)
        return Check(name, healthy=False, text=f"failed: {said}")


class _Runner:
    def __init__(self, limits: SelftestSection, monitor: ProductionMonitor) -> None:
        self._limits = limits
        self._monitor = monitor

    def _timed(self, operation: str, call: Callable[[], Any]) -> tuple[Any, float]:
        """Return what `call` gives and its best time of some rounds; a first round makes ready and does not count."""
        result = call()
        best = np.inf
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            result = call()
            seconds = time.perf_counter() - begin
            self._monitor.log_performance(operation, seconds)
            best = min(best, seconds)
        return result, float(best)

    def generated(self) -> Check:
        """Fit a generated day, whose curves are known to be straight."""
        model = ImpactModel()
        slippage = model.estimate_slippage(model.generate_synthetic_orderbook(_SNAPSHOTS, _LEVELS))
        metrics = model.fit_model(slippage)["metrics"]
        r2, least = float(metrics["test_r2"]), self._limits.min_test_r2
        self._misses(slippage)
        return Check("generated day", r2 >= least, f"test R2 {r2:.4f}; at least {least:g}", {"test_r2": r2})

    def solvers(self) -> Check:
        """Compare the solvers with each other and with the closed form's saving, 1 - HM/AM of beta."""
        model = ImpactModel()
        model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(50, 10)))
        allocator = TradeAllocator(model, _SHARES, config=OptimizerConfig(default_solver=SolverType.EXACT))
        costs = {}
        for name in SOLVERS.names():
            try:
                costs[name] = float(allocator.solve_with(name)["optimal_cost"])
            except OptimizationError as error:
                # A solver that is not installed is no fault.
                if error.attempts[-1]["outcome"] != Failure.NOT_INSTALLED.value:
                    raise
        beta = allocator.problem.curve.b
        saving = 1.0 - float(1.0 / np.mean(1.0 / beta) / np.mean(beta))
        equal = float(allocator.optimize()["equal_cost"])
        costs["closed form"] = equal * (1.0 - saving)
        spread = max(costs.values()) / min(costs.values()) - 1.0
        text = f"{len(costs)} ways to one cost differ by {spread:.2g}; at most {_AGREEMENT:g}"
        return Check("solvers", spread <= _AGREEMENT, text, costs)

    def day(self, give: Callable[[], Day]) -> Check:
        """Check a recorded day that is still to be read."""
        return self.recorded(give())

    def recorded(self, day: Day) -> Check:
        """Fit a recorded day by the model that it bears, and see how far the curves miss its cells."""
        name, scores = choose_model(day.slippage)
        error, most = self._misses(day.slippage), self._limits.max_fit_error_pct
        r2 = float(scores.loc[scores["model"] == name, "test_r2"].iloc[0])
        text = f"{name} fits best (R2 {r2:.4f}); quadratic curves miss by {error:.2f}%; at most {most:g}%"
        figures = {"model": name, "test_r2": r2, "error_pct": error}
        return Check(f"recorded day {day.name}", error <= most, text, figures)

    def _misses(self, slippage: pd.DataFrame) -> float:
        """Log quadratic curves, one an interval, against its cells and return the mean miss, percent."""
        # With a half-spread, which no real curve is without.
        model = ImpactModel("quadratic", ModelConfig(intercept=True))
        model.fit_model(slippage)
        curves = model.fitted.params()["intervals"].rename(columns={"half_spread": "intercept"})
        held = (slippage["coverage"] >= BookSettings().min_coverage) & (slippage["slippage"] > 0.0)
        cells = slippage[held].merge(curves, on=["time", "side"], how="inner")
        q = cells["size"].to_numpy(np.float64)
        terms = cells[["intercept", "beta", "alpha"]].fillna(0.0).to_numpy(np.float64)
        predicted = terms[:, 0] + terms[:, 1] * q + terms[:, 2] * q**2
        actual = cells["slippage"].to_numpy(np.float64)
        self._monitor.log_accuracy(predicted, actual)
        return float(100.0 * np.mean(np.abs(predicted - actual) / actual))

    def live(self, sample: Sample) -> Check:
        """Check whether ticks arrive, are usable and are current."""
        limits, wrong = self._limits, []
        if not sample.rows:
            wrong.append("no tick")
        if sample.refused_ratio > limits.max_invalid_ratio:
            share, most = 100 * sample.refused_ratio, 100 * limits.max_invalid_ratio
            wrong.append(f"{share:.1f}% cannot be used; at most {most:g}%")
        if limits.max_tick_age_s and (sample.age_s is None or sample.age_s > limits.max_tick_age_s):
            wrong.append(f"the newest tick is older than {limits.max_tick_age_s:g} s")
        figures = {
            "records": sample.records,
            "ticks": sample.rows,
            "symbols": sample.symbols,
            "age_s": sample.age_s,
            **{f"refused {reason}": count for reason, count in sample.refused.items()},
        }
        age = "" if sample.age_s is None else f", the newest {sample.age_s:,.1f} s old"
        text = f"{sample.records:,} records of {sample.partitions} partitions, {sample.rows:,} ticks{age}"
        return Check("live sample", not wrong, "; ".join([text, *wrong]), figures)

    def benchmarks(self) -> Check:
        """Time each operation against its limit."""
        model, limits = ImpactModel(), self._limits
        books, generate = self._timed("generate", lambda: model.generate_synthetic_orderbook(_SNAPSHOTS, _LEVELS))
        slippage, estimate = self._timed("estimate", lambda: model.estimate_slippage(books))
        _, fit = self._timed("fit", lambda: model.fit_model(slippage))
        _, optimize = self._timed("optimize", lambda: TradeAllocator(model, _SHARES, _SNAPSHOTS).optimize())
        exact = TradeAllocator(model, _SHARES, _SNAPSHOTS, OptimizerConfig(default_solver=SolverType.EXACT))
        _, solve = self._timed("solve", exact.optimize)
        taken = {
            "generate": (generate, limits.max_generate_s),
            "estimate": (estimate, limits.max_estimate_s),
            "fit": (fit, limits.max_fit_s),
            "optimize": (optimize, limits.max_optimize_s),
            "solve": (solve, limits.max_solve_s),
        }
        slow = [f"{name} takes {s:.3g} s; at most {most:g}" for name, (s, most) in taken.items() if s > most]
        text = "; ".join(slow) or ", ".join(f"{name} {1e3 * s:.2f} ms" for name, (s, _) in taken.items())
        return Check("benchmarks", not slow, text, {name: s for name, (s, _) in taken.items()})
