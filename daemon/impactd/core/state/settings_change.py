"""Which settings may change under a state, and which may not.

What a state holds was made under its settings.  Most of them only say how to
go on: a limit, a half-life, a pace.  Those in `FIXED` say what the saved
numbers mean; under another value they would be read wrongly, without anybody
noticing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from impactd.core.base.settings import CoreSettings

#: Settings by their path, and why a state cannot outlive a change.
FIXED: Final = {
    "apply": "what waits and what has applied would no longer be told apart",
    "books.interval_ns": "open minutes, schedules and models are of that interval",
    "books.sizes": "the accumulators of open minutes are of that grid",
    "model.kind": "the fitted coefficients are of that kind",
    "model.intercept": "the fitted coefficients are of that form",
    "model.deltas": "each exponent has a filter of its own",
    "model.prior_profile": "deviations are from that profile",
    "model.profile": "deviations are from that profile",
    "plans.fills": "filled quantities are counted by that rule",
    "session.open_s": "deviations are from that session's profile",
    "session.close_s": "deviations are from that session's profile",
    "wire.inputs": "positions are of those topics",
}

#: What an older release did not know of, but was already told: what it had been told is not known.
_NOT_KNOWN: Final = "wire."


def changes(old: Mapping[str, Any], new: CoreSettings) -> dict[str, tuple[Any, Any]]:
    """Return what has changed, by path: what it was, and what it is.

    A setting that the older release did not know stood, as it were, at its
    default, by which a release does what was done without it; one that is
    gone says nothing any more. How the wire was set an older release did not
    say: it counts as it is now.

    Parameters
    ----------
    old : mapping
        Settings as the state or a journal record holds them.
    """
    before, after = dict(_flat(old)), dict(_flat(plain(new)))
    default = dict(_flat(plain(CoreSettings())))
    default |= {path: value for path, value in after.items() if path.startswith(_NOT_KNOWN)}
    pairs = {path: (before.get(path, default[path]), value) for path, value in after.items()}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def obstacles(old: Mapping[str, Any], new: CoreSettings) -> list[str]:
    """Return why a state made under `old` cannot go on under `new`; empty where it can."""
    changed = changes(old, new)
    return [
        f"{path} was {changed[path][0]} and is {changed[path][1]}: {FIXED[path]}" for path in FIXED if path in changed
    ]


def plain(settings: CoreSettings) -> dict[str, Any]:
    """Return settings as JSON gives them back."""
    fields: dict[str, Any] = orjson.loads(orjson.dumps(dataclasses.asdict(settings)))
    return fields


def _flat(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", item) for inner, item in value.items())
        else:
            yield name, value
