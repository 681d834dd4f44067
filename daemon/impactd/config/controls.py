"""Settings of what stops plans, and of what raises the alarm about input."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from impactd.config.base import DAY_S, Positive, Section
from impactd.core.base.settings import InvalidSettings

_INVALID = InvalidSettings()


class ControlsSection(Section):
    """What stops plans from outside."""

    kill_switch_file: Annotated[str, Field(min_length=1, max_length=4_000)] | None = None
    """While a file of this name exists, this process publishes no active plan; looked at each second."""


class GateSection(Section):
    """Limits that a plan must hold to be published; what cannot be compared is withheld. Unset: no limit."""

    max_order_qty: Positive | None = None
    """Largest order_qty, in shares."""
    max_order_notional: Positive | None = None
    """Largest order_qty times mid, in currency."""
    max_interval_depth: Positive | None = None
    """Most that one interval trades, as a multiple of the visible depth."""
    max_plans_per_second: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Active plans in a second of event time in a partition; above the number of its orders."""


class InvalidSection(Section):
    """How much of the input may be unusable before an alert says so and the process is not ready."""

    max_ratio: Annotated[float, Field(ge=0, le=1)] | None = _INVALID.max_ratio
    """Largest share of refused messages; 1 never tells."""
    min_messages: Annotated[int, Field(ge=1, le=1_000_000_000)] = _INVALID.min_messages
    """Fewer messages in the window say nothing."""
    window_intervals: Annotated[int, Field(ge=1, le=DAY_S)] = _INVALID.window_intervals
    """Minutes (books.interval_s) of event time that are looked at together."""
