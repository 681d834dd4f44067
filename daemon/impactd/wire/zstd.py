"""Python's own zstd module, which 3.14 has, or its backport."""

from __future__ import annotations

import contextlib
from importlib import import_module
from typing import Any, Final


def _found() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return import_module(name)
    return None


#: None without either.
ZSTD: Final = _found()
