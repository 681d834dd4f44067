"""Errors of the batch API: a code for programs, a remedy for people."""

from __future__ import annotations

from typing import Any, Final

MALFORMED: Final = 1001
MISSING_COLUMNS: Final = 1002
TOO_LITTLE_DATA: Final = 2001
NO_FIT: Final = 2002
NOT_CONVERGED: Final = 3001
INFEASIBLE: Final = 3002
TIME_LIMIT: Final = 3003

#: Code: error that has it, and what it means.
CODES: Final = {
    MALFORMED: ("ValidationError", "malformed input"),
    MISSING_COLUMNS: ("ValidationError", "missing columns"),
    TOO_LITTLE_DATA: ("ModelFittingError", "too little data"),
    NO_FIT: ("ModelFittingError", "the fit gave nothing usable"),
    NOT_CONVERGED: ("OptimizationError", "no solver converged"),
    INFEASIBLE: ("OptimizationError", "the constraints cannot be met"),
    TIME_LIMIT: ("OptimizationError", "the time limit was reached"),
}


class ResearchError(Exception):
    """Base of the batch API's errors.

    Parameters
    ----------
    what : str
        What is wrong: the field, a colon, and what is the matter with it.

    Examples
    --------
    >>> error = ResearchError(1001, "price: 'abc' is not a number", "send numbers")
    >>> error.code, error.field, str(error)
    (1001, 'price', "[1001] price: 'abc' is not a number; send numbers")
    """

    def __init__(self, code: int, what: str, remedy: str) -> None:
        super().__init__(f"[{code}] {what}; {remedy}")
        self.code = code
        self.what = what
        self.remedy = remedy

    @property
    def field(self) -> str:
        """Parameter, column, setting or file that is wrong; empty where `what` names none."""
        name, colon, _ = self.what.partition(": ")
        return name if colon else ""

    def __reduce__(self) -> tuple[type[ResearchError], tuple[Any, ...]]:
        return type(self), (self.code, self.what, self.remedy)


class ValidationError(ResearchError, ValueError):
    """Input that cannot be used: 1001, or 1002 where columns are missing."""


class NothingUsableError(ValidationError):
    """Input that can be read, and holds nothing usable."""


class ModelFittingError(ResearchError):
    """A model that cannot be fitted: 2001 too little data, 2002 no usable fit."""


class OptimizationError(ResearchError):
    """A schedule that cannot be found: 3001, 3002 or 3003.

    Attributes
    ----------
    attempts : tuple of dict
        What each solver that was tried came to.
    """

    def __init__(self, code: int, what: str, remedy: str, attempts: tuple[dict[str, Any], ...] = ()) -> None:
        super().__init__(code, what, remedy)
        self.attempts = attempts

    def __reduce__(self) -> tuple[type[ResearchError], tuple[Any, ...]]:
        return type(self), (self.code, self.what, self.remedy, self.attempts)
