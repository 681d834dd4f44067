"""The protocol of everything that has saved state.

The state of a partition is keys and values (`impactd.core.state.schema`).  Each
part of the engine owns its keys: it reports those that have changed since the
last commit, dumps all of them for a snapshot, and loads them again.  A value
inside a key (a model, a filter) is JSON-ready data that its class returns by
``save()`` and takes back by ``load()``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Stateful(Protocol):
    """A part of the engine with keys of its own in the partition's state."""

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys that have changed since the last call with their values; None deletes a key."""
        ...

    def dump(self) -> dict[str, bytes]:
        """Return every key with its value."""
        ...

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore from the keys of a whole state; keys of other parts are ignored."""
        ...


class Lasting(Protocol):
    """A part of a value that seldom changes, saved under a key of its own.

    What it saves is the same at any time between two changes.

    Attributes
    ----------
    changed : bool
        Whether it has changed since it was saved last.
    """

    changed: bool

    def save_lasting(self) -> object:
        """Return the part as JSON-ready values, None where there is nothing to save."""
        ...

    def load_lasting(self, saved: Any) -> None:
        """Continue from what `save_lasting` returned, unless it was None, before the rest of the value is loaded."""
        ...


class Changes:
    """Keys that have changed since the last commit.

    A value is dumped when the changes are taken, so a key that changes many
    times within a commit is dumped once.
    """

    def __init__(self) -> None:
        self._changed: dict[str, Callable[[], bytes] | None] = {}

    def mark(self, key: str, dump: Callable[[], bytes]) -> None:
        """Note that the value of `key` has changed; `dump` returns it."""
        self._changed[key] = dump

    def delete(self, key: str) -> None:
        """Note that `key` no longer exists."""
        self._changed[key] = None

    def clear(self) -> None:
        """Forget what has changed, as after a load."""
        self._changed.clear()

    def take(self) -> dict[str, bytes | None]:
        """Return the changed keys with their values, None for a deleted one, and forget them."""
        taken = {key: None if dump is None else dump() for key, dump in self._changed.items()}
        self._changed.clear()
        return taken


class Foreign:
    """Keys whose values another layer writes and reads; here they are kept as they are.

    Parameters
    ----------
    prefixes : tuple of str
        Of the keys.
    """

    def __init__(self, *prefixes: str) -> None:
        self._prefixes = prefixes
        self.items: dict[str, bytes] = {}
        self._changes: dict[str, bytes | None] = {}

    def put(self, changes: Mapping[str, bytes | None]) -> None:
        """Take in changed keys; None deletes a key."""
        for key, value in changes.items():
            if value is None:
                self.items.pop(key, None)
            else:
                self.items[key] = value
        self._changes |= changes

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys that have changed since the last call."""
        taken, self._changes = self._changes, {}
        return taken

    def dump(self) -> dict[str, bytes]:
        """Return every key with its value."""
        return dict(self.items)

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore from the keys of a whole state."""
        self.items = {key: value for key, value in items.items() if key.startswith(self._prefixes)}


class SingleKey:
    """A part whose state is one small key, written when its value differs from the last one written."""

    def __init__(self, key: str, dump: Callable[[], bytes], load: Callable[[bytes], None]) -> None:
        self._key = key
        self._dump = dump
        self._load = load
        self._written: bytes | None = None

    def changes(self) -> dict[str, bytes | None]:
        """Return the key if its value has changed."""
        value = self._dump()
        if value == self._written:
            return {}
        self._written = value
        return {self._key: value}

    def dump(self) -> dict[str, bytes]:
        """Return the key with its value."""
        return {self._key: self._dump()}

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore from the key."""
        self._written = items[self._key]
        self._load(self._written)
