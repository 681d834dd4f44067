"""Fixtures for all tests, and a loud word about whatever could not be tested here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import paths

_NO_DATA = "no recorded days here: set IMPACTD_DATA_DIR, or put them in ../shared/data beside the repository"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the directory of recorded days; skip where there is none."""
    directory = paths.data_dir()
    if directory is None:
        pytest.skip(_NO_DATA)
    return directory
