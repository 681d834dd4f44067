"""Vendors' own clients: imported when they are used, with credentials that no message repeats."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Final
from urllib.parse import quote

from impactd.research.errors import MALFORMED, ValidationError

#: Characters of a client's own words that an error keeps; some hold whole responses.
_SAID: Final = 300


def client(module: str, vendor: str, remedy: str) -> ModuleType:
    """Import a vendor's client."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValidationError(MALFORMED, f"{vendor}: its client is not installed ({error})", remedy) from error


def credential(variable: str, vendor: str) -> str:
    """Return a credential out of the environment, or out of the file that ``VARIABLE_FILE`` names.

    Raises
    ------
    ValidationError
        1001 if there is none; no message holds the value.
    """
    value = os.environ.get(variable, "").strip()
    path = os.environ.get(f"{variable}_FILE", "")
    if not value and path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            raise ValidationError(MALFORMED, f"{variable}_FILE: {said}", "name a readable file") from None
    if not value:
        raise ValidationError(
            MALFORMED, f"{vendor}: no credentials", f"set {variable}, or {variable}_FILE to a file that holds them"
        )
    return value


def client_failed(vendor: str, error: Exception, secret: str) -> ValidationError:
    """Return a client's error as ours, without the credential that it may quote.

    Raise it ``from None``: a traceback would tell the client's own words too.
    """
    said = str(error)
    for form in (secret, quote(secret, safe="")):
        said = said.replace(form, "***")
    return ValidationError(
        MALFORMED,
        f"{vendor}: {type(error).__name__}: {said[:_SAID]}",
        "check symbol, times and what the credentials may read",
    )
