"""Foreign text on a terminal: control characters are shown, never obeyed.

A symbol, a reason or a dead letter may hold escape sequences that move the
cursor, hide text or retitle the window.
"""

from __future__ import annotations

from typing import Any


def printable(text: str, keep: str = "") -> str:
    """Return `text` with all that is not printable as escapes, except for the characters in `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def printable_values(value: Any) -> Any:
    """Return a JSON value with every text in it printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_values(name): printable_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable_values(item) for item in value]
    return value
