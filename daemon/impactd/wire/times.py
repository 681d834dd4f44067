"""Times as text: the plain reading, for whatever the compiled one left over."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

from impactd.wire.codec import FieldError, shown
from impactd.wire.fields import parse_time

_EPOCH: Final = date(1970, 1, 1)
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))?", re.ASCII
)


def parse_text_time(text: str, field: str) -> int:
    """Return UTC nanoseconds of a time written as integer nanoseconds or in ISO 8601.

    Parameters
    ----------
    text : str
        ``1743687000125395235`` or ``2025-04-03 13:30:00.125395235+00:00``, with a ``T`` or a
        blank, up to nine decimals, and ``Z``, an offset, or nothing, which means UTC.
    field : str
        Name of the field, for the message of an error.

    Raises
    ------
    FieldError
        ``type`` where it is no time, ``value`` where it is not in 1970..2261.
    """
    if text.isascii() and text.isdigit():
        return parse_time(text, field)
    match = _ISO.fullmatch(text)
    if match is None:
        raise FieldError("type", f"{field}: {shown(text)} is not a time; send integer nanoseconds or ISO 8601")
    year, month, day, hour, minute, second = (int(group) for group in match.groups()[:6])
    fraction, sign, off_hour, off_minute = match.groups()[6:]
    try:
        days = (date(year, month, day) - _EPOCH) // timedelta(days=1)
    except ValueError:
        raise FieldError("value", f"{field}: {shown(text)} is no date; send one") from None
    offset_s = (int(off_hour) * 3600 + int(off_minute) * 60) * (-1 if sign == "-" else 1) if sign else 0
    if hour > 23 or minute > 59 or second > 59 or not 1970 <= year <= 2261 or int(off_hour or 0) > 23:
        raise FieldError("value", f"{field}: {shown(text)} is out of range; send a time in 1970..2261")
    if int(off_minute or 0) > 59:
        raise FieldError("value", f"{field}: {shown(text)} has no such offset; send UTC")
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_s
    return parse_time(seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0")), field)
