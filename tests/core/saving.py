"""A value and what of it is lasting, saved and loaded together, as a partition's state does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from impactd.core.base.stateful import Lasting


class Saved(Protocol):
    """What saves what changes with each minute by itself."""

    def save(self) -> Any:
        """Return that."""
        ...

    def load(self, saved: Any) -> None:
        """Continue from it."""
        ...


def save_all(one: Saved, lasting: Sequence[Lasting | None]) -> bytes:
    """Return all of a value's state."""
    return orjson.dumps([one.save(), [None if part is None else part.save_lasting() for part in lasting]])


def load_all(one: Saved, lasting: Sequence[Lasting | None], saved: bytes) -> None:
    """Continue from what `save_all` returned."""
    rest, parts = orjson.loads(saved)
    for part, own in zip(lasting, parts, strict=True):
        if part is not None and own is not None:
            part.load_lasting(own)
    one.load(rest)
