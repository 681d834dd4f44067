"""Packages of this distribution's extras, imported in one place: where one is missing, the error states the remedy."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class MissingExtraError(ImportError):
    """A package that an extra installs cannot be imported; the text states the remedy."""


def remedy(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'impactd[{extra}]'"


def extra_module(module: str, extra: str) -> ModuleType:
    """Import and return a module of an extra.

    Raises
    ------
    MissingExtraError
        If it is not installed, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
        raise MissingExtraError(f"{module} {why}: {remedy(extra)}", name=error.name) from error
