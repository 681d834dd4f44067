"""The release, and the versions of what it reads and writes."""

from __future__ import annotations

from typing import get_args

from impactd.__about__ import __version__


def text() -> str:
    """Return the release on the first line, and each format with its versions on its own line."""
    from impactd.core.outputs.messages import Message
    from impactd.core.state.identity import MIGRATIONS
    from impactd.core.state.schema import SCHEMA_VERSION as STATE
    from impactd.shell.audit.capture import CAPTURE_SCHEMA
    from impactd.shell.kafka.encoder import JOURNAL_SCHEMA
    from impactd.wire.registry import CODECS

    return "\n".join(
        (
            f"impactd {__version__}",
            f"state     writes schema {STATE}, reads {min(MIGRATIONS, default=STATE)} to {STATE}",
            f"messages  writes {', '.join(sorted(cls.SCHEMA for cls in get_args(Message)))} (header schema)",
            f"ticks     reads {', '.join(CODECS.names())}",
            f"journal   writes and reads {JOURNAL_SCHEMA.decode()}",
            f"capture   writes and reads {CAPTURE_SCHEMA}",
        )
    )
