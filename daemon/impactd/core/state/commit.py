"""What one application of inputs gives, and how the journal records it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from impactd.core.inputs.inbox import Inputs, LocalControl
from impactd.core.outputs.messages import Output


@dataclass(frozen=True, slots=True)
class Commit:
    """What one application gives; it is published in one transaction.

    Attributes
    ----------
    state : mapping of str to bytes or None
        Changed state keys; None is a tombstone.
    journal : mapping
        The journal record, ready for JSON.
    snapshot : tuple of mapping
        Further journal records that hold the whole state after this commit, now and then.
    """

    outputs: tuple[Output, ...]
    state: Mapping[str, bytes | None]
    journal: Mapping[str, object]
    snapshot: tuple[Mapping[str, object], ...] = ()


def inputs_record(inputs: Inputs) -> dict[str, object]:
    """Return what a journal record says of the inputs: all that is needed to take the same again."""
    return {
        "from": {str(topic): start for topic, (start, _) in inputs.spans.items()},
        "to": {str(topic): to for topic, (_, to) in inputs.spans.items()},
        "idle_to": inputs.idle_to,
        "deadlines": [],
        "controls": [control._asdict() for control in inputs.controls],
    }


def controls_of(entry: Mapping[str, Any]) -> tuple[LocalControl, ...]:
    """Return the kill switch's turns that a journal record holds."""
    return tuple(LocalControl(control["type"], control["reason"]) for control in entry.get("controls", ()))
