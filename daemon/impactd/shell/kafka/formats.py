"""What stands between bytes and events, and has to be known to make the same bytes again.

The service takes it from its Kafka settings and journals it with the core's;
whoever derives a run again takes it from there, whatever is set today.
"""

from __future__ import annotations

from dataclasses import replace

from impactd.core.base.settings import CoreSettings, WireSettings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.kafka.client import KafkaSettings


def with_formats(core: CoreSettings, settings: KafkaSettings) -> CoreSettings:
    """Return the core's settings with the formats that `settings` publish by."""
    wire = replace(
        core.wire,
        codec=settings.codec,
        timestamps=settings.timestamps,
        max_message_bytes=settings.max_message_bytes,
        max_dead_letter_bytes=settings.max_dead_letter_bytes,
        inputs=tuple((topic.value, settings.topic(topic)) for topic in INPUT_TOPICS),
    )
    return replace(core, wire=wire)


def as_published(settings: KafkaSettings, wire: WireSettings) -> KafkaSettings:
    """Return `settings` with the formats of a run; its outputs are still looked for where `settings` say."""
    return replace(
        settings,
        codec=wire.codec,
        timestamps=wire.timestamps,
        max_message_bytes=wire.max_message_bytes,
        max_dead_letter_bytes=wire.max_dead_letter_bytes,
        topics={**settings.topics, **{Topic(role): name for role, name in wire.inputs}},
    )
