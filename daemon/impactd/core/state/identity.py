"""Settings and release of a saved state, and whether this process may continue it.

Every journal record and the state's ``meta`` name the settings hash and the
release.  The full settings are stored in the state under `SETTINGS`; when they
change, they decide whether the saved numbers keep their meaning.

A state that continues under another release, schema or settings begins with a
commit of its own, the *handover*, which the journal keeps: from there on the
inputs are processed by the new release and settings.

Migrations
----------
`SCHEMA_VERSION` is the version of every key and value of the state.  A release
that changes the form of one raises it and adds one entry to `MIGRATIONS`: the
version before, and a pure function from the keys and values of that version to
those of the next.  It also keeps a genuine state of the version before among
the tests.  The first release writes version 1, so there is none yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from impactd.core.base.settings import CoreSettings
from impactd.core.state.schema import (
    META,
    RESTART,
    SCHEMA_VERSION,
    SETTINGS,
    StateBrokenError,
    StateMismatchError,
    plain,
    settings_hash,
)
from impactd.core.state.settings_change import changes, obstacles
from impactd.core.state.whole import WholeState

Items = Mapping[str, bytes]

#: Schema version to the function that returns the items of the next version.
MIGRATIONS: Final[Mapping[int, Callable[[Items], Items]]] = {}


@dataclass(frozen=True, slots=True)
class Opened:
    """A saved state that this release can continue."""

    #: In this release's schema.
    items: Mapping[str, bytes]
    meta: Mapping[str, Any]
    #: Settings hash, release and schema that it was written under; None if all three are unchanged.
    previous: Mapping[str, object] | None
    #: Keys that a migration has changed; None for one that it removed.
    rewritten: Mapping[str, bytes | None]
    whole: WholeState


class Identity:
    """Which partition a state and journal belong to, under which settings and release."""

    def __init__(self, settings: CoreSettings, partition: int, partitions: int, release: str) -> None:
        self.settings = settings
        self.partition = partition
        self.partitions = partitions
        self.release = release
        self.config = settings_hash(settings)

    @property
    def terms(self) -> dict[str, object]:
        """What a journal must say once to be followed: the settings in full, and the number of partitions."""
        return {"partitions": self.partitions, "settings": plain(self.settings)}

    def saved_settings(self) -> bytes:
        """Return the state value of the settings."""
        return orjson.dumps(self.settings)

    def record(self, kind: str, commit_seq: int) -> dict[str, object]:
        """Return the leading fields of every journal record."""
        return {
            "type": kind,
            "partition": self.partition,
            "commit_seq": commit_seq,
            "config": self.config,
            "release": self.release,
        }

    def meta(self) -> dict[str, object]:
        """Return the fields of ``meta`` that identify the state."""
        return {
            "schema": SCHEMA_VERSION,
            "config": self.config,
            "release": self.release,
            "partition": self.partition,
            "partitions": self.partitions,
        }

    def open(self, items: Mapping[str, bytes], *, accept_settings: bool) -> Opened:
        """Check a saved state and return it in this release's schema.

        Parameters
        ----------
        accept_settings : bool
            Whether it may continue under settings other than those it was made under.

        Raises
        ------
        StateBrokenError
            If keys are missing, or are not those that were written.
        StateMismatchError
            If the schema is unknown, the partition number or count differs, or the settings differ and are not
            accepted or cannot be; the message names the remedy.
        """
        if META not in items:
            raise _broken("the state is not whole: it has keys but no meta", accept_settings=accept_settings)
        found: dict[str, Any] = orjson.loads(items[META])
        self._check_schema(found)
        whole = WholeState()
        whole.update(items)
        fault = whole.fault(found)
        if fault is not None:
            raise _broken(
                f"the state of commit {found['commit_seq']} is not whole: {fault}", accept_settings=accept_settings
            )
        now = _migrated(items, found)
        meta: dict[str, Any] = orjson.loads(now[META])
        if (meta["partition"], meta["partitions"]) != (self.partition, self.partitions):
            raise StateMismatchError(
                f"the state is that of partition {meta['partition']} of {meta['partitions']}, this is {self.partition} "
                f"of {self.partitions}: symbols have moved between partitions; set topics.partitions to the new "
                f"number, and {RESTART}"
            )
        if meta["config"] != self.config:
            self._check_change(meta, orjson.loads(now[SETTINGS]), accept=accept_settings)
        was = {name: found[name] for name in ("config", "release", "schema")}
        is_now = {"config": self.config, "release": self.release, "schema": SCHEMA_VERSION}
        rewritten: dict[str, bytes | None] = {
            key: now.get(key) for key in {*items, *now} if now.get(key) != items.get(key)
        }
        whole.update(rewritten)
        return Opened(now, meta, None if was == is_now else was, rewritten, whole)

    def _check_schema(self, meta: Mapping[str, Any]) -> None:
        """Refuse a schema that this release cannot read."""
        schema, oldest = meta["schema"], min(MIGRATIONS, default=SCHEMA_VERSION)
        if not oldest <= schema <= SCHEMA_VERSION:
            raise StateMismatchError(
                f"the state has schema {schema}, this release ({self.release}) reads {oldest} to {SCHEMA_VERSION}: "
                f"run the release that wrote it ({meta['release']}) or a later one, or {RESTART}"
            )

    def _check_change(self, meta: Mapping[str, Any], old: Mapping[str, Any], *, accept: bool) -> None:
        """Refuse settings under which the state cannot continue."""
        hashes = f"the state was made under settings {meta['config']}, these are {self.config}"
        why = obstacles(old, self.settings)
        if why:
            raise StateMismatchError(
                f"{hashes}, and it cannot continue under them: {'; '.join(why)}. Restore the old settings, or {RESTART}"
            )
        changed = changes(old, self.settings)
        if changed and not accept:
            what = "; ".join(f"{path} was {was} and is {now}" for path, (was, now) in changed.items())
            raise StateMismatchError(
                f"{hashes} ({what}): restore those, accept these with impactd run --accept-settings, or {RESTART}"
            )


def _broken(what: str, *, accept_settings: bool) -> StateBrokenError:
    """Return the error of a state that is not whole."""
    useless = "--accept-settings is for other settings and does not repair a state. " if accept_settings else ""
    return StateBrokenError(
        f"{what}. Nothing was published. {useless}Check the state topic's name, its cleanup.policy (compact alone) and "
        f"who else writes to it; restore the topic, or {RESTART}"
    )


def _migrated(items: Items, meta: Mapping[str, Any]) -> Items:
    """Return a state in this release's schema; one that has it already is returned unchanged."""
    if meta["schema"] == SCHEMA_VERSION:
        return items
    for version in range(meta["schema"], SCHEMA_VERSION):
        items = MIGRATIONS[version](items)
    return {**items, META: orjson.dumps({**meta, "schema": SCHEMA_VERSION})}
