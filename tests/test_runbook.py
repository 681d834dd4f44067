"""The runbook names what a person will see: each line, alert, reason and metric in it is one that the code can say."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
REFERENCE = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")

#: What stands for a value: words in capitals, single capital letters, dots.
_VALUE = re.compile(r"\.\.\.|: |\*:|:?'?\b[A-Z][A-Z0-9_:]*(?:-[A-Z0-9]+)*\b'?")

#: Said by libraries, not by us.
_FOREIGN = {"TopicAuthorizationFailedError", "RecordTooLargeException"}


@functools.cache
def _said() -> tuple[str, ...]:
    """Return every text in the package, values in it as NUL."""
    texts: list[str] = []
    for path in sorted((ROOT / "daemon" / "impactd").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return tuple(texts)


def _unsaid(line: str) -> list[str]:
    """Return the pieces of `line` between its values that stand in no text: a line may be put together of several."""
    pieces = [piece.strip(" ,:;()'/") for piece in _VALUE.split(line)]
    return [piece for piece in pieces if not any(piece in text for text in _said())]


def _lines() -> Iterator[str]:
    """Yield what stands in backticks in the first column of the tables."""
    for row in re.findall(r"^\| (?!-)(.*?) \|", RUNBOOK, re.MULTILINE):
        yield from re.findall(r"`([^`]+)`", row)


@pytest.mark.parametrize("line", sorted(set(_lines())))
def test_runbook_line_is_one_that_the_code_says(line: str) -> None:
    if line not in _FOREIGN and not line.startswith("impactd_"):
        assert _unsaid(line) == []


@pytest.mark.parametrize("metric", sorted(set(re.findall(r"\bimpactd_[a-z_]+", RUNBOOK))))
def test_runbook_metric_is_in_the_reference(metric: str) -> None:
    assert f"`{metric}`" in REFERENCE


def test_unsaid_made_up_line_is_found_out() -> None:
    assert _unsaid("partition P was eaten by a whale") == ["was eaten by a whale"]
