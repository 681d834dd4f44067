"""The lock files: complete, hashed, and silent about where packages come from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from tests.paths import ROOT

LOCKS: Final = sorted((ROOT / "requirements").glob("*.lock"))


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _requirement(text: str) -> tuple[str, list[str]]:
    """Split ``name[extra,...]>=1`` into its name and extras."""
    found = re.match(r"([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?", text)
    assert found is not None
    return found[1].lower(), [extra for extra in (found[2] or "").split(",") if extra]


def _wanted(extras: list[str]) -> set[str]:
    """Return the names that the project with `extras` asks for."""
    project = _project()
    names: set[str] = set()
    todo = [*project["dependencies"], *(f"impactd[{extra}]" for extra in extras)]
    while todo:
        name, of = _requirement(todo.pop())
        if name == "impactd":
            todo += [requirement for extra in of for requirement in project["optional-dependencies"][extra]]
        else:
            names.add(name)
    return names


def _locked(path: Path) -> dict[str, set[str]]:
    """Return the locked versions by name; there are several where they differ by Python."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("run", []),
        ("solvers", ["solvers"]),
        ("research", ["research"]),
        ("dev", ["dev"]),
        ("bench", ["bench"]),
        ("fix", ["fix-test"]),
    ],
)
def test_lock_holds_everything_that_the_project_asks_for(lock: str, extras: list[str]) -> None:
    missing = _wanted(extras) - set(_locked(ROOT / "requirements" / f"{lock}.lock"))
    assert not missing, "pyproject.toml has changed: run `make lock`"


@pytest.mark.parametrize("lock", ["run", "solvers", "research", "build"])
def test_lock_of_the_image_ships_the_versions_that_were_tested(lock: str) -> None:
    tested = _locked(ROOT / "requirements" / "dev.lock")
    shipped = _locked(ROOT / "requirements" / f"{lock}.lock")
    assert shipped == {name: tested.get(name) for name in shipped}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_lock_is_hashed_and_names_no_index(path: Path) -> None:
    entries = re.split(r"^(?=[a-z0-9])", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in "".join(entries)
