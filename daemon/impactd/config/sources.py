"""Reads settings from a file, the environment and flags, and keeps where each came from.

Every refusal is one line: the place of the value, which setting, what is
wrong with it and what would be right.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from impactd.config.sections import Settings

DEFAULT_FILE: Final = Path("impactd.toml")
FILE_VARIABLE: Final = "IMPACTD_CONFIG"
ENV_PREFIX: Final = "IMPACTD__"
MASK: Final = "********"

Keys = tuple[str, ...]


class SettingsError(ValueError):
    """Settings that cannot be used; `problems` has one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)


class Override(NamedTuple):
    """A value that a flag gives: dotted path of the setting, the value, the flag's name."""

    path: str
    value: object
    flag: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings in force, and where they came from."""

    settings: Settings
    #: Dotted path of every setting: ``default``, ``FILE:LINE``, ``env NAME``, ``file PATH`` (secrets) or ``flag NAME``.
    origins: Mapping[str, str]
    file: Path | None

    def shown(self) -> dict[str, Any]:
        """Return the values in force by dotted path, secrets masked."""
        return {".".join(path): _masked(value) for path, value in _values(self.settings)}


def load(
    file: Path | None = None,
    *,
    environ: Mapping[str, str],
    overrides: tuple[Override, ...] = (),
) -> Loaded:
    """Return the settings in force, validated.

    Parameters
    ----------
    file : Path, optional
        Settings file; see the package's docstring for the default.
    overrides : tuple of Override
        What flags say; text is converted as the environment's is.

    Raises
    ------
    SettingsError
        If a source cannot be read, or a setting is unknown or unusable.
    """
    path = _choose_file(file, environ)
    given: dict[Keys, tuple[object, str]] = {}
    if path is not None:
        given.update(_from_file(path))
    given.update(_from_environment(environ))
    for item in overrides:
        keys = tuple(item.path.split("."))
        value = _convert(keys, item.value) if isinstance(item.value, str) else item.value
        if _is_secret(keys) and item.value is not None:
            remedy = f"a secret on the command line is seen by everybody; {_secret_remedy(keys)}"
            raise SettingsError([f"flag {item.flag}: {item.path}: {remedy}"])
        given[keys] = (value, f"flag {item.flag}")
    given.update(_from_secret_files(given))
    try:
        settings = Settings.model_validate(_nested(given))
    except ValidationError as error:
        raise SettingsError([_explain(item, given) for item in error.errors(include_url=False)]) from None
    origins = {
        ".".join(keys): next((given[keys[:n]][1] for n in range(len(keys), 0, -1) if keys[:n] in given), "default")
        for keys, _ in _values(settings)
    }
    if settings.model.learned:
        _check_learned(settings, origins["model.learned"])
    return Loaded(settings, origins, path)


def _check_learned(settings: Settings, origin: str) -> None:
    """Refuse a trained file that cannot be read, or was trained for other settings."""
    from impactd.core.model.learned.trained import learned_of  # noqa: PLC0415  # loads the compiler, for those who need it

    try:
        learned_of(settings.core())
    except ValueError as error:
        raise SettingsError([f"{origin}: model.learned: {str(error).removeprefix('model.learned: ')}"]) from error


def _choose_file(file: Path | None, environ: Mapping[str, str]) -> Path | None:
    if file is not None:
        return file
    if environ.get(FILE_VARIABLE):
        return Path(environ[FILE_VARIABLE])
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _from_file(path: Path) -> dict[Keys, tuple[object, str]]:
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path}: is not UTF-8 text"]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{path}: is not TOML: {error}"]) from error
    lines = toml_lines(text)
    given = {keys: (value, f"{path}:{lines.get(keys, 1)}") for keys, value in _leaves(tables)}
    for keys, (_, origin) in given.items():
        if _is_secret(keys):
            raise SettingsError(
                [f"{origin}: {'.'.join(keys)}: a secret does not belong into this file; {_secret_remedy(keys)}"]
            )
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[Keys, tuple[object, str]]:
    given: dict[Keys, tuple[object, str]] = {}
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX):
            keys = tuple(part.lower() for part in name.removeprefix(ENV_PREFIX).split("__"))
            given[keys] = (_convert(keys, environ[name]), f"env {name}")
    return given


def _from_secret_files(given: Mapping[Keys, tuple[object, str]]) -> dict[Keys, tuple[object, str]]:
    """Return the secrets that the ``_file`` settings in `given` point to."""
    found: dict[Keys, tuple[object, str]] = {}
    for keys, (name, origin) in given.items():
        secret = (*keys[:-1], keys[-1].removesuffix("_file"))
        if not keys[-1].endswith("_file") or not isinstance(name, str) or not _is_secret(secret):
            continue
        if secret in given:
            raise SettingsError(
                [f"{origin}: {'.'.join(keys)}: {given[secret][1]} gives the secret as well; keep one of them"]
            )
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8 text"
            raise SettingsError([f"{origin}: {'.'.join(keys)}: {name} cannot be read: {reason}"]) from error
        found[secret] = (text.rstrip("\r\n"), f"file {name}")
    return found


def toml_lines(text: str) -> dict[Keys, int]:
    """Return the line on which each value of a valid TOML document begins.

    A statement ends on the first line with which it parses on its own, so
    values that span lines, and text in them that looks like a key, are told
    apart by the parser itself.
    """
    found: dict[Keys, int] = {}
    header, statement, first = "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not statement:
            if line.lstrip().startswith("["):
                header = line
                continue
            first = number
        statement += line + "\n"
        try:
            tables = tomllib.loads(f"{header}\n{statement}")
        except tomllib.TOMLDecodeError:
            continue
        found.update((keys, first) for keys, _ in _leaves(tables))
        statement = ""
    return found


def _leaves(table: Mapping[str, object], above: Keys = ()) -> Iterator[tuple[Keys, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _nested(given: Mapping[Keys, tuple[object, str]]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for keys, (value, origin) in given.items():
        table = root
        for key in keys[:-1]:
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                raise SettingsError(
                    [f"{origin}: {'.'.join(keys)}: {key} is given a value elsewhere, and is not a table"]
                )
            table = inner
        if isinstance(table.get(keys[-1]), dict):
            raise SettingsError([f"{origin}: {'.'.join(keys)}: is a section, not a setting; name one of its settings"])
        table[keys[-1]] = value
    return root


def _values(section: BaseModel, above: Keys = ()) -> Iterator[tuple[Keys, object]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _values(value, (*above, name))
        else:
            yield (*above, name), value


def _masked(value: object) -> object:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    return [_masked(item) for item in value] if isinstance(value, tuple) else value


def _annotation(keys: Keys) -> Any:
    """Return the type of a setting, a section's class, or None if there is no such setting."""
    found: Any = Settings
    for key in keys:
        if not _is_section(found) or key not in found.model_fields:
            return None
        field = found.model_fields[key]
        found = field.annotation
        for extra in field.metadata:
            found = Annotated[found, extra]
    return found


def _is_section(annotation: Any) -> bool:
    return bool(isinstance(annotation, type) and issubclass(annotation, BaseModel))


def _is_secret(keys: Keys) -> bool:
    return any(getattr(kind, "__origin__", kind) is SecretStr for kind in get_args(_annotation(keys)))


def _secret_remedy(keys: Keys) -> str:
    return f"put it into a file named by {'.'.join(keys)}_file, or into {ENV_PREFIX}{'__'.join(keys).upper()}"


def _convert(keys: Keys, text: str) -> object:
    """Return `text` as the setting's type: itself, a TOML value, or a list separated by commas.

    Where none fits, what it most looks like: validation then states what is wrong.
    """
    annotation = _annotation(keys)
    if annotation is None or _is_section(annotation):
        return text
    adapter = TypeAdapter[Any](annotation, config={"strict": True, "allow_inf_nan": False})
    looks_like = _toml_value(text)
    items = [_toml_value(part.strip()) for part in text.split(",") if part.strip()]
    for candidate in (text, looks_like, items):
        try:
            adapter.validate_python(candidate)
        except ValidationError:
            continue
        return candidate
    is_list = get_origin(annotation) is Annotated and get_origin(get_args(annotation)[0]) is tuple
    return items if is_list and not isinstance(looks_like, list) else looks_like


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ErrorDetails, given: Mapping[Keys, tuple[object, str]]) -> str:
    """Return one line: where, which setting, what is wrong, what would be right."""
    loc = tuple(str(part) for part in error["loc"])
    keys = next((loc[:n] for n in range(len(loc), 0, -1) if _annotation(loc[:n]) is not None), ())
    if error["type"] == "extra_forbidden":
        keys = next((other for other in given if other[: len(loc)] == loc), loc)
    origin = next((given[keys[:n]][1] for n in range(len(keys), 0, -1) if keys[:n] in given), None)
    if origin is None:
        origin = next((at for other, (_, at) in given.items() if other[: len(keys)] == keys), "settings")
    return f"{origin}: {'.'.join(keys)}: {_problem(error, keys)}"


def _problem(error: ErrorDetails, keys: Keys) -> str:
    value, bounds = error.get("input"), error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"no such setting; {_suggestion(keys)}"
        case "model_type" | "model_attributes_type":
            return f"is a section, not a setting; write [{'.'.join(keys)}] and its settings below"
        case "literal_error" | "enum":
            return f"needs {bounds['expected']}, not {value!r}"
        case "value_error":
            return str(bounds["error"])
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than" as kind:
            sign = {"greater_than_equal": "at least", "greater_than": "more than"}
            sign |= {"less_than_equal": "at most", "less_than": "less than"}
            limit = next(bounds[name] for name in ("ge", "gt", "le", "lt") if name in bounds)
            return f"must be {sign[kind]} {limit:g}, not {value!r}"
        case "int_type" | "int_from_float" | "int_parsing":
            return f"needs a whole number, not {value!r}"
        case "float_type" | "finite_number":
            return f"needs a number, not {value!r}"
        case "bool_type":
            return f"needs true or false, not {value!r}"
        case "string_type":
            return f"needs text, not {value!r}"
        case "tuple_type":
            return f"needs a list, not {value!r}"
        case _:
            return error["msg"][:1].lower() + error["msg"][1:]


def _suggestion(keys: Keys) -> str:
    """Return what may have been meant by a setting that does not exist."""
    known = [".".join(path) for path, _ in _values(Settings())]
    inside = [path for path in known if path.startswith(".".join(keys[:-1]) + ".")] if len(keys) > 1 else []
    text = ".".join(keys)
    close = (
        difflib.get_close_matches(text, inside, 1, 0.75)
        or difflib.get_close_matches(text, known, 1, 0.8)
        or [path for path in known if path.rsplit(".", 1)[-1] == keys[-1]][:1]
    )
    if close:
        return f"did you mean {close[0]}?"
    if inside:
        return f"{'.'.join(keys[:-1])} has {', '.join(path.rsplit('.', 1)[-1] for path in inside)}"
    return f"the sections are {', '.join(Settings.model_fields)}"
