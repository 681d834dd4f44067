"""What commands make of the settings."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from impactd.wire.codec import Limits

if TYPE_CHECKING:
    from impactd.config import Settings
    from impactd.core.base.settings import CoreSettings


def limits(settings: Settings) -> Limits:
    """Return the bounds on input records, and the unit of their times."""
    return Limits.of(settings.core())


def replay_settings(settings: Settings, *, has_executions: bool) -> CoreSettings:
    """Return the core's settings for recorded days: in event time, and filled as the replay section says."""
    core = settings.core()
    fills = settings.replay.fills
    if fills == "auto":
        fills = "reported" if has_executions else "scheduled"
    return dataclasses.replace(core, apply="in_event_time", plans=dataclasses.replace(core.plans, fills=fills))
