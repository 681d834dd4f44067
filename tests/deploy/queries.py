"""What PromQL asks for, and whether the service exports it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import promql_parser
from prometheus_client.parser import text_string_to_metric_families

from impactd.core.base.topics import INPUT_TOPICS
from impactd.shell.exposition import exposition
from impactd.shell.kafka.status import Phase
from tests.reference.errors import ALERTS
from tests.shell.test_metrics import reading

#: Put on every sample by whoever scrapes.
TARGET_LABELS: Final = frozenset({"job", "instance"})

#: Labels whose values are known beforehand.
VALUES: Final = {
    "phase": {phase.value for phase in Phase},
    "topic": {topic.value for topic in INPUT_TOPICS},
    "result": {"accepted", "late", "rejected"},
    "of": {"plan", "twap", "saved", "lost", "possible"},
    "kind": set(ALERTS),
}


_OPERATORS: Final = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}


@dataclass(frozen=True, slots=True)
class Selector:
    """One series that a query asks for: its name, and the labels that it is chosen by."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


@functools.cache
def exported() -> dict[str, frozenset[str]]:
    """Return the samples of a service that has something to say of everything, and their labels."""
    return {
        sample.name: frozenset(sample.labels)
        for family in text_string_to_metric_families(exposition(reading()).decode())
        for sample in family.samples
    }


def selectors(query: str) -> Iterator[Selector]:
    """Yield every series that a query selects.

    Raises
    ------
    ValueError
        If it is no PromQL.
    """
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple((m.name, _OPERATORS[str(m.op)], m.value) for m in node.matchers.matchers)
            found.append(Selector(node.name or "", matchers))
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    yield from found


def grouped_by(query: str) -> set[str]:
    """Return the labels that a query groups or joins by."""
    named = re.findall(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)", query)
    return {label.strip() for labels in named for label in labels.split(",") if label.strip()}


def complaints(query: str, recorded: dict[str, frozenset[str]]) -> Iterator[str]:
    """Yield whatever a query asks for and nobody exports.

    Parameters
    ----------
    query : str
    recorded : dict of str to frozenset of str
        Series that recording rules make, and their labels.
    """
    known = exported() | recorded | {"up": frozenset()}
    labels: set[str] = set(TARGET_LABELS)
    for selector in selectors(query):
        if selector.name not in known:
            yield f"no such metric: {selector.name}"
            continue
        own = known[selector.name] | (frozenset() if selector.name in recorded else TARGET_LABELS)
        labels |= own
        for label, op, value in selector.matchers:
            if label not in own:
                yield f"{selector.name} has no label {label}"
            elif label in VALUES and not value.startswith("$") and set(value.split("|")) - VALUES[label]:
                yield f"{selector.name}: {label} {op} {value} is never said"
    for label in grouped_by(query) - labels:
        yield f"nothing in it has the label {label}"
