"""Times on the command line."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from impactd.cli.common import InputError

_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_AGO: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_when(text: str, option: str, now_ns: int) -> int:
    """Return a time in UTC ns: nanoseconds, ISO with its zone, or so long ago (``90s``, ``15m``, ``2h``, ``1d``)."""
    if text.isdecimal() and 0 < int(text) < 2**63:
        return int(text)
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_ns - int(ago[1]) * _UNITS_S[ago[2]] * 1_000_000_000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InputError(
            f"{option} {text}: is not a time; give one with its zone such as 2025-04-03T13:30:00Z, nanoseconds, or 15m "
            "for so long ago"
        )
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
