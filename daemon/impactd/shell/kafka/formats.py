"""Formats of records: what is needed to derive the same bytes again.

The service takes it from its settings and journals it with the core's; a run is derived again under the journal's,
whatever the settings are now.
"""

from __future__ import annotations

from dataclasses import replace

from impactd.config import Settings
from impactd.core.base.settings import CoreSettings, WireSettings


def with_formats(core: CoreSettings, settings: Settings) -> CoreSettings:
    """Return the core's settings with the formats that `settings` publish by."""
    return replace(core, wire=settings.formats())


def as_published(settings: Settings, wire: WireSettings) -> Settings:
    """Return `settings` with the formats of a run; its outputs are still looked for where `settings` say."""
    return settings.replace(
        wire={
            "codec": wire.codec,
            "format": wire.format,
            "time_unit": wire.time_unit,
            "timestamps": wire.timestamps,
            "max_message_bytes": wire.max_message_bytes,
        },
        kafka={"max_dead_letter_bytes": wire.max_dead_letter_bytes},
        topics=settings.topics.renamed(dict(wire.inputs)),
    )
