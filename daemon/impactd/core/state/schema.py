"""The state of one partition as keys and values of a compacted topic.

Rules:

- one key a thing that changes by itself: ``meta``, ``settings``,
  ``tape/SYMBOL``, ``market/SYMBOL``, ``tca/SYMBOL``, ``order/ID``,
  ``execs/ID/N``, ``held/N``; so that a commit writes only what it changed and no value grows
  without bound;
- floats are written by their shortest exact decimal and read back bit for
  bit; arrays are written as their bytes;
- positions are part of ``meta``, so that state and position cannot disagree.

`impactd.core.orders.codec` writes the values of orders, executions and held events.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import orjson

from impactd.core.base.settings import (
    BookSettings,
    CoreSettings,
    GateSettings,
    InvalidSettings,
    ModelSettings,
    PlanSettings,
    SessionRule,
    WireSettings,
)

#: Version of everything in this module; a state of another version is migrated or refused.
SCHEMA_VERSION: Final = 4

#: The key of what the state says of itself, and that of the settings that it was made under.
META: Final = "meta"
SETTINGS: Final = "settings"


class StateMismatchError(Exception):
    """A saved state that these settings, this release or this topic cannot continue."""


def settings_hash(settings: CoreSettings) -> str:
    """Return the hash of all that can change a published byte beside the inputs (16 hex digits)."""
    return hash_of(dataclasses.asdict(settings))


def hash_of(fields: Mapping[str, Any]) -> str:
    """Return the hash of settings that are given as a mapping."""
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def settings_from(fields: Mapping[str, Any]) -> CoreSettings:
    """Return the settings that a journal record holds in full.

    Raises
    ------
    TypeError
        If they are those of a release with other settings, or a section is missing or none.
    """
    named = dict(fields)
    for section in ("books", "model", "plans", "session"):
        if not isinstance(named.get(section), Mapping):
            raise TypeError(f"settings.{section}: is not a section; read the record with the release that wrote it")
    return CoreSettings(
        books=_settings(BookSettings, named.pop("books")),
        model=_settings(ModelSettings, named.pop("model")),
        plans=_settings(PlanSettings, named.pop("plans")),
        session=_settings(SessionRule, named.pop("session")),
        gate=_settings(GateSettings, named.pop("gate", {})),
        invalid=_settings(InvalidSettings, named.pop("invalid", {})),
        wire=_settings(WireSettings, named.pop("wire", {})),
        **named,
    )


S = TypeVar("S")


def _settings(cls: type[S], fields: Mapping[str, Any]) -> S:
    """Return a section with the tuples that JSON has turned into lists."""
    return cls(**{name: _tuples(value) for name, value in fields.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
