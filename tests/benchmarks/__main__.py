"""``make bench``: measure, print one table, and keep it as JSON.

Targets stand beside what was reached; a missed one fails the run with ``--check`` only, because a machine may be slow
or busy.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Final

from rich.console import Console

from impactd.shell.broker.broker import BrokerUnavailable
from tests.benchmarks import allocator, batched, growth, minute, page, research, scale, service, startup, ticks
from tests.benchmarks.figures import Figure, Section, load, machine, print_table
from tests.paths import ROOT

#: Where the document of the last run is.
OUT: Final = ROOT / "build" / "bench.json"

Measure = Callable[[argparse.Namespace], tuple[list[Figure], dict[str, str]]]

SECTIONS: Final[dict[str, tuple[str, Measure]]] = {
    "service": (
        "Messages a second, one partition of ten-level JSON books, 16 sizes a side",
        lambda asked: service.measure(asked.messages, asked.rounds),
    ),
    "batched": (
        f"Ticks a second, one partition of ten-level binary books, {batched.BOOKS} a record",
        lambda asked: batched.measure(asked.messages, asked.rounds),
    ),
    "scale": (
        f"Messages a second, {scale.PARTITIONS} partitions, by processes",
        lambda asked: scale.measure(asked.messages, asked.rounds),
    ),
    "page": (
        "Messages a second, one partition, by who looks at the live page",
        lambda asked: page.measure(asked.messages, asked.rounds),
    ),
    "ticks": ("A tick's cost, processor time", lambda _: (ticks.measure(), {})),
    "allocator": ("A schedule's cost, processor time", lambda _: (allocator.measure(), allocator.FACTS)),
    "minute": ("A minute's close with orders open, processor time", lambda _: (minute.measure(), {})),
    "growth": (
        "Growth with symbols and orders, processor time and memory",
        lambda _: (growth.measure(), growth.FACTS),
    ),
    "research": ("A study by the batch API, wall time", lambda _: (research.measure(), research.FACTS)),
    "startup": ("Start of a command, wall time", lambda _: (startup.measure(), {})),
}


def main() -> int:
    """Run the sections asked for and return the exit code."""
    asked = _arguments()
    log = Console(stderr=True, highlight=False)
    sections = []
    for name in asked.only or SECTIONS:
        title, measure = SECTIONS[name]
        log.print(f"measuring: {name} ...")
        before = load()
        try:
            figures, facts = measure(asked)
        except BrokerUnavailable as error:
            log.print(f"{name}: not measured: {error}")
            if asked.check:
                return 1
            continue
        sections.append(Section(name, title, figures, (before, load()), facts))
    facts = machine()
    document = {"machine": facts, "sections": [section.as_json() for section in sections]}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    if asked.json:
        sys.stdout.write(json.dumps(document) + "\n")
    out = Console(stderr=asked.json, width=None if sys.stdout.isatty() else 180)
    print_table(sections, facts, out)
    missed = [figure.name for section in sections for figure in section.figures if figure.is_met is False]
    if missed:
        out.print(f"missed: {'; '.join(missed)}")
    return int(bool(asked.check and missed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SECTIONS), help="one section; may be repeated")
    parser.add_argument("--json", action="store_true", help="the document on standard output, the table beside it")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("--messages", type=int, default=service.MESSAGES, help="books in the service's topic")
    parser.add_argument("--rounds", type=int, default=service.ROUNDS, help="turns that each leg of the service takes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
