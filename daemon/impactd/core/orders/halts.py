"""Halts: what is halted, and why.

There are two kinds.  A control record halts a scope (everything, a symbol or
an order) until another record resumes the same scope.  The kill switch belongs
to the operator of the process: it halts everything, and no record lifts it.

Scopes and reasons come from outside and are kept until they are resumed, so
their total size is bounded.  A halt that exceeds the bound halts everything
instead: refusing it would trade what somebody wanted stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import orjson

from impactd.core.inputs.events import Control

#: Scopes and reasons together: with their quotes escaped they stay far below 256 kB.
MAX_HALTS_BYTES: Final = 64_000

EVERYTHING: Final = "*"


@dataclass(slots=True)
class Halts:
    """The halts of one partition.

    Attributes
    ----------
    scopes : dict of str to str
        Scope to reason.
    kill_switch : str or None
        Reason of the kill switch, while it is on.
    """

    scopes: dict[str, str] = field(default_factory=dict)
    kill_switch: str | None = None

    def apply(self, event: Control) -> str | None:
        """Apply a control; return a description of the change, or None if it changes nothing."""
        if event.type != "halt":
            reason = self.scopes.pop(event.scope, None)
            return None if reason is None else f"{event.scope}: {event.reason}"
        if self.scopes.get(event.scope) == event.reason:
            return None
        others = (_size(scope, reason) for scope, reason in self.scopes.items() if scope != event.scope)
        if event.scope == EVERYTHING or sum(others) + _size(event.scope, event.reason) <= MAX_HALTS_BYTES:
            self.scopes[event.scope] = event.reason
            return f"{event.scope}: {event.reason}"
        reason = f"there is no room for a halt of {event.scope}; resume scopes that are halted, then everything"
        if self.scopes.get(EVERYTHING) == reason:
            return None
        self.scopes[EVERYTHING] = reason
        return f"{EVERYTHING}: {reason}"

    def switch(self, reason: str | None) -> bool:
        """Turn the kill switch on with a reason, or off with None; return whether that changes anything."""
        changed = reason != self.kill_switch
        self.kill_switch = reason
        return changed

    def of(self, symbol: str, cl_ord_id: str) -> str | None:
        """Return why an order is halted, or None."""
        if self.kill_switch is not None:
            return self.kill_switch
        return next((self.scopes[s] for s in (EVERYTHING, symbol, cl_ord_id) if s in self.scopes), None)

    def dump(self) -> bytes:
        """Return the state value."""
        return orjson.dumps({"scopes": self.scopes, "kill_switch": self.kill_switch})

    def load(self, value: bytes) -> None:
        """Restore from the state value."""
        saved = orjson.loads(value)
        self.scopes, self.kill_switch = saved["scopes"], saved["kill_switch"]


def _size(scope: str, reason: str) -> int:
    return len(scope.encode()) + len(reason.encode())
