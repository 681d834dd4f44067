"""The sensitivity of each file, alone or in shards (`impactd.research.shards`), whose unit is one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
from pydantic_core import from_json

from impactd.core.base.settings import CoreSettings, SessionRule
from impactd.research.backtest.run import Progress
from impactd.research.backtest.sensitivity import sensitivity as walked_forward
from impactd.research.backtest.windows import Question
from impactd.research.compare import generated_day, recorded_day, sensitivity
from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.shards import Content, Unit, Whole, text_of

STUDY: Final = "sensitivity"

#: The unit without a file.
_GENERATED: Final = "generated day"


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivity:
    """What one file, or the generated day, shows.

    Attributes
    ----------
    hindsight : DataFrame
        Of `impactd.research.compare.sensitivity`.
    walked : DataFrame, optional
        Of `impactd.research.backtest.sensitivity`; None for the generated day, and where it failed.
    failed : str, optional
        Why it was not walked forward.
    """

    name: str
    hindsight: pd.DataFrame
    walked: pd.DataFrame | None = None
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is varied, on which files; `totals` in shares, `hours` in words."""

    paths: tuple[Path, ...]
    settings: CoreSettings
    question: Question
    totals: tuple[float, ...]
    intervals: int
    side: str
    seed: int
    rule: SessionRule | None
    hours: str
    codec: str | None
    symbol: str | None
    workers: int = 1
    begin: Callable[[int], Progress] | None = None

    def generated(self) -> Sensitivity:
        """Return what the generated day shows."""
        day = generated_day(self.seed)
        return Sensitivity(day.name, sensitivity(day.slippage, self.totals, self.intervals, side=self.side))

    def recorded(self, path: Path) -> Sensitivity:
        """Return what a file shows.

        Raises
        ------
        ValidationError
            1001 if it has no book that can be used.
        """
        day = recorded_day(path, codec=self.codec, symbol=self.symbol, session=self.rule, hours=self.hours)
        hindsight = sensitivity(day.slippage, self.totals, self.intervals, side=self.side)
        try:
            walked = walked_forward(
                path,
                self.settings,
                self.question,
                codec=self.codec,
                symbol=self.symbol,
                workers=self.workers,
                begin=self.begin,
            )
        except ValidationError as error:
            return Sensitivity(day.name, hindsight, failed=str(error))
        return Sensitivity(day.name, hindsight, walked)

    def all(self) -> list[Sensitivity]:
        """Return what the generated day and each file show."""
        return [self.generated(), *map(self.recorded, self.paths)]

    def whole(self, known: Mapping[str, Any]) -> Whole:
        """Return the description of all; `known` is what else figures follow from.

        Raises
        ------
        ValidationError
            1001 if two files have one name, by which results are told apart.
        """
        names = [path.name for path in self.paths]
        if twice := [name for name, count in Counter([_GENERATED, *names]).items() if count > 1]:
            raise ValidationError(MALFORMED, f"--data: several files are named {twice[0]}", "give them different names")
        asked = {
            "side": self.side,
            "intervals": self.intervals,
            "shares": list(self.totals),
            "from_s": self.question.from_s,
            "to_s": self.question.to_s,
        }
        more = {"codec": self.codec, "symbol": self.symbol}
        units = tuple((name, "") for name in (_GENERATED, *names))
        return Whole(STUDY, {**known, "hours": self.hours, "seed": self.seed, "question": asked}, more, units)


def worked(asked: Asked, todo: Sequence[Unit]) -> Generator[tuple[Unit, Content], None, None]:
    """Yield units with their results.

    Raises
    ------
    ValidationError
        1001 if a file has no book that can be used.
    """
    paths = {path.name: path for path in asked.paths}
    for unit in todo:
        path = paths.get(unit[0])
        yield unit, _content(asked.generated() if path is None else asked.recorded(path))


def merged(contents: Sequence[Content]) -> list[Sensitivity]:
    """Return what all units show."""
    return [_shown(content) for content in contents]


def _content(shown: Sensitivity) -> Content:
    tables = {"hindsight": shown.hindsight, "walked": shown.walked}
    return Content(
        [
            ("name", shown.name),
            *((kind, text_of(table.to_dict("list"))) for kind, table in tables.items() if table is not None),
            *([] if shown.failed is None else [("failed", shown.failed)]),
        ]
    )


def _shown(content: Content) -> Sensitivity:
    tables = {kind: pd.DataFrame(from_json(text)) for kind in ("hindsight", "walked") for text in content.of(kind)}
    [name] = content.of("name")
    return Sensitivity(name, tables["hindsight"], tables.get("walked"), next(iter(content.of("failed")), None))
