"""Options of the batch API: frozen, checked when created."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from impactd.core.inputs.ticks import Float
from impactd.research.errors import MALFORMED, ValidationError

#: Caps whose sum is this near to the quantity, as a part of it, hold it: their division has rounded.
_ROUNDING: Final = 1e-12


class SolverType(Enum):
    """Which kind of solver goes first.

    `ANALYTICAL` is the closed form of linear impact through the origin,
    `EXACT` the service's own solver, `SCIPY` and `CVXPY` are independent
    libraries, and `AUTO` takes the fastest that fits the problem.
    """

    ANALYTICAL = "analytical"
    EXACT = "exact"
    SCIPY = "scipy"
    CVXPY = "cvxpy"
    AUTO = "auto"


def check_number(name: str, value: object, low: float, *, above: bool = False) -> None:
    """Raise a ValidationError unless `value` is a finite number of at least (`above`: more than) `low`."""
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]  # it was looked at
    if not math.isfinite(number) or (number <= low if above else number < low):
        least = f"above {low:g}" if above else f"of at least {low:g}"
        raise ValidationError(MALFORMED, f"{name}: {value!r} cannot be used", f"give a finite number {least}")


def without_rounding(cap: Float, qty: float) -> Float:
    """Return `cap`, raised by the rounding of its sum where only that keeps it from holding `qty`.

    Examples
    --------
    >>> float(np.sum(np.full(6, 1000 / 6))) < 1000 < math.fsum(without_rounding(np.full(6, 1000 / 6), 1000.0))
    True
    """
    room = math.fsum(np.minimum(cap, qty).tolist())
    if abs(room - qty) > _ROUNDING * qty:
        return cap
    return np.asarray(cap * (qty / room * (1.0 + _ROUNDING)))


def check_count(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise a ValidationError unless `value` is a whole number in its range."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    number = int(value) if is_whole else low - 1  # type: ignore[call-overload]  # it was looked at
    if number < low or (high is not None and number > high):
        most = "" if high is None else f", at most {high:,}"
        raise ValidationError(
            MALFORMED, f"{name}: {value!r} cannot be used", f"give a whole number of at least {low:,}{most}"
        )


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValidationError(MALFORMED, f"{name}: {value!r} cannot be used", "give True or False")


@dataclass(frozen=True)
class ModelConfig:
    """How books are made and models are fitted.

    Parameters
    ----------
    base_price : float
        Mid of generated books.
    volatility_factor : float
        How much generated sizes vary from one update to the next: 0 not at all, 1 as on real days, more than
        that for wilder ones.
    memory_limit_mb : float
        What one call may hold besides its arguments.  Books are worked through
        in parts that fit; a result that cannot fit is refused before the work.
    progress_logging : bool
        Show a progress bar and write log lines (logger ``impactd.research``).
    intercept : bool or None
        Whether a curve has a half-spread.  None: 'linear' and 'nonlinear' pass through the origin, 'quadratic' and
        'power' have one, and a model for which no type was named has one where a line through the origin does not
        fit the sizes left out of it.

    Examples
    --------
    >>> ModelConfig(base_price=50.0).memory_limit_mb
    200
    >>> ModelConfig(base_price=-1.0)
    Traceback (most recent call last):
    ...
    impactd.research.errors.ValidationError: [1001] base_price: -1.0 cannot be used; give a finite number of at least 2
    """

    base_price: float = 100.0
    volatility_factor: float = 0.5
    memory_limit_mb: float = 200
    progress_logging: bool = False
    seed: int = 0
    intercept: bool | None = None

    def __post_init__(self) -> None:
        # The generator's ticks are hundredths, and it needs room below the mid for its levels.
        check_number("base_price", self.base_price, 2.0)
        check_number("volatility_factor", self.volatility_factor, 0.0)
        check_number("memory_limit_mb", self.memory_limit_mb, 0.0, above=True)
        _check_flag("progress_logging", self.progress_logging)
        check_count("seed", self.seed, 0)
        if self.intercept is not None:
            _check_flag("intercept", self.intercept)

    @property
    def memory_limit_bytes(self) -> int:
        """The limit in bytes."""
        return int(self.memory_limit_mb * 1e6)


@dataclass(frozen=True)
class OptimizerConfig:
    """How schedules are found.

    Parameters
    ----------
    default_solver : SolverType
        What `TradeAllocator.optimize` tries first.
    max_iterations : int
        Of an interior-point or SQP solver.  First-order solvers (OSQP, SCS),
        whose iterations are a small part of the work, get 200 times as many,
        and trust-constr three times.
    tolerance : float
        Largest relative KKT residual that a result may have: a proven bound
        on the part of the impact cost that is still to be saved.
    timeout_seconds : float
        For a whole call, fallbacks included.  What still runs then is
        stopped, and only solvers that need no time to speak of follow.
    fallback : bool
        Whether another solver follows one that failed.

    Examples
    --------
    >>> OptimizerConfig().default_solver
    <SolverType.CVXPY: 'cvxpy'>
    """

    default_solver: SolverType = SolverType.CVXPY
    max_iterations: int = 1000
    tolerance: float = 1e-8
    timeout_seconds: float = 300
    fallback: bool = True

    def __post_init__(self) -> None:
        solver_type(self.default_solver, "default_solver")
        check_count("max_iterations", self.max_iterations, 1)
        check_number("tolerance", self.tolerance, 0.0, above=True)
        check_number("timeout_seconds", self.timeout_seconds, 0.0, above=True)
        _check_flag("fallback", self.fallback)


def solver_type(value: object, name: str = "solver") -> SolverType:
    """Return `value` as a `SolverType`; its value's text will do.

    Examples
    --------
    >>> solver_type("scipy")
    <SolverType.SCIPY: 'scipy'>
    """
    try:
        return SolverType(value)
    except ValueError:
        kinds = ", ".join(f"SolverType.{kind.name}" for kind in SolverType)
        raise ValidationError(MALFORMED, f"{name}: {value!r} is not a solver", f"give one of {kinds}") from None
