"""The published contents of one commit, and how the journal records its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from impactd.core.inputs.inbox import Inputs, LocalControl
from impactd.core.outputs.counts import Counts
from impactd.core.outputs.messages import Output


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything that one commit publishes, in one transaction."""

    outputs: tuple[Output, ...]
    #: Changed state keys; None is a tombstone.
    state: Mapping[str, bytes | None]
    #: The journal record, ready for JSON.
    journal: Mapping[str, object]
    #: Further journal records with the whole state after this commit; empty for most commits.
    snapshot: tuple[Mapping[str, object], ...] = ()
    counts: Counts = field(default_factory=Counts)


def inputs_record(inputs: Inputs) -> dict[str, object]:
    """Return the fields of a journal record from which the same inputs can be taken again."""
    skipped = {} if inputs.skipped_to is None else {"skipped_to": inputs.skipped_to}
    return skipped | {
        "from": {str(topic): start for topic, (start, _) in inputs.spans.items()},
        "to": {str(topic): to for topic, (_, to) in inputs.spans.items()},
        "idle_to": inputs.idle_to,
        "controls": [control._asdict() for control in inputs.controls],
    }


def controls_of(entry: Mapping[str, Any]) -> tuple[LocalControl, ...]:
    """Return the kill switch changes in a journal record."""
    return tuple(LocalControl(control["type"], control["reason"]) for control in entry.get("controls", ()))
