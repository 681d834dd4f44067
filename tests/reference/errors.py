"""The page of errors: what each code, reason and kind means."""

from __future__ import annotations

from typing import Final

from impactd.cli import EXIT_CODES
from impactd.core.books.checks import Reject
from impactd.research.errors import CODES
from impactd.wire.codec import REASONS
from tests.reference.markdown import code, table

#: Reasons of dead letters that only the core or the shell can give; the wire's own are `REASONS`.
LATER_REASONS: Final = {
    "executions_full": "the order has as many executions as `plans.max_executions` allows; it is halted",
    "future": "`ts_event` lies further ahead of the record's timestamp than `books.max_clock_skew_s`",
    "held_full": "its order is not there yet, and no more can wait (`plans.max_held`)",
    "misplaced": "the key belongs to another partition than the record's: the producer does not partition by murmur2",
    "orphan": "its order or execution did not come within `plans.hold_s`",
    "symbol_mismatch": "it names another symbol than its order's",
    "too_large": "a fill that makes an order larger than any can be",
}

#: Kinds of alerts.
ALERTS: Final = {
    "regime_change": "the spread or depth of one side has changed its level for more than a few minutes",
    "crossed_feed": "all books of a minute were refused, some of them because they were crossed",
    "halt": "somebody halted plans, or the service did; the text says what and why",
    "invalid_ratio": "more of the input than `invalid.max_ratio` was refused",
    "late_fill": "a fill came after its order had ended; it counts",
    "max_symbols": "rows were dropped, because the partition has `books.max_symbols` symbols",
    "missing_ticks": "an order works and its symbol has had no tick for `plans.missing_ticks_s`",
    "opposite_side": "orders work both sides of a symbol; they are not netted",
    "order_rejected": "an order or replace was refused; the text says why",
    "overfill": "more was filled than ordered; nothing is left to trade",
    "resume": "a halt was lifted",
    "lifted": "must_complete asks for more than participation_rate allows; the plan says how much",
    "shortfall": "the plan or the order ends with a quantity that was not, or cannot be, traded",
    "solver_failed": "no solver's schedule passed its certificate",
    "withheld": "a plan would break a limit of `gate`, and is not published",
}

#: Why a row of ticks does not count; such rows are counted by symbol and minute, and are no dead letters.
REJECTS: Final = {
    Reject.FUTURE: "`ts_event` lies further ahead of its record's timestamp than `books.max_clock_skew_s`",
    Reject.CLOCK_BACK: "`ts_event` lies before that of a row that came earlier",
    Reject.MID_EVENT: "a book in the middle of a venue's event; a trade there counts",
    Reject.UNDECODABLE: "the book's fields could not be read; the row stands for it",
    Reject.TOO_DEEP: "more levels than `books.max_levels`",
    Reject.NOT_FINITE: "a price or size that is no finite number",
    Reject.SENTINEL: "a price or size that stands for 'undefined'",
    Reject.PRICE: "a price that is not above 0",
    Reject.SIZE: "a size below 0",
    Reject.UNSORTED: "levels out of order",
    Reject.CROSSED: "the best bid is above the best ask",
    Reject.LOCKED: "the best bid equals the best ask, where `books.allow_locked` is off",
}

_HEAD: Final = """\
# Errors

Codes, reasons and kinds are for programs and do not change their meaning; texts are for people, and name what is
wrong and what to do. What to do when the service says one of them: the [runbook](../runbook.md).

## Exit codes

An error is one line on standard error, `impactd: ...`.

"""


def page() -> str:
    """Return the page."""
    exits = table(("code", "meaning"), ((code(number), meaning) for number, meaning in EXIT_CODES.items()))
    research = table(
        ("code", "error", "meaning"), ((code(n), code(name), meaning) for n, (name, meaning) in CODES.items())
    )
    return (
        f"{_HEAD}{exits}"
        "\n## Dead letters\n\nThe header `reason` of a record in the dead-letter topic; `detail` is a sentence.\n\n"
        f"{_words('reason', reasons())}"
        "\n## Rejected rows\n\nTicks that were read and cannot stand are counted by reason: `impactd_ticks_total`,\n"
        "the summary of `impactd replay`, `n_rejected` of an estimate.\n\n"
        f"{table(('reason', 'meaning'), ((code(str(reason)), REJECTS[reason]) for reason in Reject))}"
        f"\n## Alerts\n\n`kind` of a record in the topic of alerts:\n\n{_words('kind', ALERTS)}"
        "\n## Codes of the batch API\n\n`code` of an exception of `impactd`; `what` and `remedy` are its sentences.\n\n"
        f"{research}"
    )


def reasons() -> dict[str, str]:
    """Return every reason of a dead letter, and what it means."""
    found = dict(REASONS)
    for reason, meaning in LATER_REASONS.items():
        found[reason] = f"{found[reason]}; or {meaning}" if reason in found else meaning
    return found


def _words(head: str, meanings: dict[str, str]) -> str:
    return table((head, "meaning"), ((code(word), meanings[word]) for word in sorted(meanings)))
