"""The monitor's verdict, and what it rests on."""

from __future__ import annotations

import math

import pytest

from impactd import ProductionMonitor, ValidationError
from tests.research.errors import fails


def monitored(seconds: float, predicted: float, n: int = 5) -> dict[str, object]:
    monitor = ProductionMonitor()
    for _ in range(n):
        monitor.log_performance("optimize", seconds)
        monitor.log_accuracy(predicted, 100.0)
    return monitor.generate_monitoring_report()


def test_report_fast_and_accurate_is_healthy() -> None:
    report = monitored(1.99, 109.9)
    assert report["status"] == "HEALTHY"
    assert report["reasons"] == []


@pytest.mark.parametrize(
    ("seconds", "predicted", "said"), [(2.0, 100.0, "operations take 2 s"), (0.1, 110.0, "predictions miss by 10%")]
)
def test_report_slow_or_wrong_needs_attention_and_states_why(seconds: float, predicted: float, said: str) -> None:
    report = monitored(seconds, predicted)
    assert report["status"] == "NEEDS ATTENTION"
    assert any(said in reason for reason in report["reasons"])  # type: ignore[attr-defined]  # a list


def test_report_with_too_little_states_what_is_missing() -> None:
    report = monitored(0.1, 100.0, n=2)
    assert report["status"] == "NOT ENOUGH DATA"
    assert any("log_accuracy" in reason for reason in report["reasons"])  # type: ignore[attr-defined]  # a list
    assert ProductionMonitor().generate_monitoring_report()["mean_seconds"] is None


def test_report_too_little_but_bad_still_needs_attention() -> None:
    assert monitored(5.0, 100.0, n=1)["status"] == "NEEDS ATTENTION"


def test_report_names_operations() -> None:
    monitor = ProductionMonitor()
    for seconds in (1.0, 3.0):
        monitor.log_performance("fit", seconds)
    operation = monitor.generate_monitoring_report()["operations"]["fit"]
    assert (operation["count"], operation["mean"], operation["max"]) == (2, 2.0, 3.0)


def test_accuracy_of_zero_is_counted_apart() -> None:
    monitor = ProductionMonitor()
    monitor.log_accuracy([1.0, 2.0], [0.0, 2.0])
    report = monitor.generate_monitoring_report()
    assert (report["n_accuracy"], report["n_uncomparable"], report["mean_error_pct"]) == (1, 1, 0.0)


@pytest.mark.parametrize("wrong", [(1.0, [1.0, 2.0]), (math.nan, 1.0), ("x", 1.0)])
def test_accuracy_bad_values_are_1001(wrong: tuple[object, object]) -> None:
    with pytest.raises(ValidationError) as error:
        ProductionMonitor().log_accuracy(*wrong)
    assert error.value.code == 1001


@pytest.mark.parametrize("seconds", [-1.0, math.inf, "x"])
def test_performance_bad_values_are_1001(seconds: object) -> None:
    with fails(1001, "seconds"):
        ProductionMonitor().log_performance("fit", seconds)  # type: ignore[arg-type]  # wrong on purpose
