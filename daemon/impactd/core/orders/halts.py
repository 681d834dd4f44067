"""Halts: what is halted, and why.

There are three kinds.  A market that does not trade (`impactd.core.orders.market_status`) holds the
orders of its symbol.  A control record halts a scope (everything, a symbol or
an order) until another record resumes the same scope.  A halt of a symbol also
means that its market has halted: its books neither prevail nor train a model until
it resumes.  A halt of everything is about our trading alone.  The kill switch belongs
to the operator of the process: it halts everything, and no record lifts it.

Scopes and reasons come from outside and are kept until they are resumed, so
their total size is bounded.  A halt that exceeds the bound halts everything
instead: refusing it would trade what someone wanted stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import orjson

from impactd.core.base.topics import Side
from impactd.core.inputs.events import Control
from impactd.core.orders.market_status import MarketStatus

#: Scopes and reasons together: with their quotes escaped they stay far below 256 kB.
MAX_HALTS_BYTES: Final = 64_000

EVERYTHING: Final = "*"

#: State key of the halts.
KEY: Final = "halts"


@dataclass(slots=True)
class Halts:
    """The halts of one partition."""

    #: Scope to reason.
    scopes: dict[str, str] = field(default_factory=dict)
    #: Scope to the ts_event of its halt, ns.
    since: dict[str, int] = field(default_factory=dict)
    #: Reason of the kill switch, while it is on.
    kill_switch: str | None = None
    markets: MarketStatus = field(default_factory=MarketStatus, compare=False)

    def halted_since(self, scope: str) -> int | None:
        """Return since when a scope is halted, or the market of a symbol does not trade, ns; None while neither."""
        times = [at for at in (self.since.get(scope), self.markets.since(scope)) if at is not None]
        return min(times, default=None)

    def apply(self, event: Control) -> str | None:
        """Apply a control; return a description of the change, or None if it changes nothing."""
        if event.type != "halt":
            reason = self.scopes.pop(event.scope, None)
            self.since.pop(event.scope, None)
            said = f": {event.reason}" if event.reason else ""
            return None if reason is None else f"{event.scope}{said}"
        if self.scopes.get(event.scope) == event.reason:
            return None
        others = (_size(scope, reason) for scope, reason in self.scopes.items() if scope != event.scope)
        if event.scope == EVERYTHING or sum(others) + _size(event.scope, event.reason) <= MAX_HALTS_BYTES:
            return self._halt(event.scope, event.reason, event.ts_event)
        reason = f"there is no room for a halt of {event.scope}; resume scopes that are halted, then everything"
        if self.scopes.get(EVERYTHING) == reason:
            return None
        return self._halt(EVERYTHING, reason, event.ts_event)

    def _halt(self, scope: str, reason: str, ts_event: int) -> str:
        self.scopes[scope] = reason
        self.since.setdefault(scope, ts_event)
        return f"{scope}: {reason}"

    def switch(self, reason: str | None) -> bool:
        """Turn the kill switch on with a reason, or off with None; return whether that changes anything."""
        changed = reason != self.kill_switch
        self.kill_switch = reason
        return changed

    @property
    def any(self) -> bool:
        """Whether there is anything by which an order may be halted."""
        return self.kill_switch is not None or bool(self.scopes) or bool(self.markets)

    def of(self, symbol: str, ids: Iterable[str], side: Side = Side.BUY) -> str | None:
        """Return why an order with these ids is halted, or None."""
        if self.kill_switch is not None:
            return self.kill_switch
        if self.scopes:
            found = next((self.scopes[s] for s in (EVERYTHING, symbol, *ids) if s in self.scopes), None)
            if found is not None:
                return found
        return self.markets.holds(symbol, side)

    def dump(self) -> bytes:
        """Return the state value."""
        return orjson.dumps({"scopes": self.scopes, "since": self.since, "kill_switch": self.kill_switch})

    def load(self, value: bytes) -> None:
        """Restore from the state value."""
        saved = orjson.loads(value)
        self.scopes, self.kill_switch = saved["scopes"], saved["kill_switch"]
        self.since = saved["since"]


def known_scopes(key: str, value: bytes) -> tuple[set[str], set[str]]:
    """Return the scopes in a state key: known symbols and order ids, and halted scopes."""
    kind, _, name = key.partition("/")
    if kind in {"books", "market"}:
        return {name}, set()
    if kind == "order":
        return {name, *orjson.loads(value)["later_ids"]}, set()
    return set(), set(orjson.loads(value)["scopes"]) if key == KEY else set()


def _size(scope: str, reason: str) -> int:
    return len(scope.encode()) + len(reason.encode())
