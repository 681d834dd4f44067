"""Dataclasses that the type checker keeps frozen."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from impactd.core.base.quick import quick_dataclass


@quick_dataclass(frozen=True, slots=True)
class _Quick:
    name: str
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Frozen:
    name: str
    parts: tuple[int, ...] = ()


@quick_dataclass(frozen=True, slots=True, eq=False)
class _ByIdentity:
    values: np.ndarray  # type: ignore[type-arg]


def test_it_is_compared_hashed_and_replaced_as_a_frozen_one() -> None:
    quick, frozen = _Quick("a", (1, 2)), _Frozen("a", (1, 2))
    assert hash(quick) == hash(frozen)
    assert quick == _Quick("a", (1, 2)) != replace(quick, name="b")
    assert [f.name for f in fields(quick)] == [f.name for f in fields(frozen)]
    assert not hasattr(quick, "__dict__")


def test_one_that_is_not_compared_is_itself_alone() -> None:
    one, other = _ByIdentity(np.zeros(2)), _ByIdentity(np.zeros(2))
    assert len({one, other}) == 2
    assert one != other
