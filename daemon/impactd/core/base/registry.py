"""Registries: the only place that lists the names of one kind of thing.

A registry holds names and lazy paths, so that listing and checking names loads
nothing.  Settings, the command line, converters and tests ask the registry.
A package adds its own by `Registry.register`, or by an entry point in the
registry's group.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final, Generic, TypeVar, cast

T = TypeVar("T")

#: Characters of an unknown name that an error repeats.
_MAX_SHOWN: Final = 60


class UnknownNameError(ValueError):
    """A name that the registry does not have; the text lists those that it has."""


class Registry(Generic[T]):
    """Things of one kind by name.

    Parameters
    ----------
    what : str
        What one of them is called in errors, such as "codec".
    group : str
        Entry point group of other packages, such as "impactd.codecs".
    own : mapping of str to str
        Lazy path of each of ours: ``module:attribute``.
    """

    def __init__(self, what: str, group: str, own: Mapping[str, str]) -> None:
        self.what = what
        self.group = group
        self._targets: dict[str, T | str] = dict(own)
        self._loaded: dict[str, T] = {}

    @cached_property
    def _installed(self) -> dict[str, str]:
        """Entry points of other packages, read once: this scans all that is installed."""
        return {entry.name: entry.value for entry in entry_points(group=self.group)}

    def names(self) -> tuple[str, ...]:
        """Return all names: ours and the registered ones in their order, then the installed ones by name."""
        return tuple(dict.fromkeys((*self._targets, *sorted(self._installed))))

    def from_module(self, module: str) -> tuple[str, ...]:
        """Return the names whose lazy path leads to `module`, in their order."""
        paths = {**self._installed, **self._targets}
        return tuple(
            name for name in self.names() if isinstance(path := paths[name], str) and path.startswith(f"{module}:")
        )

    def __contains__(self, name: object) -> bool:
        return name in self._targets or name in self._installed

    def check(self, name: str) -> str:
        """Return `name` if the registry has it."""
        if name not in self:
            shown = repr(name[:_MAX_SHOWN])
            raise UnknownNameError(f"{self.what} {shown} does not exist; choose one of {', '.join(self.names())}")
        return name

    def register(self, name: str, target: T | str) -> None:
        """Add one: the thing itself, or its lazy path."""
        if name in self:
            raise ValueError(f"{self.what} {name!r} exists already; choose another name")
        self._targets[name] = target

    def forget(self, name: str) -> None:
        """Remove one that was registered."""
        self._targets.pop(name, None)
        self._loaded.pop(name, None)

    def get(self, name: str) -> T:
        """Return the thing of that name, loaded when it is first asked for.

        Raises
        ------
        UnknownNameError
            If there is none.
        ImportError
            If it is installed and cannot be loaded; the text names its package.
        """
        if name not in self._loaded:
            target = self._targets[name] if self.check(name) in self._targets else self._installed[name]
            self._loaded[name] = self._load(name, target) if isinstance(target, str) else target
        return self._loaded[name]

    def _load(self, name: str, path: str) -> T:
        module, _, attribute = path.partition(":")
        try:
            return cast("T", getattr(import_module(module), attribute))
        except (ImportError, AttributeError) as error:
            raise ImportError(
                f"{self.what} {name} ({path}) cannot be loaded: {error}; repair or remove its package"
            ) from error
