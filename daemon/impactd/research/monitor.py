"""Recent performance of a model: times of operations, and predictions against outcomes.

Healthy means that operations take less than `MAX_MEAN_SECONDS` on average and
predictions miss by less than `MAX_MEAN_ERROR_PCT` of the outcome.  With too few
measurements it is neither, and the report states what is missing.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.options import check_number

MAX_MEAN_SECONDS: Final = 2.0
MAX_MEAN_ERROR_PCT: Final = 10.0

#: Measurements of either kind below which there is no verdict.
LEAST: Final = 3

HEALTHY: Final = "HEALTHY"
ATTENTION: Final = "NEEDS ATTENTION"
TOO_LITTLE: Final = "NOT ENOUGH DATA"


class MonitoringReport(dict[str, Any]):
    """A report by its fields, which reads as text when printed."""

    def __str__(self) -> str:
        """Return the report for people."""
        seconds, error = self["mean_seconds"], self["mean_error_pct"]
        lines = [
            "Monitoring report",
            f"  status       {self['status']}",
            f"  operations   {self['n_performance']:,}, {_figure(seconds, 's')} on average",
            f"  predictions  {self['n_accuracy']:,}, {_figure(error, '%')} mean error",
        ]
        return "\n".join([*lines, *(f"  {reason}" for reason in self["reasons"])])


class ProductionMonitor:
    """Collects measurements and reports on them.

    Examples
    --------
    >>> monitor = ProductionMonitor()
    >>> for _ in range(3):
    ...     monitor.log_performance("fit", 0.05)
    ...     monitor.log_accuracy([10.0, 20.0], [10.5, 19.0])
    >>> report = monitor.generate_monitoring_report()
    >>> report["status"], round(report["mean_error_pct"], 2)
    ('HEALTHY', 5.01)
    >>> ProductionMonitor().generate_monitoring_report()["status"]
    'NOT ENOUGH DATA'
    """

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._errors_pct: list[float] = []
        self._n_uncomparable = 0

    def log_performance(
        self, operation: str, seconds: float | None = None, *, execution_time: float | None = None
    ) -> None:
        """Take in how long an operation took.

        Parameters
        ----------
        seconds : float
            `execution_time` is another name for it.

        Raises
        ------
        ValidationError
            1001 if `seconds` is missing, negative or no number.
        """
        took = execution_time if seconds is None else seconds
        check_number("seconds", took, 0.0)
        self._seconds.setdefault(str(operation), []).append(float(took))  # type: ignore[arg-type]  # it was looked at

    def log_accuracy(
        self, predicted: Any = None, actual: Any = None, *, predicted_impact: Any = None, actual_impact: Any = None
    ) -> None:
        """Take in predicted and realised values, one number or arrays of one shape.

        An actual value of zero has no error in percent; it is counted apart.

        Parameters
        ----------
        predicted, actual : array_like
            `predicted_impact` and `actual_impact` are other names for them.

        Raises
        ------
        ValidationError
            1001 if one is missing, the shapes differ or a value is no finite number.
        """
        predicted = predicted_impact if predicted is None else predicted
        actual = actual_impact if actual is None else actual
        said, came = (_finite(name, value) for name, value in (("predicted", predicted), ("actual", actual)))
        if said.shape != came.shape:
            raise ValidationError(
                MALFORMED, f"predicted, actual: shapes {said.shape} and {came.shape} differ", "give one for each"
            )
        there = came != 0.0
        self._n_uncomparable += int(np.count_nonzero(~there))
        self._errors_pct += (100.0 * np.abs(said[there] - came[there]) / np.abs(came[there])).tolist()

    def generate_monitoring_report(self) -> MonitoringReport:
        """Return the verdict and what it rests on.

        Returns
        -------
        MonitoringReport
            A dict, which prints as text: ``status`` (HEALTHY, NEEDS ATTENTION or NOT ENOUGH DATA), ``reasons``
            (texts, empty if healthy), ``mean_seconds``, ``mean_error_pct`` (None
            without measurements), ``n_performance``, ``n_accuracy``,
            ``n_uncomparable`` (actual values of zero), ``operations`` (count,
            mean, p95 and max seconds by name).
        """
        times = [seconds for many in self._seconds.values() for seconds in many]
        mean_seconds = math.fsum(times) / len(times) if times else None
        error = math.fsum(self._errors_pct) / len(self._errors_pct) if self._errors_pct else None
        reasons = []
        if mean_seconds is not None and mean_seconds >= MAX_MEAN_SECONDS:
            reasons.append(f"operations take {mean_seconds:.3g} s on average; the limit is {MAX_MEAN_SECONDS:g} s")
        if error is not None and error >= MAX_MEAN_ERROR_PCT:
            reasons.append(f"predictions miss by {error:.3g}% on average; the limit is {MAX_MEAN_ERROR_PCT:g}%")
        status = ATTENTION if reasons else HEALTHY
        for name, count in (("performance", len(times)), ("accuracy", len(self._errors_pct))):
            if count < LEAST:
                reasons.append(f"{name}: {count} measurements; {LEAST} are needed (log_{name})")
                status = ATTENTION if status == ATTENTION else TOO_LITTLE
        return MonitoringReport(
            status=status,
            reasons=reasons,
            mean_seconds=mean_seconds,
            mean_error_pct=error,
            n_performance=len(times),
            n_accuracy=len(self._errors_pct),
            n_uncomparable=self._n_uncomparable,
            operations={name: _summary(seconds) for name, seconds in self._seconds.items()},
        )


def _figure(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:.3g}{'' if unit == '%' else ' '}{unit}"


def _finite(name: str, value: Any) -> npt.NDArray[np.float64]:
    try:
        array = np.atleast_1d(np.asarray(value, np.float64))
    except (ValueError, TypeError) as error:
        raise ValidationError(MALFORMED, f"{name}: {error}", "give numbers") from error
    if not np.isfinite(array).all():
        raise ValidationError(MALFORMED, f"{name}: holds values that are not finite", "leave these out")
    return array


def _summary(seconds: list[float]) -> dict[str, float]:
    return {
        "count": len(seconds),
        "mean": math.fsum(seconds) / len(seconds),
        "p95": float(np.quantile(seconds, 0.95)),
        "max": max(seconds),
    }
