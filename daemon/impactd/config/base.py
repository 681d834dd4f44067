"""The base of all sections, and the types that several of them use."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from impactd.config.hours import parse_clock, parse_date, zone
from impactd.core.base.settings import SECOND_NS

DAY_S: Final = 86_400

_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _form(pattern: str, description: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"needs {description}, not {text!r}")
        return text

    return check


def _zone(name: str) -> str:
    return zone(name).key


def _clock(text: str) -> str:
    parse_clock(text)
    return text


def _date(text: str) -> str:
    parse_date(text)
    return text


def _start(value: str | int) -> str | int:
    """Return ``earliest``, ``latest`` or UTC ns."""
    if value in {"earliest", "latest"}:
        return value
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, int):
        if not 0 < value < 2**63:
            raise ValueError(f"needs nanoseconds since the epoch, not {value}")
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(
            f"needs 'earliest', 'latest' or a time with its zone such as '2025-04-03T13:30:00Z', not {value!r}"
        )
    since = at - _EPOCH
    return (since.days * DAY_S + since.seconds) * SECOND_NS + since.microseconds * 1_000


#: Characters that Kafka allows in names of topics, groups and transactional ids.
Name = Annotated[
    str, AfterValidator(_form(r"[A-Za-z0-9._-]{1,200}", "1 to 200 letters, digits, dots, dashes or underscores"))
]
Prefix = Annotated[
    str, AfterValidator(_form(r"[A-Za-z0-9._-]{0,200}", "at most 200 letters, digits, dots, dashes or underscores"))
]
Brokers = Annotated[str, AfterValidator(_form(r"[^\s,]+:\d+(,[^\s,]+:\d+)*", "host:port, several separated by commas"))]
Start = Annotated[str | int, AfterValidator(_start)]
Zone = Annotated[str, AfterValidator(_zone)]
ClockTime = Annotated[str, AfterValidator(_clock)]
LocalDate = Annotated[str, AfterValidator(_date)]

Seconds = Annotated[float, Field(ge=0, le=366 * DAY_S)]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]
Bytes = Annotated[int, Field(ge=1_000, le=1_000_000_000)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """What all sections share: frozen, strict, and nothing unknown."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )
