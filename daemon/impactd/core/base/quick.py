"""Frozen dataclasses of which hundreds are made as a minute closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

__all__ = ["quick_dataclass"]

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import dataclass as quick_dataclass
else:
    from dataclasses import dataclass

    def quick_dataclass(*, frozen: bool, slots: bool, eq: bool = True) -> Callable[[type[T]], type[T]]:
        """Return what `dataclass` does, except that the type checker alone keeps an instance frozen.

        What Python does for it takes 0.1 us a field as one is made, and a close of 300 orders makes some 80,000 fields.
        """
        return dataclass(slots=slots, eq=eq, unsafe_hash=frozen and eq)
