"""Where the tests find what is not in the repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: The repository's root.
ROOT: Final = Path(__file__).resolve().parent.parent

#: The package's sources.
PACKAGE: Final = ROOT / "daemon" / "impactd"


def data_dir() -> Path | None:
    """Return the directory of recorded days, or None where there is none.

    Returns
    -------
    Path or None
        `IMPACTD_DATA_DIR` if it is set, else ``../shared/data`` beside the repository.
    """
    return _beside("data", "IMPACTD_DATA_DIR")


def cases_dir() -> Path | None:
    """Return the directory of recorded cases: `IMPACTD_CASES_DIR`, else ``../shared/cases``; None if there is none."""
    return _beside("cases", "IMPACTD_CASES_DIR")


def _beside(name: str, variable: str) -> Path | None:
    named = os.environ.get(variable)
    directory = Path(named) if named else ROOT.parent / "shared" / name
    return directory if directory.is_dir() else None
