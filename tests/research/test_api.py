"""The names that research scripts import, their examples, and what they need."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import impactd
import impactd.research

RESEARCH_MODULES = sorted(module.name for module in pkgutil.iter_modules(impactd.research.__path__))


@pytest.mark.parametrize("name", [name for name in impactd.__all__ if name != "__version__"])
def test_exported_name_is_loaded_when_asked_for(name: str) -> None:
    assert getattr(impactd, name).__module__.startswith("impactd.research.")
    assert name in dir(impactd)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = impactd.Nothing


def test_import_of_the_package_needs_no_pandas() -> None:
    code = "import sys, impactd; assert not {'pandas', 'numpy', 'sklearn', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_pandas_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "try:\n    from impactd import ImpactModel\n"
        "except ImportError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "impactd.ImpactModel needs pandas" in said
    assert "pip install 'impactd[research]'" in said


@pytest.mark.parametrize("name", RESEARCH_MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(f"impactd.research.{name}")
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
