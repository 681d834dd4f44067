"""Live order books in, least-impact execution schedules out.

The batch API's names are loaded when they are first used, so that the service
and ``impactd --help`` need neither pandas nor the time to import it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from impactd.__about__ import __version__

if TYPE_CHECKING:
    from impactd.research.basket import optimize_basket
    from impactd.research.books_io import convert_live_data_to_system_format, read_books, write_books
    from impactd.research.cost_estimate import estimate
    from impactd.research.errors import ModelFittingError, OptimizationError, ValidationError
    from impactd.research.impact_model import ImpactModel
    from impactd.research.monitor import ProductionMonitor
    from impactd.research.options import ModelConfig, OptimizerConfig, SolverType
    from impactd.research.sources.read import fetch_source, read_source
    from impactd.research.tca import read_tca
    from impactd.research.trade_allocator import TradeAllocator
    from impactd.research.walked import realised_cost

__all__ = [
    "ImpactModel",
    "ModelConfig",
    "ModelFittingError",
    "OptimizationError",
    "OptimizerConfig",
    "ProductionMonitor",
    "SolverType",
    "TradeAllocator",
    "ValidationError",
    "__version__",
    "convert_live_data_to_system_format",
    "estimate",
    "fetch_source",
    "optimize_basket",
    "read_books",
    "read_source",
    "read_tca",
    "realised_cost",
    "write_books",
]

_MODULES: Final = {
    "ImpactModel": "impact_model",
    "ModelConfig": "options",
    "ModelFittingError": "errors",
    "OptimizationError": "errors",
    "OptimizerConfig": "options",
    "ProductionMonitor": "monitor",
    "SolverType": "options",
    "TradeAllocator": "trade_allocator",
    "ValidationError": "errors",
    "convert_live_data_to_system_format": "books_io",
    "estimate": "cost_estimate",
    "fetch_source": "sources.read",
    "optimize_basket": "basket",
    "read_books": "books_io",
    "read_source": "sources.read",
    "read_tca": "tca",
    "realised_cost": "walked",
    "write_books": "books_io",
}

#: Packages of the `research` extra, by the name that they are imported by.
_RESEARCH: Final = frozenset({"cvxpy", "matplotlib", "pandas", "plotly", "sklearn"})


def __getattr__(name: str) -> Any:
    """Load one of the batch API's names.

    Raises
    ------
    AttributeError
        If there is no such name.
    ImportError
        If a package of the `research` extra is not installed.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"impactd.research.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _RESEARCH:
            raise
        from impactd.core.base.extras import remedy  # noqa: PLC0415  # only where it is needed

        text = f"impactd.{name} needs {error.name}, which is not installed: {remedy('research')}"
        raise ImportError(text, name=error.name) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
