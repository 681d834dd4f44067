"""The base of all sections, what they take from the core's settings, and the types that several of them use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field as CoreField
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, TypeVar, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, create_model, model_validator

from impactd.config.hours import parse_clock, parse_date, parse_span, parse_special, zone
from impactd.core.base.registry import Registry
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


def _not_blank(secret: SecretStr) -> SecretStr:
    if not any(c.isprintable() and not c.isspace() for c in secret.get_secret_value()):
        raise ValueError("is empty or blank, and would be no secret; give it a value, or leave the setting out")
    return secret


def _in_header(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("needs printable ASCII without spaces: it is sent in a header of HTTP")
    return secret


def _zone(name: str) -> str:
    return zone(name).key


def _clock(text: str) -> str:
    parse_clock(text)
    return text


def _date(text: str) -> str:
    parse_date(text)
    return text


def _span(text: str) -> str:
    parse_span(text)
    return text


def _special(text: str) -> str:
    parse_special(text)
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
ClockSpan = Annotated[str, AfterValidator(_span)]
LocalDate = Annotated[str, AfterValidator(_date)]
SpecialDay = Annotated[str, AfterValidator(_special)]

Secret = Annotated[SecretStr, AfterValidator(_not_blank)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_not_blank), AfterValidator(_in_header)]

Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]
Bytes = Annotated[int, Field(ge=1_000, le=1_000_000_000)]


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

    def replace(self, **values: object) -> Self:
        """Return a copy with other values, validated; a mapping replaces values of a section."""
        for name, value in values.items():
            section = getattr(self, name)
            if isinstance(section, Section) and isinstance(value, Mapping):
                values[name] = section.replace(**value)
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, **values})


class CoreSection(Section):
    """A section whose settings are the core's: see `derived`."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


S = TypeVar("S", bound=CoreSection)
T = TypeVar("T")


def name_of(registry: Registry[Any]) -> Any:
    """Return the type of a name that `registry` has."""
    # The schema lists the names when it is asked for: to find those of other packages takes some milliseconds.
    names = Field(json_schema_extra=lambda schema: schema.update(enum=list(registry.names())))
    return Annotated[str, AfterValidator(registry.check), names]


def derived(
    of: type[Any], *only: str, names: Mapping[str, Registry[Any]] | None = None
) -> Callable[[type[S]], type[S]]:
    """Return a decorator that adds to a section the settings that a class of the core states.

    Types, ranges, defaults and meanings come from there; a duration in ns becomes one in seconds.  What the section
    states itself stays as it is.  A value that the core's class refuses is refused here.

    Parameters
    ----------
    only : str
        The settings to take; all by default.
    names : mapping of str to Registry
        Settings that are names, or lists of them, of that registry.
    """

    def decorate(section: type[S]) -> type[S]:
        hints = get_type_hints(of)
        added: dict[str, Any] = {}
        for item in fields(of):
            key = _key(item)
            if "meaning" not in item.metadata or key in section.model_fields or (only and item.name not in only):
                continue
            registry = (names or {}).get(item.name)
            stated: dict[str, Any] = {"description": item.metadata["meaning"]}
            if item.metadata["unit"]:
                stated["json_schema_extra"] = {"unit": item.metadata["unit"]}
            added[key] = (
                _annotation(hints[item.name], item, None if registry is None else name_of(registry)),
                Field(_default(item), **stated),
            )

        def accepted(made: S) -> S:
            core_values(made, of)
            return made

        checks: dict[str, Any] = {} if only else {"accepted": model_validator(mode="after")(accepted)}
        return create_model(
            section.__name__,
            __base__=section,
            __doc__=section.__doc__,
            __module__=section.__module__,
            __validators__=checks,
            **added,
        )

    return decorate


def core_values(section: CoreSection, of: type[T], **given: object) -> T:
    """Return the core's settings `of` with the values of `section` and those that are `given`."""
    for item in fields(of):  # type: ignore[arg-type]  # it is a dataclass
        if item.name not in given and "meaning" in item.metadata:
            value = getattr(section, _key(item))
            is_duration = item.name.endswith("_ns") and value is not None
            given[item.name] = round(Decimal(str(value)) * SECOND_NS) if is_duration else value
    return of(**given)


def _key(item: CoreField[Any]) -> str:
    """Return the name of a core's field in its section."""
    return f"{item.name.removesuffix('_ns')}_s" if item.name.endswith("_ns") else item.name


def _in_seconds(ns: float, item: CoreField[Any]) -> float:
    return ns // SECOND_NS if "multiple_of" in item.metadata["bounds"] else ns / SECOND_NS


def _default(item: CoreField[Any]) -> Any:
    default: Any = item.default
    return _in_seconds(default, item) if item.name.endswith("_ns") and default is not None else default


def _annotation(hint: Any, item: CoreField[Any], name: Any) -> Any:
    """Return the type of a setting in its section: `name`, or the type in the core with the range."""
    arguments = get_args(hint)
    bounds = dict(item.metadata["bounds"])
    if item.name.endswith("_ns"):
        is_whole = "multiple_of" in bounds
        bounds = {bound: _in_seconds(ns, item) for bound, ns in bounds.items() if bound != "multiple_of"}
        plain: Any = int if is_whole else float
    elif get_origin(hint) is tuple:
        each: Any = name or Annotated[arguments[0], Field(**item.metadata["each"])]
        return Annotated[tuple[each, ...], Field(strict=False, **bounds)]
    else:
        plain = name or (arguments[0] if NoneType in arguments else hint)
    ranged: Any = Annotated[plain, Field(**bounds)] if bounds else plain
    return ranged | None if NoneType in arguments else ranged
