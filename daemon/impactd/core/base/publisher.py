"""The publisher and the instrument of a book as one number each, which rows and a symbol's state have room for.

The number of a whole number is itself, so that Databento's `publisher_id` and `instrument_id` are the same in every
format.  A text of up to seven ASCII characters can be read back; of a longer one only a digest is kept.
"""

from __future__ import annotations

import hashlib
from typing import Final

#: Of rows that name no publisher.
NO_PUBLISHER: Final = 0

#: Of rows that name no instrument.
NO_INSTRUMENT: Final = 0

_TEXT: Final = 1 << 56
_DIGEST: Final = 1 << 57
_BYTES: Final = 7
_DIGITS: Final = 10


def publisher_number(text: str) -> int:
    """Return the number of a publisher or an instrument; 0 of a blank and of 0."""
    if text.isascii():
        if text.isdigit() and len(text) <= _DIGITS:
            return int(text)
        if len(text) <= _BYTES:
            return _TEXT | int.from_bytes(text.encode(), "big") if text else NO_PUBLISHER
    return _DIGEST | int.from_bytes(hashlib.blake2b(text.encode(), digest_size=_BYTES).digest(), "big")


def publisher_text(number: int) -> str:
    """Return a publisher or an instrument for people: its own text, or of a long one a part of its digest."""
    if number < _TEXT:
        return str(number)
    raw = (number & (_TEXT - 1)).to_bytes(_BYTES, "big")
    return raw.lstrip(b"\0").decode("ascii") if number < _DIGEST else f"#{raw.hex()[:6]}"
