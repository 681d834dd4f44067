"""Figures: what was measured, what was to be reached, and on what machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table

#: Packages whose release moves a figure.
VERSIONS_OF: Final = (
    "aiokafka",
    "clarabel",
    "confluent-kafka",
    "cvxpy-base",
    "numba",
    "numpy",
    "orjson",
    "osqp",
    "quixstreams",
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to reach."""

    bound: Literal["at least", "at most"]
    value: float

    def is_met(self, value: float) -> bool:
        """Return whether `value` reaches it; NaN never does."""
        return value >= self.value if self.bound == "at least" else value <= self.value


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    name : str
    value : float
    unit : str
        "" for a ratio.
    spread : float or None
        Range over median of the rounds, where there were several.
    target : Target or None
    note : str
        How it was measured, where its name does not say.
    """

    name: str
    value: float
    unit: str = ""
    spread: float | None = None
    target: Target | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None else self.target.is_met(self.value)

    def as_json(self) -> dict[str, Any]:
        """Return the figure for a JSON document."""
        shown: dict[str, Any] = {"name": self.name, "value": self.value, "unit": self.unit}
        if self.spread is not None:
            shown["spread"] = self.spread
        if self.target is not None:
            shown["target"] = {"bound": self.target.bound, "value": self.target.value}
            shown["met"] = self.is_met
        if self.note:
            shown["note"] = self.note
        return shown


@dataclass(frozen=True, slots=True)
class Section:
    """The figures of one section, with the command that gives them.

    `load` is the average number of processes that wanted a core in the minute before the section, and before its end.
    """

    name: str
    title: str
    figures: Sequence[Figure]
    load: tuple[float, float]
    facts: Mapping[str, str]

    @property
    def command(self) -> str:
        """What gives these figures again."""
        return f'make bench ARGS="--only {self.name}"'

    def as_json(self) -> dict[str, Any]:
        """Return the section for a JSON document."""
        return {
            "section": self.name,
            "title": self.title,
            "command": self.command,
            "load": list(self.load),
            "facts": dict(self.facts),
            "figures": [figure.as_json() for figure in self.figures],
        }


def load() -> float:
    """Return how many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def machine() -> dict[str, str]:
    """Return what a figure depends on besides the code."""
    facts = {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for name in VERSIONS_OF:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def print_table(sections: Sequence[Section], facts: Mapping[str, str], console: Console) -> None:
    """Print one table of all sections."""
    table = Table(title="impactd: measured on this machine, in this run", title_justify="left")
    table.add_column("figure", overflow="fold")
    for heading in ("value", "unit", "spread", "target"):
        table.add_column(heading, justify="right" if heading == "value" else "left", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("note", overflow="fold")
    for section in sections:
        table.add_section()
        about = ", ".join([f"load {section.load[0]:g} to {section.load[1]:g}", *section.facts.values()])
        table.add_row(f"[bold]{section.title}[/bold]", "", "", "", "", "", f"{section.command}; {about}")
        for figure in section.figures:
            target, met = figure.target, figure.is_met
            table.add_row(
                figure.name,
                _short(figure.value),
                figure.unit,
                "" if figure.spread is None else f"{figure.spread:.0%}",
                "" if target is None else f"{target.bound} {_short(target.value)}",
                "" if met is None else "[green]met[/green]" if met else "[red]MISSED[/red]",
                figure.note,
            )
    console.print(table)
    console.print("; ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
