"""Exchange calendars as plain times: the packaged ones, and files of the same form.

`impactd calendar NAME` writes such a file from the library exchange_calendars
(extra ``research``), which needs pandas; the service reads the file and needs
neither.  What it reads becomes part of the settings that the journal keeps, so
a run is derived again with the calendar that it had.

A file is a JSON object::

    {"calendar": "XNYS", "source": "exchange_calendars 4.13.2", "written": "2026-11-29",
     "timezone": "America/New_York", "open": "09:30", "close": "16:00", "breaks": [], "days": ["mon", ...],
     "since": "2015-01-01", "through": "2027-12-31", "holidays": ["2015-01-01", ...],
     "special": ["2015-11-27 09:30-13:00", ...]}

Before `since` and after `through` only the regular hours are known: no holiday,
and no early close.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from impactd.config.base import ClockSpan, ClockTime, LocalDate, SpecialDay, Zone
from impactd.config.hours import parse_date, session_rule
from impactd.core.base.settings import CoreSettings, SessionRule

_SUFFIX: Final = ".json"
#: How long before a calendar ends it is stated.
NOTICE_DAYS: Final = 90
#: Other names of packaged calendars: they trade on the same days at the same times.
ALIASES: Final = {"XNAS": "XNYS", "ARCX": "XNYS", "BATS": "XNYS", "XSHE": "XSHG", "24-7": "24/7"}


class Calendar(BaseModel):
    """A calendar as its file has it; see the module."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    calendar: str
    source: str
    written: LocalDate
    timezone: Zone
    open: ClockTime
    close: ClockTime
    breaks: list[ClockSpan]
    days: list[str]
    since: LocalDate
    through: LocalDate | None
    holidays: list[LocalDate]
    special: list[SpecialDay]

    @cached_property
    def rule(self) -> SessionRule:
        """Its hours."""
        hours = session_rule(self.timezone, self.open, self.close, self.days, self.holidays, self.breaks, self.special)
        through = None if self.through is None else parse_date(self.through)
        return replace(hours, through=through, calendar=self.calendar)


def packaged() -> list[str]:
    """Return the names of the packaged calendars."""
    own = (item.name for item in files(__package__).iterdir() if item.name.endswith(_SUFFIX))
    return sorted({*(_named(name.removesuffix(_SUFFIX)) for name in own), *ALIASES} - {"24-7"})


@lru_cache(maxsize=64)
def calendar(name: str) -> Calendar:
    """Return a packaged calendar, or the one in a file.

    Parameters
    ----------
    name : str
        Such as ``XNYS``, or the path of a file that ends with ``.json``.

    Raises
    ------
    ValueError
        If there is none, or its file is not one.
    """
    if name.endswith(_SUFFIX):
        try:
            content = Path(name).read_bytes()
        except OSError as error:
            raise ValueError(f"{name} cannot be read: {error.strerror}") from error
        return _read(content, name)
    own = ALIASES.get(name, name).replace("/", "-") + _SUFFIX
    found = files(__package__).joinpath(own)
    if name.count("/") > (name == "24/7") or not found.is_file():
        raise ValueError(
            f"no calendar {name!r} is packaged; there are {', '.join(packaged())}. For another, name the file that "
            "`impactd calendar NAME --out FILE.json` makes"
        )
    return _read(found.read_bytes(), name).model_copy(update={"calendar": name})


def _read(content: bytes, name: str) -> Calendar:
    try:
        return Calendar.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{name} is not a calendar: {field}: {first['msg']}; see `impactd calendar`") from error


def _named(stem: str) -> str:
    return {"24-7": "24/7"}.get(stem, stem)


def ending(core: CoreSettings, today: date) -> list[str]:
    """Return a warning for each calendar in force that ends within `NOTICE_DAYS` of `today`, or has ended."""
    rules = {rule.calendar: rule for rule in (core.session, *(rule for _, rule in core.sessions)) if rule.calendar}
    found = []
    for name, rule in sorted(rules.items()):
        if rule.through is None:
            continue
        last = date(1970, 1, 1) + timedelta(rule.through)
        if (last - today).days < NOTICE_DAYS:
            verb = "ended" if last < today else "ends"
            found.append(
                f"calendar {name} {verb} on {last.isoformat()}, and knows no later holiday: upgrade impactd, or name "
                f"in session.calendar a file that `impactd calendar {name} --years {today.year}-{today.year + 2} --out "
                "FILE.json` makes once the exchange has published its days"
            )
    return found
