"""The page of settings, from the sections of `impactd.config`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from impactd.config import Section, Settings
from impactd.core.base.topics import INPUT_TOPICS
from impactd.core.state.settings_change import FIXED
from tests.reference.markdown import cell, code

_HEAD: Final = """\
# Settings

Every key with its values, default and meaning. A TOML file has one table per section:

```toml
[kafka]
bootstrap = "127.0.0.1:9092"

[books]
grace_s = 2.0
```

Sources, each overriding those before it: the default; the file (`-c FILE`, else the one in `IMPACTD_CONFIG`,
else `impactd.toml` in the working directory); the environment, `IMPACTD__SECTION__FIELD` such as
`IMPACTD__KAFKA__BOOTSTRAP`; flags, `--set SECTION.FIELD=VALUE`. `impactd check-config` shows the values in force and
their sources. An unknown key, a wrong type or a value out of range is refused before anything starts, with
file, line and remedy. Secrets come from the environment or from the file named by their `_file` setting, never from
this file or a flag.

*Kept* marks settings that give a saved state its meaning: to change one, start over in another `kafka.environment`.
All other settings of `books`, `model`, `plans`, `session`, `gate`, `invalid` and `wire` need `impactd run
--accept-settings` if there is a state already; see [compatibility](../compatibility.md). The rest may change at
any time.
"""

#: Keys of a JSON schema that bound a value, and their text.
_BOUNDS: Final = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "below {}"),
    ("minItems", "at least {} of them"),
    ("maxItems", "at most {} of them"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
)

#: Settings that have another name in the core.
_NAMED: Final = {
    "apply": ("plans.apply",),
    "session.open_s": ("session.open",),
    "session.close_s": ("session.close",),
    "sessions": tuple(f"session.by_symbol.{name}" for name in ("open", "close", "breaks")),
    "wire.inputs": ("topics.prefix", *(f"topics.names.{topic}" for topic in INPUT_TOPICS)),
}

_TYPES: Final = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def leaves() -> list[str]:
    """Return the dotted path of every setting."""
    return [f"{section}.{name}" for section, of in _sections(Settings) for name, _ in _fields(of)]


def page() -> str:
    """Return the page."""
    schemas = Settings.model_json_schema()["$defs"]
    parts = [_HEAD]
    for path, section in _sections(Settings):
        parts.append(
            f"\n## {path}\n\n{inspect.getdoc(section)}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
        )
        properties = schemas[section.__name__]["properties"]
        for name, field in _fields(section):
            meaning = (field.description or "") + (" *Kept.*" if _is_kept(f"{path}.{name}") else "")
            parts.append(f"| `{name}` | {_value(properties[name])} | {_default(field)} | {cell(meaning)} |\n")
    return "".join(parts)


def _sections(of: type[BaseModel], above: str = "") -> Iterator[tuple[str, type[Section]]]:
    for name, field in of.model_fields.items():
        section = _section(field)
        if section is not None:
            path = f"{above}{name}"
            yield path, section
            yield from _sections(section, f"{path}.")


def _fields(section: type[Section]) -> Iterator[tuple[str, FieldInfo]]:
    return ((name, field) for name, field in section.model_fields.items() if _section(field) is None)


def _section(field: FieldInfo) -> type[Section] | None:
    """Return the section that a field is, or None where it is a setting."""
    types = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return next((item for item in types if isinstance(item, type) and issubclass(item, Section)), None)


def kept() -> list[str]:
    """Return the settings, or sections of them, that no state outlives."""
    return [path for fixed in FIXED for path in _NAMED.get(fixed, (fixed.replace("_ns", "_s"),))]


def _is_kept(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in kept())


def _value(schema: dict[str, Any]) -> str:
    """Return what a value may be, in words."""
    if "anyOf" in schema:
        unit = {"unit": schema["unit"]} if "unit" in schema else {}
        given = [item | unit for item in schema["anyOf"] if item.get("type") != "null"]
        return " or ".join(map(_value, given)) + (", or unset" if len(given) < len(schema["anyOf"]) else "")
    if "enum" in schema:
        return " or ".join(code(item) for item in schema["enum"])
    if schema.get("format") == "password":
        return "secret"
    unit = f" ({schema['unit']})" if "unit" in schema else ""
    bounds = [words.format(_number(schema[name])) for name, words in _BOUNDS if name in schema]
    if schema.get("type") == "array":
        return ", ".join([f"list, each {_value(schema['items'])}", *bounds]) + unit
    return ", ".join([_TYPES[schema["type"]], *bounds]) + unit


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) or value != int(value) else f"{int(value):,}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.default
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, str):
        return code(f'"{value}"')
    if isinstance(value, tuple):
        shown = ", ".join(f'"{item}"' if isinstance(item, str) else f"{item:g}" for item in value)
        return code(f"[{shown}]")
    return code(str(value))
