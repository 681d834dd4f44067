"""Whether a saved state is whole: the number of its keys and a hash of them, kept with each commit.

Both are in ``meta``, which is written in the same transaction as the keys that have changed.  A state topic that was
truncated, cleaned by time, restored in part, or written by another program no longer matches and is refused.  If it
were loaded, orders would be lost silently.

The hash is the sum modulo 2**128 of a 128-bit hash of each key and its value.  It does not depend on any order, and a
change costs one hash, however many keys there are.  It detects loss and mixture, but does not protect against a forged
state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from impactd.core.state.schema import META

_BYTES: Final = 16
_MODULUS: Final = 1 << 8 * _BYTES

#: The field of ``meta``.
WHOLE: Final = "whole"


class WholeState:
    """Number and hash of the live keys, ``meta`` aside."""

    def __init__(self) -> None:
        self._hashes: dict[str, int] = {}
        self._sum = 0

    def update(self, changes: Mapping[str, bytes | None]) -> None:
        """Note changed values; None removes a key."""
        for key, value in changes.items():
            if key == META:
                continue
            self._sum -= self._hashes.pop(key, 0)
            if value is not None:
                self._hashes[key] = made = _hash(key, value)
                self._sum += made
        self._sum %= _MODULUS

    def mark(self) -> dict[str, object]:
        """Return the number of keys and their hash (32 hex digits), as ``meta`` holds them."""
        return {"keys": len(self._hashes), "digest": f"{self._sum:0{2 * _BYTES}x}"}

    def fault(self, meta: Mapping[str, Any]) -> str | None:
        """Compare with what ``meta`` says and return how they differ; None if they do not."""
        found, wanted = self.mark(), meta.get(WHOLE)
        if found == wanted:
            return None
        if wanted is None:
            return "its meta lacks the number of keys"
        if wanted["keys"] != found["keys"]:
            return f"it has {found['keys']} keys, not {wanted['keys']}"
        return f"its {found['keys']} keys do not hold what was written (hash {found['digest']}, not {wanted['digest']})"


def _hash(key: str, value: bytes) -> int:
    name = key.encode()
    made = hashlib.blake2b(len(name).to_bytes(8, "little"), digest_size=_BYTES)
    made.update(name)
    made.update(value)
    return int.from_bytes(made.digest(), "little")
