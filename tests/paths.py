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
    named = os.environ.get("IMPACTD_DATA_DIR")
    directory = Path(named) if named else ROOT.parent / "shared" / "data"
    return directory if directory.is_dir() else None
