"""A backtest in parts, on machines that share a file system or nothing.

The unit is one day of one symbol. Its result is one Parquet file, whose name has the symbol, the day, the hash of
all that the figures follow from, and the checksum of the file's bytes. A file takes its name when it is complete, so a
process that is killed leaves nothing that counts, and a file that was cut short or changed is known before it is read.

A file has one row per record:

- ``order``: what one order came to under every policy, as JSON in ``text``;
- ``skipped``: why a window was left out, in ``text``;
- ``study``: the session, as JSON in ``text``;
- ``array``: an array of the day's forecasts by ``name``, its ``shape`` and its ``values``.

Floats are kept to the last bit: JSON has the shortest digits that give them back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote
from uuid import uuid4

import numpy as np
import orjson
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from impactd.core.base.extras import MissingExtraError, extra_module
from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.core.outputs.messages import Plan
from impactd.core.state.schema import hash_of
from impactd.research.backtest.capture import Priced
from impactd.research.backtest.days import Day
from impactd.research.backtest.evaluate import Outcome
from impactd.research.backtest.policies import Lines
from impactd.research.backtest.run import Asked, Progress, Worked
from impactd.research.backtest.study import DayForecasts
from impactd.research.backtest.workers import work_each
from impactd.research.errors import MALFORMED, ValidationError

SCHEMA: Final = "impactd.shard/1"

#: Key of a file's metadata that has the description of the whole.
_WHOLE: Final = b"impactd.backtest"

_NAME: Final = re.compile(
    r"(?P<symbol>.+)_(?P<day>\d{4}-\d\d-\d\d)_(?P<key>[0-9a-f]{16})_(?P<sum>[0-9a-f]{16})\.parquet"
)

#: Arrays of a day's forecasts, and of the day.
_ARRAYS: Final = ("impact", "realised", "slope", "slope_se")
_OF_DAY: Final = ("volume", "trades")

_PRICED: Final = TypeAdapter(Priced)
_PLAN: Final = TypeAdapter(Plan)
_PERSISTENT: Final = TypeAdapter(dict[float, dict[str, float]])
_LATE: Final = TypeAdapter(dict[int, dict[str, tuple[float, ...]]])


@dataclass(frozen=True)
class Whole:
    """The backtest that results are parts of.

    Attributes
    ----------
    known : dict
        What the figures follow from, by `impactd.research.backtest.report.asked`.
    more : dict
        What else results depend on.
    units : tuple of (str, str)
        Every symbol and day, in the order of the report.
    """

    known: Mapping[str, Any]
    more: Mapping[str, Any]
    units: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, asked: Asked, known: Mapping[str, Any], codec: str | None = None, symbol: str | None = None) -> Whole:
        """Return the description of all that is asked."""
        more = {**dataclasses.asdict(asked.question), "codec": codec, "symbol": symbol}
        return cls(known, more, tuple(asked.trials))

    def encode(self) -> bytes:
        """Return the description as JSON."""
        return orjson.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, option=orjson.OPT_SERIALIZE_NUMPY)

    @classmethod
    def decode(cls, text: bytes) -> Whole:
        """Return the description that `encode` wrote."""
        read = orjson.loads(text)
        return cls(read["known"], read["more"], tuple((symbol, day) for symbol, day in read["units"]))

    @cached_property
    def key(self) -> str:
        """The hash of the description, 16 hex digits."""
        return hash_of(orjson.loads(self.encode()))

    def shard(self, number: int, of: int) -> tuple[tuple[str, str], ...]:
        """Return the units of shard `number`, 1 to `of`: neighbours, so that few shards walk the same symbol."""
        n = len(self.units)
        return self.units[(number - 1) * n // of : number * n // of]

    def differs(self, other: Whole) -> str:
        """Return the names of what differs from another description, for people."""
        pairs = [(self.known, other.known), (self.known["question"], other.known["question"]), (self.more, other.more)]
        names = [name for a, b in pairs for name in a if name != "question" and a[name] != b.get(name)]
        return ", ".join(dict.fromkeys([*names, *(["days"] if self.units != other.units else [])]))


@dataclass(frozen=True, slots=True)
class Part:
    """The result of one unit."""

    outcomes: tuple[Outcome, ...]
    study: DayForecasts
    skipped: tuple[str, ...]


def parquet() -> Any:
    """Return pyarrow's module for Parquet."""
    try:
        return extra_module("pyarrow.parquet", "arrow")
    except MissingExtraError as error:
        raise ValidationError(MALFORMED, "results: shards write Parquet", str(error)) from error


def run_shard(
    asked: Asked,
    whole: Whole,
    number: int,
    of: int,
    out: Path,
    *,
    workers: int = 1,
    begin: Callable[[int], Progress] | None = None,
) -> tuple[int, int]:
    """Work the units of one shard that `out` does not have yet, and write each as soon as it is done.

    Returns
    -------
    worked, had : int
        Units.
    """
    parquet()
    mine = whole.shard(number, of)
    # A directory that all share has the results of every shard: only this one's are read.
    ours = set(mine)
    there = [one for one in found(out) if one.key == whole.key and one.unit in ours]
    had = {one.unit for one in there if one.read() is not None}
    todo = [unit for unit in mine if unit not in had]
    progress = begin(sum(len(asked.trials[unit]) for unit in todo)) if begin is not None and todo else None
    for tape in asked.tapes:
        days = {day for symbol, day in todo if symbol == tape.symbol}
        if not days:
            continue
        bench, by_day = asked.walk(tape, days)
        with closing(work_each({tape.symbol: bench}, asked.strategies, by_day, workers, progress)) as done:
            for day, outcomes in done:
                write(out, whole, Part(tuple(outcomes), bench.studies[day], asked.skipped[tape.symbol, day]))
    return len(todo), len(mine) - len(todo)


def merge(directories: Sequence[Path]) -> tuple[Worked, Whole]:
    """Return the whole that results in directories are parts of.

    Raises
    ------
    ValidationError
        1001 without pyarrow; if there is no result, one is damaged or missing, or not all are of one backtest.
    """
    parquet()
    files = [one for directory in directories for one in found(directory)]
    wholes: dict[str, tuple[Whole, Result]] = {}
    parts: dict[tuple[str, str], tuple[Result, Part]] = {}
    damaged: dict[tuple[str, str], Path] = {}
    for one in files:
        content = one.read()
        if content is None:
            damaged[one.unit] = one.path
            continue
        if one.key not in wholes:
            wholes[one.key] = described(content), one
        if len(wholes) > 1:
            (first, with_), (other, it) = wholes.values()
            raise ValidationError(
                MALFORMED,
                f"{it.path}: {it.symbol} {it.day} was made under other settings than {with_.path} "
                f"({first.differs(other)})",
                "remove one of them, or merge each by itself",
            )
        if one.unit not in parts:
            parts[one.unit] = one, part_of(content)
        known, _ = parts[one.unit]
        if known.checksum != one.checksum:
            raise ValidationError(
                MALFORMED,
                f"{one.path}: {one.symbol} {one.day} differs from {known.path}",
                "work all shards with the same releases on the same kind of processor, and remove one of them",
            )
    if not wholes:
        damage = "".join(f"; {path} is damaged" for path in damaged.values())
        places = ", ".join(map(str, directories))
        raise ValidationError(
            MALFORMED, f"{places}: no result of a shard{damage}", "impactd backtest --shard I/N --out DIR writes them"
        )
    [(whole, _)] = wholes.values()
    if missing := [unit for unit in whole.units if unit not in parts]:
        names = [
            f"{symbol} {day}" + (f" ({damaged[symbol, day]} is damaged)" if (symbol, day) in damaged else "")
            for symbol, day in missing
        ]
        raise ValidationError(
            MALFORMED,
            f"results: {len(missing)} of {len(whole.units)} are missing: {', '.join(names)}",
            "run their shards again, which works only what is missing, or name the directories that have them",
        )
    done = [parts[unit][1] for unit in whole.units]
    skipped = dict.fromkeys(reason for part in done for reason in part.skipped)
    outcomes = tuple(outcome for part in done for outcome in part.outcomes)
    return Worked(tuple(whole.known["strategies"]), outcomes, tuple(part.study for part in done), tuple(skipped)), whole


@dataclass(frozen=True, slots=True)
class Result:
    """A file that has the name of a result."""

    path: Path
    symbol: str
    day: str
    key: str
    checksum: str

    @property
    def unit(self) -> tuple[str, str]:
        """Symbol and day."""
        return self.symbol, self.day

    def read(self) -> bytes | None:
        """Return its bytes; None if they are not those that were written."""
        content = self.path.read_bytes()
        return content if _checksum(content) == self.checksum else None


def found(directory: Path) -> Iterator[Result]:
    """Yield the results in a directory, by name."""
    for path in sorted(directory.glob("*.parquet")):
        if (name := _NAME.fullmatch(path.name)) is not None:
            yield Result(path, unquote(name["symbol"]), name["day"], name["key"], name["sum"])


def write(directory: Path, whole: Whole, part: Part) -> Path:
    """Write the result of a unit, and return its file."""
    day = part.study.day
    content = _encoded(whole, part)
    name = f"{quote(day.symbol, safe='')}_{day.name}_{whole.key}_{_checksum(content)}.parquet"
    directory.mkdir(parents=True, exist_ok=True)
    made = directory / f".{uuid4().hex}.tmp"
    try:
        with made.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        made.replace(directory / name)
    finally:
        made.unlink(missing_ok=True)
    return directory / name


def described(content: bytes) -> Whole:
    """Return the whole that a result is a part of."""
    return Whole.decode(parquet().read_schema(BytesIO(content)).metadata[_WHOLE])


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _encoded(whole: Whole, part: Part) -> bytes:
    arrow, writer = import_module("pyarrow"), parquet()
    study, day = part.study, part.study.day
    session = {
        "midnight": day.midnight,
        "open": day.open,
        "close": day.close,
        "interval_ns": day.intervals.interval_ns,
        "reference": study.reference,
    }
    arrays = {name: getattr(study, name) for name in _ARRAYS}
    arrays |= {f"day.{name}": getattr(day, name).astype(np.float64) for name in _OF_DAY}
    for row, lines in enumerate(study.lines):
        arrays |= {f"lines.{row}.s": lines.s, f"lines.{row}.beta": lines.beta}
    rows: list[tuple[str, str | None, str | None, list[int] | None, Any]] = [
        ("study", None, _text(session), None, None),
        *(("order", None, _text(_plain(outcome)), None, None) for outcome in part.outcomes),
        *(("skipped", None, reason, None, None) for reason in part.skipped),
        *(("array", name, None, list(array.shape), array.ravel()) for name, array in arrays.items()),
    ]
    kind, name, text, shape, values = (list(column) for column in zip(*rows, strict=True))
    table = arrow.table(
        {
            "symbol": arrow.array([day.symbol] * len(rows), arrow.string()),
            "day": arrow.array([day.name] * len(rows), arrow.string()),
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


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}


def _text(value: Any) -> str:
    return to_json(value, inf_nan_mode="constants", fallback=lambda array: array.tolist()).decode()


def part_of(content: bytes) -> Part:
    """Return the result of a unit from the bytes of its file."""
    rows = parquet().read_table(BytesIO(content))
    kinds = rows["kind"].to_pylist()
    texts: dict[str, list[str]] = {"order": [], "skipped": [], "study": []}
    arrays = {}
    for i, kind in enumerate(kinds):
        if kind == "array":
            values = rows["values"][i].values.to_numpy(zero_copy_only=False).copy()
            arrays[rows["name"][i].as_py()] = values.reshape(rows["shape"][i].as_py())
        else:
            texts[kind].append(rows["text"][i].as_py())
    session = from_json(texts["study"][0])
    opens, interval = session["open"], session["interval_ns"]
    day = Day(
        rows["symbol"][0].as_py(),
        rows["day"][0].as_py(),
        session["midnight"],
        opens,
        session["close"],
        # A report asks for the times of intervals; the books stay where the orders were worked.
        Intervals.of(_no_books(), opens, len(arrays["day.volume"]), interval),
        arrays["day.volume"],
        arrays["day.trades"] != 0.0,
    )
    buy, sell = (Lines(arrays[f"lines.{row}.s"], arrays[f"lines.{row}.beta"]) for row in range(2))
    study = DayForecasts(day, (buy, sell), reference=session["reference"], **{name: arrays[name] for name in _ARRAYS})
    return Part(tuple(_outcome(from_json(text)) for text in texts["order"]), study, tuple(texts["skipped"]))


def _outcome(read: dict[str, Any]) -> Outcome:
    plans = {name: None if read[name] is None else _PLAN.validate_python(read[name]) for name in ("first", "expected")}
    return Outcome(
        priced=_PRICED.validate_python(read["priced"]),
        paths={name: np.array(path, np.float64) for name, path in read["paths"].items()},
        persistent=_PERSISTENT.validate_python(read["persistent"]),
        reacted=_PERSISTENT.validate_python(read["reacted"]),
        late=_LATE.validate_python(read["late"]),
        first_cost=read["first_cost"],
        **plans,
    )


def _no_books() -> Prevailing:
    times, prices = np.zeros(0, np.int64), np.zeros(0)
    return Prevailing(times, times, prices, prices, np.zeros((0, 2, 1)), np.zeros((0, 2, 1)), np.zeros((0, 2)))
