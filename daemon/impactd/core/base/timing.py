"""Timing probes: the shell times the core, which reads no clock.

The engine opens a probe around each stage and names it.  What a probe does and measures never comes back into the core.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

Stage = Literal["refit", "solve"]

#: Takes a stage and returns what is entered for as long as it lasts.
Probe = Callable[[Stage], AbstractContextManager[None]]


def unwatched(_stage: Stage) -> AbstractContextManager[None]:
    """Time nothing."""
    return nullcontext()
