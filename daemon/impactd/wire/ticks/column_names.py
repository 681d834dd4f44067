"""Columns of CSV files by the plain form of their names."""

from __future__ import annotations

import re
from collections.abc import Sequence


def column_of(names: Sequence[str], wanted: Sequence[str]) -> int:
    """Return the first of the wanted columns that is there, by its plain name; -1 where none is."""
    plain = [re.sub(r"[\s_\-.]", "", name).lower() for name in names]
    return next((plain.index(name) for name in wanted if name in plain), -1)
