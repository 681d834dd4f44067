"""An older state becomes one of this release, key by key.

`MIGRATIONS` has one entry a schema version: a pure function from the keys and
values of that version to those of the next.  A state is carried through as
many as it takes; a version that this release does not know is refused.

A release that changes a value's form raises `SCHEMA_VERSION`, adds the entry
that leads there, and keeps a genuine state of the version before among the
tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from impactd.core.saved import META, SCHEMA_VERSION, SETTINGS, StateMismatchError

Items = Mapping[str, bytes]


def _with_settings(items: Items) -> Items:
    """Return schema 1 as 2: the state says under which settings it was made, which an old one does not know."""
    return {**items, SETTINGS: b"null"}


#: From which schema, and how to the next.
MIGRATIONS: Final[Mapping[int, Callable[[Items], Items]]] = {1: _with_settings}


def migrated(items: Items, release: str) -> Items:
    """Return a whole state in this release's schema; one that has it already is returned as it is.

    Parameters
    ----------
    items : mapping of str to bytes
        With the key ``meta``.
    release : str
        Name of this release.

    Raises
    ------
    StateMismatchError
        If the schema is newer than this release, or older than all that it can migrate.
    """
    meta: dict[str, Any] = orjson.loads(items[META])
    schema = meta["schema"]
    if schema == SCHEMA_VERSION:
        return items
    if schema not in MIGRATIONS:
        oldest = min(MIGRATIONS)
        raise StateMismatchError(
            f"the state has schema {schema}, this release ({release}) reads {oldest} to {SCHEMA_VERSION}: "
            f"run the release that wrote it ({meta['release']}) or a later one, or begin again in a new environment"
        )
    while schema < SCHEMA_VERSION:
        items = MIGRATIONS[schema](items)
        schema += 1
    return {**items, META: orjson.dumps(meta | {"schema": SCHEMA_VERSION})}
