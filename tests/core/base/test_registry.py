"""Registries: names without loading, additions by call and by entry point."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from impactd.core.base import registry as module
from impactd.core.base.registry import Registry, UnknownNameError

OWN = {"fraction": "fractions:Fraction", "broken": "fractions:Absent"}


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> Registry[type]:
    found = [
        EntryPoint("decimal", "decimal:Decimal", "t.numbers"),
        EntryPoint("absent", "no_such_module:X", "t.numbers"),
    ]
    monkeypatch.setattr(module, "entry_points", lambda *, group: found if group == "t.numbers" else [])
    return Registry("number", "t.numbers", OWN)


def test_names_are_own_then_registered_then_installed_and_none_is_loaded(numbers: Registry[type]) -> None:
    sys.modules.pop("no_such_module", None)
    numbers.register("whole", int)
    assert numbers.names() == ("fraction", "broken", "whole", "absent", "decimal")
    assert "absent" in numbers


@pytest.mark.parametrize(("name", "thing"), [("fraction", "Fraction"), ("decimal", "Decimal")])
def test_a_thing_is_loaded_when_asked_for(numbers: Registry[type], name: str, thing: str) -> None:
    assert numbers.get(name).__name__ == thing
    assert numbers.get(name) is numbers.get(name)


def test_a_registered_thing_can_be_taken_out_again(numbers: Registry[type]) -> None:
    numbers.register("whole", int)
    assert numbers.get("whole") is int
    numbers.forget("whole")
    assert "whole" not in numbers
    with pytest.raises(UnknownNameError, match="whole"):
        numbers.get("whole")


@pytest.mark.parametrize("name", ["fraction", "decimal"])
def test_a_taken_name_is_refused(numbers: Registry[type], name: str) -> None:
    with pytest.raises(ValueError, match="exists already"):
        numbers.register(name, int)


def test_an_unknown_name_is_refused_with_the_names_that_there_are(numbers: Registry[type]) -> None:
    with pytest.raises(UnknownNameError, match=r"number 'x+' does not exist; choose one of fraction, broken, absent"):
        numbers.check("x" * 1_000)


@pytest.mark.parametrize("name", ["broken", "absent"])
def test_what_cannot_be_loaded_is_named(numbers: Registry[type], name: str) -> None:
    with pytest.raises(ImportError, match=rf"number {name} \(.*\) cannot be loaded"):
        numbers.get(name)
