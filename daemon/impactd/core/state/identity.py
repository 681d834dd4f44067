"""What a partition's state and journal are made under, and whether a saved state can go on under it.

Every journal record and the state's ``meta`` name the hash of the settings
and the release.  The settings in full stand in the state too, under
`SETTINGS`: where they have changed it is they that decide whether the state
still means what it says.

A state that goes on under another release, schema or settings than it was
written under begins with a commit of its own, the *handover*, which the
journal keeps: from there on the inputs mean what the new ones make of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from impactd.core.base.settings import CoreSettings
from impactd.core.state.migrate import migrated, settings_of_schema_1
from impactd.core.state.schema import META, SCHEMA_VERSION, SETTINGS, StateMismatchError, settings_hash
from impactd.core.state.settings_change import changes, obstacles


@dataclass(frozen=True, slots=True)
class Opened:
    """A saved state that this release can go on from.

    Attributes
    ----------
    items : mapping of str to bytes
        In this release's schema.
    meta : mapping
        What stands under ``meta``.
    previous : mapping or None
        Settings' hash, release and schema that it was written under, where one of them is another now.
    rewritten : mapping of str to bytes or None
        Keys that a migration has changed; None where it took one away.
    """

    items: Mapping[str, bytes]
    meta: Mapping[str, Any]
    previous: Mapping[str, object] | None
    rewritten: Mapping[str, bytes | None]


class Identity:
    """Who speaks for a partition: its number, the settings and the release.

    Parameters
    ----------
    partition, partitions : int
        Which partition number, of how many.
    """

    def __init__(self, settings: CoreSettings, partition: int, partitions: int, release: str) -> None:
        self.settings = settings
        self.partition = partition
        self.partitions = partitions
        self.release = release
        self.config = settings_hash(settings)

    @property
    def terms(self) -> dict[str, object]:
        """What a journal must say once to be followed: the settings in full, and the number of partitions."""
        return {"partitions": self.partitions, "settings": dataclasses.asdict(self.settings)}

    def saved_settings(self) -> bytes:
        """Return the state value of the settings."""
        return orjson.dumps(self.settings)

    def record(self, kind: str, commit_seq: int) -> dict[str, object]:
        """Return what every journal record begins with."""
        return {
            "type": kind,
            "partition": self.partition,
            "commit_seq": commit_seq,
            "config": self.config,
            "release": self.release,
        }

    def meta(self) -> dict[str, object]:
        """Return what ``meta`` says of all this."""
        return {
            "schema": SCHEMA_VERSION,
            "config": self.config,
            "release": self.release,
            "partition": self.partition,
            "partitions": self.partitions,
        }

    def open(self, items: Mapping[str, bytes], *, accept_settings: bool) -> Opened:
        """Return a saved state as one to go on from.

        Parameters
        ----------
        items : mapping of str to bytes
            The state by key.
        accept_settings : bool
            Whether it may go on under other settings than it was made under.

        Raises
        ------
        StateMismatchError
            If it has a schema that this release does not know, another partition number or number of partitions, or
            other settings that are not accepted or cannot be; the message names the remedy.
        """
        if META not in items:
            raise StateMismatchError(
                "the state has keys but no meta: it is not a whole state of impactd; check the state topic's name and "
                "its cleanup.policy (compact), or begin again in a new environment"
            )
        found: dict[str, Any] = orjson.loads(items[META])
        now = migrated(items, self.release)
        meta: dict[str, Any] = orjson.loads(now[META])
        if (meta["partition"], meta["partitions"]) != (self.partition, self.partitions):
            raise StateMismatchError(
                f"the state is that of partition {meta['partition']} of {meta['partitions']}, this is {self.partition} "
                f"of {self.partitions}: symbols have moved between partitions; begin again in a new environment with "
                "the new number"
            )
        if meta["config"] != self.config:
            self._check_change(meta, orjson.loads(now[SETTINGS]), accept=accept_settings)
        was = {name: found[name] for name in ("config", "release", "schema")}
        is_now = {"config": self.config, "release": self.release, "schema": SCHEMA_VERSION}
        rewritten: dict[str, bytes | None] = {
            key: now.get(key) for key in {*items, *now} if now.get(key) != items.get(key)
        }
        return Opened(now, meta, None if was == is_now else was, rewritten)

    def _check_change(self, meta: Mapping[str, Any], old: Mapping[str, Any] | None, *, accept: bool) -> None:
        """Refuse settings under which the state does not go on."""
        hashes = f"the state was made under settings {meta['config']}, these are {self.config}"
        begin_again = "begin again in a new environment (kafka.environment)"
        if old is None:
            old = settings_of_schema_1(meta["config"], self.settings)
        if old is None:
            raise StateMismatchError(
                f"{hashes}, and a state of release {meta['release']} does not say what they were: run this release "
                f"once under the old ones, or {begin_again}"
            )
        why = obstacles(old, self.settings)
        if why:
            raise StateMismatchError(
                f"{hashes}, and it cannot go on under them: {'; '.join(why)}. Go back to the old ones, or {begin_again}"
            )
        changed = changes(old, self.settings)
        if changed and not accept:
            what = "; ".join(f"{path} was {was} and is {now}" for path, (was, now) in changed.items())
            raise StateMismatchError(
                f"{hashes} ({what}): go back to those, go on under these with impactd run --accept-settings, or "
                f"{begin_again}"
            )
