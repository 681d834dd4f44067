"""The state of one partition as keys and values of a compacted topic.

Rules:

- one key for each part that changes independently: ``meta``, ``settings``,
  ``books/SYMBOL``, ``market/SYMBOL``, ``lasting/SYMBOL/PART`` (what of a
  market seldom changes), ``tca/SYMBOL``, ``order/ID``, ``execs/ID/N``,
  ``assumed/ID/N``, ``held/N``, ``built/CODEC/SYMBOL/N``, ``changes/N``; a
  commit writes only what it changed, and the size of each value is bounded;
- floats are written by their shortest exact decimal and read back bit for
  bit; arrays are written as bytes;
- positions are part of ``meta``, so state and position cannot disagree.

`impactd.core.orders.codec` writes the values of orders, executions and held events.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, Final, get_type_hints

import orjson

from impactd.core.base.instrument import Instrument
from impactd.core.base.settings import CoreSettings, SessionRule
from impactd.core.base.venue import VenueRule

#: Version of all keys and values; a state of another version is migrated (`impactd.core.state.identity`) or refused.
SCHEMA_VERSION: Final = 1

#: The keys of the state's identity and of the settings that it was made under.
META: Final = "meta"
SETTINGS: Final = "settings"


#: Sections of the settings by name, from the fields of `CoreSettings`.
_SECTIONS: Final[dict[str, type[Any]]] = {
    name: cls
    for name, cls in get_type_hints(CoreSettings).items()
    if isinstance(cls, type) and dataclasses.is_dataclass(cls)
}


#: The remedy for every state that cannot be continued.
RESTART: Final = (
    "start again from the inputs with an empty state: new names for the state and journal topics "
    "(topics.names.state, topics.names.journal; impactd topics create)"
)


class StateMismatchError(Exception):
    """A saved state that this process cannot continue under its settings, release or topic."""


class StateBrokenError(StateMismatchError):
    """A saved state that is not whole; no setting makes it usable."""


def settings_hash(settings: CoreSettings) -> str:
    """Return the hash of the settings, which with the inputs fix every published byte (16 hex digits)."""
    return hash_of(plain(settings))


def plain(settings: CoreSettings) -> dict[str, Any]:
    """Return the settings as JSON gives them back, and a journal record holds them."""
    fields: dict[str, Any] = orjson.loads(orjson.dumps(settings))
    return fields


def hash_of(fields: Mapping[str, Any]) -> str:
    """Return the hash of settings that are given as a mapping."""
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def settings_from(fields: Mapping[str, Any]) -> CoreSettings:
    """Return the settings that a journal record holds in full.

    Raises
    ------
    TypeError
        If a setting is unknown, or a section is missing or null.
    """
    named = dict(fields)
    for section in _SECTIONS:
        if not isinstance(named.get(section), Mapping):
            raise TypeError(f"settings.{section}: is not a section; read the record with the release that wrote it")
    sections = {name: _section(cls, named.pop(name)) for name, cls in _SECTIONS.items()}
    sessions = tuple((pattern, _section(SessionRule, rule)) for pattern, rule in named.pop("sessions", ()))
    instruments = tuple((pattern, _section(Instrument, found)) for pattern, found in named.pop("instruments", ()))
    venues = tuple(_section(VenueRule, rule) for rule in named.pop("venues", ()))
    return CoreSettings(**sections, sessions=sessions, instruments=instruments, venues=venues, **named)


def _section(cls: type[Any], fields: Mapping[str, Any]) -> Any:
    """Return a section with the tuples that JSON has turned into lists."""
    return cls(**{name: _tuples(value) for name, value in fields.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
