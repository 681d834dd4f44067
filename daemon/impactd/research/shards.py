"""A study in parts, on machines that share a file system or nothing.

A study is made of units: of a backtest one day of one symbol, of training one day of all symbols, of a sensitivity one
file. The result of a unit is one Parquet file, whose name has the unit, the hash of all that the figures follow from,
and the checksum of the file's bytes. A file takes its name when it is complete, so a process that is killed leaves
nothing that counts, and a file that was cut short or changed is known before it is read.

A file has one row per record: text of some kind, or an array by ``name`` with its ``shape`` and its ``values``. Floats
are kept to the last bit: JSON has the shortest digits that give them back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote
from uuid import uuid4

import orjson
from pydantic_core import to_json

from impactd.core.base.extras import MissingExtraError, extra_module
from impactd.core.inputs.ticks import Float
from impactd.core.state.schema import hash_of
from impactd.research.errors import MALFORMED, ValidationError

SCHEMA: Final = "impactd.shard/2"

#: Key of a file's metadata that has the description of the whole.
_WHOLE: Final = b"impactd.study"

_NAME: Final = re.compile(
    r"(?P<symbol>.+)_(?P<day>(\d{4}-\d\d-\d\d)?)_(?P<key>[0-9a-f]{16})_(?P<sum>[0-9a-f]{16})\.parquet"
)

#: Symbol, or what else a unit is of; and day, which may be empty.
Unit = tuple[str, str]


@dataclass(frozen=True)
class Whole:
    """The study that results are parts of.

    Attributes
    ----------
    study : str
        The command that computes it.
    known : dict
        What the figures follow from, ``settings`` (a hash) among it.
    more : dict
        What else results depend on.
    units : tuple of (str, str)
        In the order of the report.
    """

    study: str
    known: Mapping[str, Any]
    more: Mapping[str, Any]
    units: tuple[Unit, ...]

    def encode(self) -> bytes:
        """Return the description as JSON."""
        return orjson.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, option=orjson.OPT_SERIALIZE_NUMPY)

    @classmethod
    def decode(cls, text: bytes) -> Whole:
        """Return the description that `encode` wrote."""
        read = orjson.loads(text)
        units = tuple((symbol, day) for symbol, day in read["units"])
        return cls(read["study"], read["known"], read["more"], units)

    @cached_property
    def key(self) -> str:
        """The hash of the description, 16 hex digits."""
        return hash_of(orjson.loads(self.encode()))

    def shard(self, number: int, of: int) -> tuple[Unit, ...]:
        """Return the units of shard `number`, 1 to `of`: neighbours, so that few shards walk the same symbol."""
        n = len(self.units)
        return self.units[(number - 1) * n // of : number * n // of]

    def todo(self, number: int, of: int, out: Path) -> tuple[list[Unit], int]:
        """Return the units of one shard that `out` does not have, and how many it has."""
        mine = self.shard(number, of)
        # A directory that all share has the results of every shard: only this one's are read.
        ours = set(mine)
        there = [one for one in found(out) if one.key == self.key and one.unit in ours]
        had = {one.unit for one in there if one.read() is not None}
        todo = [unit for unit in mine if unit not in had]
        return todo, len(mine) - len(todo)

    def differs(self, other: Whole) -> str:
        """Return the names of what differs from another description, for people."""
        if self.study != other.study:
            return f"impactd {self.study} and impactd {other.study}"
        mine, its = ({**_flat(whole.known), **whole.more} for whole in (self, other))
        names = [name for name in mine if mine[name] != its.get(name)]
        return ", ".join(dict.fromkeys([*names, *(["days"] if self.units != other.units else [])]))


def _flat(known: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in known.items() if not isinstance(value, Mapping)}
    for value in known.values():
        if isinstance(value, Mapping):
            flat |= value
    return flat


@dataclass(frozen=True, slots=True)
class Content:
    """What a result holds.

    Attributes
    ----------
    texts : sequence of (str, str)
        Kind and text.
    arrays : mapping of str to ndarray of float64
    """

    texts: Sequence[tuple[str, str]]
    arrays: Mapping[str, Float] = field(default_factory=dict)

    def of(self, kind: str) -> list[str]:
        """Return the texts of a kind."""
        return [text for its, text in self.texts if its == kind]


def run_shard(
    whole: Whole,
    number: int,
    of: int,
    out: Path,
    work: Callable[[list[Unit]], Generator[tuple[Unit, Content], None, None]],
) -> tuple[int, int]:
    """Work the units of one shard that `out` does not have yet, and write each as soon as it is done.

    Parameters
    ----------
    work : callable
        From units to each with its result, once it is done. Not called if there is nothing to do.

    Returns
    -------
    worked, had : int
        Units.
    """
    todo, had = whole.todo(number, of, out)
    if todo:
        with closing(work(todo)) as done:
            for unit, content in done:
                write(out, whole, unit, content)
    return len(todo), had


def parquet() -> Any:
    """Return pyarrow's module for Parquet.

    Raises
    ------
    ValidationError
        1001 without pyarrow.
    """
    try:
        return extra_module("pyarrow.parquet", "arrow")
    except MissingExtraError as error:
        raise ValidationError(MALFORMED, "results: shards write Parquet", str(error)) from error


def collected(directories: Sequence[Path]) -> tuple[Whole, list[Content]]:
    """Return the study that results in directories are parts of, and what each of its units came to, in their order.

    Raises
    ------
    ValidationError
        1001 without pyarrow; if there is no result, one is damaged or missing, or not all are of one study.
    """
    parquet()
    files = [one for directory in directories for one in found(directory)]
    wholes: dict[str, tuple[Whole, Result]] = {}
    parts: dict[Unit, tuple[Result, Content]] = {}
    damaged: dict[Unit, Path] = {}
    for one in files:
        content = one.read()
        if content is None:
            damaged[one.unit] = one.path
            continue
        if one.key not in wholes:
            wholes[one.key] = described(content, one.path), one
        if len(wholes) > 1:
            (first, with_), (other, it) = wholes.values()
            raise ValidationError(
                MALFORMED,
                f"{it.path}: {it.name} was made under other settings than {with_.path} ({first.differs(other)})",
                "remove one of them, or merge each by itself",
            )
        if one.unit not in parts:
            parts[one.unit] = one, decoded(content)
        known, _ = parts[one.unit]
        if known.checksum != one.checksum:
            raise ValidationError(
                MALFORMED,
                f"{one.path}: {one.name} differs from {known.path}",
                "compute all shards with the same releases on the same kind of processor, and remove one of them",
            )
    if not wholes:
        damage = "".join(f"; {path} is damaged" for path in damaged.values())
        places = ", ".join(map(str, directories))
        raise ValidationError(
            MALFORMED,
            f"{places}: no result of a shard{damage}",
            "impactd backtest, train or sensitivity writes them with --shard I/N --out DIR",
        )
    [(whole, _)] = wholes.values()
    if missing := [unit for unit in whole.units if unit not in parts]:
        names = [named(unit) + (f" ({damaged[unit]} is damaged)" if unit in damaged else "") for unit in missing]
        raise ValidationError(
            MALFORMED,
            f"results: {len(missing)} of {len(whole.units)} are missing: {', '.join(names)}",
            "run their shards again, which computes only what is missing, or name the directories that have them",
        )
    return whole, [parts[unit][1] for unit in whole.units]


def named(unit: Unit) -> str:
    """Return what people call a unit."""
    return " ".join(filter(None, unit))


@dataclass(frozen=True, slots=True)
class Result:
    """A file that has the name of a result."""

    path: Path
    symbol: str
    day: str
    key: str
    checksum: str

    @property
    def unit(self) -> Unit:
        """Symbol and day."""
        return self.symbol, self.day

    @property
    def name(self) -> str:
        """What people call its unit."""
        return named(self.unit)

    def read(self) -> bytes | None:
        """Return its bytes; None if they are not those that were written."""
        content = self.path.read_bytes()
        return content if _checksum(content) == self.checksum else None


def found(directory: Path) -> Iterator[Result]:
    """Yield the results in a directory, by name."""
    for path in sorted(directory.glob("*.parquet")):
        if (name := _NAME.fullmatch(path.name)) is not None:
            yield Result(path, unquote(name["symbol"]), name["day"], name["key"], name["sum"])


def write(directory: Path, whole: Whole, unit: Unit, content: Content) -> Path:
    """Write the result of a unit, and return its file."""
    made = _encoded(whole, unit, content)
    symbol, day = unit
    name = f"{quote(symbol, safe='')}_{day}_{whole.key}_{_checksum(made)}.parquet"
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{uuid4().hex}.tmp"
    try:
        with partial.open("xb") as file:
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(directory / name)
    finally:
        partial.unlink(missing_ok=True)
    return directory / name


def described(content: bytes, path: Path | None = None) -> Whole:
    """Return the whole that a result is a part of.

    Raises
    ------
    ValidationError
        1001 if another release wrote it in another layout.
    """
    text = (parquet().read_schema(BytesIO(content)).metadata or {}).get(_WHOLE)
    if text is None or orjson.loads(text).get("schema") != SCHEMA:
        raise ValidationError(
            MALFORMED,
            f"{path}: is not a result that this release reads",
            "merge with the release that wrote it, or remove the file and run its shard again",
        )
    return Whole.decode(text)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _encoded(whole: Whole, unit: Unit, content: Content) -> bytes:
    arrow, writer = import_module("pyarrow"), parquet()
    rows: list[tuple[str, str | None, str | None, list[int] | None, Any]] = [
        *((kind, None, text, None, None) for kind, text in content.texts),
        *(("array", name, None, list(array.shape), array.ravel()) for name, array in content.arrays.items()),
    ]
    kind, name, text, shape, values = (list(column) for column in zip(*rows, strict=True))
    symbol, day = unit
    table = arrow.table(
        {
            "symbol": arrow.array([symbol] * len(rows), arrow.string()),
            "day": arrow.array([day] * len(rows), arrow.string()),
            "settings": arrow.array([whole.known["settings"]] * len(rows), arrow.string()),
            "kind": arrow.array(kind, arrow.string()),
            "name": arrow.array(name, arrow.string()),
            "text": arrow.array(text, arrow.string()),
            "shape": arrow.array(shape, arrow.list_(arrow.int64())),
            "values": arrow.array(values, arrow.list_(arrow.float64())),
        }
    ).replace_schema_metadata({_WHOLE: whole.encode()})
    held = BytesIO()
    writer.write_table(table, held, compression="zstd")
    return held.getvalue()


def text_of(value: Any) -> str:
    """Return a value as JSON that keeps every bit of its floats, NaN and infinity included."""
    return to_json(value, inf_nan_mode="constants", fallback=lambda array: array.tolist()).decode()


def decoded(content: bytes) -> Content:
    """Return what a result holds from the bytes of its file."""
    rows = parquet().read_table(BytesIO(content))
    texts, arrays = [], {}
    for i, kind in enumerate(rows["kind"].to_pylist()):
        if kind == "array":
            values = rows["values"][i].values.to_numpy(zero_copy_only=False).copy()
            arrays[rows["name"][i].as_py()] = values.reshape(rows["shape"][i].as_py())
        else:
            texts.append((kind, rows["text"][i].as_py()))
    return Content(texts, arrays)
