"""Which settings may change under a saved state, and which may not.

Most settings only govern what happens next: a limit, a half-life, a pace.
Those in `FIXED` define what the saved numbers mean; under another value the
numbers would be misread without an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from impactd.core.base.settings import CoreSettings, SessionRule
from impactd.core.state.schema import plain


def _fixed(of: Any, above: str = "") -> Iterator[tuple[str, str]]:
    for item in dataclasses.fields(of):
        section: Any = item.default_factory
        if item.metadata.get("fixed"):
            yield above + item.name, item.metadata["fixed"]
        elif dataclasses.is_dataclass(section):
            yield from _fixed(section, f"{above}{item.name}.")


#: Settings by path, and why a state cannot continue when they change.
FIXED: Final = dict(_fixed(CoreSettings))


def changes(old: Mapping[str, Any], new: CoreSettings) -> dict[str, tuple[Any, Any]]:
    """Return what has changed, by path: what it was, and what it is.

    A setting that the older release did not have counts as its default, which
    is what that release did; one that no longer exists is ignored.

    Parameters
    ----------
    old : mapping
        Settings as the state or a journal record holds them.
    """
    before, after = dict(_flat(old)), dict(_flat(plain(new)))
    default = dict(_flat(plain(CoreSettings())))
    pairs = {path: (before.get(path, default[path]), value) for path, value in after.items()}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def obstacles(old: Mapping[str, Any], new: CoreSettings) -> list[str]:
    """Return why a state made under `old` cannot continue under `new`; empty if it can."""
    changed = changes(old, new)
    found = {path: changed[path] for path in FIXED if path in changed}
    if "sessions" in found:
        before, after = (_hours_by_symbol(pairs) for pairs in found.pop("sessions"))
        if before != after:
            found["sessions"] = before, after
    return [f"{path} was {before} and is {after}: {FIXED[path]}" for path, (before, after) in found.items()]


def _hours_by_symbol(pairs: Any) -> list[tuple[str, list[Any]]]:
    """Return of `CoreSettings.sessions` what the saved profiles depend on; other holidays change none of them."""
    fixed = [item.name for item in dataclasses.fields(SessionRule) if item.metadata.get("fixed")]
    return [(pattern, [rule[name] for name in fixed]) for pattern, rule in pairs]


def _flat(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", item) for inner, item in value.items())
        else:
            yield name, value
