"""Cached machine code is used only while all sources that it was compiled from are unchanged."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from numba.core import config

from impactd import kernel_cache
from impactd.kernel_cache import source_files, source_stamp
from tests.paths import PACKAGE

#: Sources of a small package: `a` imports `b`, which imports `c` for its types; `d` and `e` import each other.
SOURCES: Final = {
    "__init__": "",
    "a": "from impactd import (  # with (brackets)\n    b as two,\n)\n",
    "b": "if TYPE_CHECKING:\n    from impactd.room import c\n",
    "room/__init__": "",
    "room/c": "ONE = 1\n",
    "d": "import impactd.e\n",
    "e": "from impactd import d\n",
}

#: A kernel whose inner kernel, tuple and constant are in another file.
INNER: Final = """
from typing import NamedTuple
from impactd.core.base.jit import inner_kernel
CONSTANT = 1
class Pair(NamedTuple):
    first: float
    second: float
@inner_kernel
def inner(value):
    return value + 10
"""
OUTER: Final = """
from impactd.core.base.jit import kernel
from impactd.inner import CONSTANT, Pair, inner
@kernel
def outer(pair):
    return inner(pair.first) + 100 * CONSTANT
def answer():
    return outer(Pair(first=1.0, second=2.0))
"""


def write(package: Path, **changed: str) -> Path:
    for name, text in (SOURCES | changed).items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return package


def stamps(package: Path) -> dict[str, bytes]:
    return {name: source_stamp(package / f"{name}.py", package) for name in SOURCES}


def test_stamp_changes_with_every_file_that_is_imported_and_with_no_other(tmp_path: Path) -> None:
    before = stamps(write(tmp_path / "before"))
    reach = {
        "a": {"a"},
        "b": {"a", "b"},
        "room/c": {"a", "b", "room/c"},
        "d": {"d", "e"},
        "e": {"d", "e"},
        "room/__init__": {"a", "b", "room/__init__"},
        "__init__": {"a", "d", "e", "__init__"},
    }
    for name, changed in reach.items():
        after = stamps(write(tmp_path / name.replace("/", "-"), **{name: SOURCES[name] + "\n"}))
        assert {other for other in SOURCES if after[other] != before[other]} == changed


def test_stamp_does_not_depend_on_the_directory(tmp_path: Path) -> None:
    assert stamps(write(tmp_path / "one")) == stamps(write(tmp_path / "two"))


def imported(file: Path) -> Iterator[Path]:
    """Files of the package that `file` imports, found from its syntax tree."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            package = ".".join(("impactd", *file.relative_to(PACKAGE).parent.parts))
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] == "impactd":
                place = PACKAGE.joinpath(*name.split(".")[1:])
                yield from (path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file())


def test_every_import_of_the_package_is_found() -> None:
    for file in sorted(PACKAGE.rglob("*.py")):
        missed = set(imported(file)) - source_files(file)
        assert not missed, f"{file}: {missed}"


def test_kernels_of_this_package_are_compared_with_all_their_sources() -> None:
    from impactd.core.books import kernel  # noqa: PLC0415 - compiled kernels are loaded only here

    compiled = [
        value for value in vars(kernel).values() if hasattr(value, "py_func") and value.__module__ == kernel.__name__
    ]
    assert compiled
    expected = source_stamp(Path(kernel.__file__))
    assert {one._cache._impl.locator.get_source_stamp() for one in compiled} == {expected}


@pytest.mark.skipif(not hasattr(config, "CACHE_LOCATOR_CLASSES"), reason="numba before 0.62 lets nobody choose")
@pytest.mark.parametrize("directory", [None, "kernels"])
def test_a_change_in_another_file_recompiles_the_kernel(tmp_path: Path, directory: str | None) -> None:
    package = tmp_path / "impactd"
    (package / "core" / "base").mkdir(parents=True)
    for file in ("kernel_cache.py", "core/base/jit.py"):
        (package / file).write_bytes((PACKAGE / file).read_bytes())
    for room in ("", "core", "core/base"):
        (package / room / "__init__.py").touch()
    (package / "outer.py").write_text(OUTER)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CACHE")}
    environ |= {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    if directory is not None:
        environ["NUMBA_CACHE_DIR"] = str(tmp_path / directory)

    def run(inner: str) -> tuple[float, bool]:
        (package / "inner.py").write_text(inner)
        program = "import impactd.outer as o; print(o.answer(), bool(o.outer.stats.cache_hits))"
        done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
        answer, from_cache = done.stdout.split()
        return float(answer), from_cache == "True"

    assert run(INNER) == (111.0, False)
    assert run(INNER) == (111.0, True)
    assert run(INNER.replace("value + 10", "value + 20")) == (121.0, False)
    assert run(INNER.replace("CONSTANT = 1", "CONSTANT = 2")) == (211.0, False)
    fields = "    first: float\n    second: float\n"
    assert run(INNER.replace(fields, "    second: float\n    first: float\n")) == (111.0, False)


def test_functions_of_other_packages_keep_their_own_stamp(tmp_path: Path) -> None:
    file = tmp_path / "other.py"
    file.write_text("def f(value):\n    return value\n")
    spec = importlib.util.spec_from_file_location("other", file)
    assert spec is not None
    assert spec.loader is not None
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    locator = kernel_cache.KernelLocator.from_function(other.f, str(file))
    assert locator.get_source_stamp() == type(locator).get_source_stamp(locator)


def test_a_locator_that_the_user_has_set_stays() -> None:
    program = (
        "import impactd.core.books.kernel as k; from numba.core import config; print(config.CACHE_LOCATOR_CLASSES)"
    )
    environ = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "InTreeCacheLocator"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["InTreeCacheLocator"]
