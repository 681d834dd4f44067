"""The index of decisions, from their own pages."""

from __future__ import annotations

from typing import Final

from tests.paths import ROOT
from tests.reference.markdown import table

DIRECTORY: Final = ROOT / "docs" / "adr"

_HEAD: Final = """\
# Decisions

Decisions that are hard to undo, or that a newcomer would question: context, decision, consequences.

"""


def page() -> str:
    """Return the page."""
    rows = []
    for path in sorted(DIRECTORY.glob("0*.md")):
        title, _, rest = path.read_text(encoding="utf-8").partition("\n")
        number, _, name = title.removeprefix("# ").partition(". ")
        rows.append((number, f"[{name}]({path.name})", rest.strip().partition("\n")[0].rstrip(".")))
    return _HEAD + table(("", "decision", "status"), rows)
