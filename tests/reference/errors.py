"""The page of errors: what each code, reason and kind means."""

from __future__ import annotations

from typing import Final

from impactd.cli import EXIT_CODES
from impactd.core.books.checks import MEANINGS, Reject
from impactd.research.errors import CODES
from impactd.wire.codec import REASONS
from tests.reference.markdown import code, table

#: Reasons of dead letters that only the core or the shell can give; the wire's own are `REASONS`.
LATER_REASONS: Final = {
    "conflict": "its `exec_id` was reported before with another quantity, price or reference; the first report counts",
    "executions_full": "the order has reached `plans.max_executions`; it is halted",
    "future": "`ts_event` is ahead of the record's timestamp by more than `books.max_clock_skew_s`",
    "held_full": "its order has not arrived, and no more events can wait (`plans.max_held`)",
    "misplaced": "the key belongs to another partition: the producer does not partition by murmur2",
    "market": "a definition or trading status that contradicts the settings, or costs that are counted already",
    "orphan": "its order or execution did not arrive within `plans.hold_s`",
    "symbol_mismatch": "its symbol differs from its order's",
    "id_mismatch": "its cl_ord_id is an id of another order than its orig_cl_ord_id",
    "too_large": "a fill that makes an order larger than the largest quantity",
}

#: Kinds of alerts.
ALERTS: Final = {
    "regime_change": "impact level shift: spread or depth of one side changed level for more than a few minutes",
    "forecaster_change": "another forecast makes the plans of a symbol, the default or the learned one: the one that "
    "saved more on recent days",
    "book_gap": "changes of a symbol's book are missing, so that the book ended; the next snapshot begins it again",
    "crossed_feed": "all books of a minute were rejected, at least one because it was crossed",
    "other_instrument": "ticks of another instrument id than the symbol's book were rejected, or the book is of "
    "another id now; the text names both",
    "other_publisher": "ticks of another publisher than the symbol's book were rejected; the text names both",
    "venue_lost": "the book of one venue of a symbol became too old: the merged book excludes it until its next "
    "one; the text names the venue and the time",
    "halt": "an operator or the service halted plans; the text states scope and reason",
    "order_refused": "a record on orders went to the dead letters; the text states the reason",
    "execution_refused": "a record on executions went to the dead letters; the text states the reason",
    "control_refused": "a record on control went to the dead letters; the text states the reason",
    "invalid_ratio": "the share of refused input is above `invalid.max_ratio`",
    "late_fill": "a fill arrived after its order had ended; it counts",
    "max_symbols": "rows were dropped because the partition has `books.max_symbols` symbols",
    "missing_ticks": "an order's symbol has had no tick yet, or none for `plans.missing_ticks_s` while the order works",
    "opposite_side": "orders work both sides of a symbol; they are not netted",
    "instrument_refused": "a definition of an instrument could not be used; the text states the reason",
    "market_status": "a venue has changed the trading status of a symbol; orders wait unless it is `trading`",
    "status_refused": "a trading status could not be used; the text states the reason",
    "order_rejected": "an order or replace was refused; the text states the reason",
    "overfill": "more was filled than ordered; nothing is left to trade",
    "resume": "a halt was lifted",
    "joint_fallback": "orders on one book could not be planned as one problem: each is planned by itself and charged "
    "for the others' plans",
    "would_touched": "the market is at the order's would price or better: its share of the depth is taken at once",
    "auction_unknown": "the expected volume of an auction is unknown: the order does not enter it",
    "off_band": "an order has traded less than its minimum rate requires, or more than its maximum allows",
    "price_drift": "the mid is further from an order's arrival price than `plans.alert_drift_bps`",
    "cost_off_band": "the fills of a half-filled order cost more or less than the 95% band of its first plan",
    "limit_blocks": "the prevailing book has nothing within the order's limit price: this interval trades nothing",
    "lifted": "`must_complete` needs more than `participation_rate` allows; the plan states how much",
    "shortfall": "a quantity of the plan or the ended order could not be, or was not, traded",
    "solver_failed": "no solver's schedule passed its certificate",
    "withheld": "a plan breaks a limit of `gate` and is not published",
}

_HEAD: Final = """\
# Errors

Codes, reasons and kinds are for programs and keep their meaning. Texts are for people: they name the problem and the
remedy. The [runbook](../runbook.md) has more on what to do.

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
        "\n## Dead letters\n\nHeader `reason` of a record in the dead-letter topic; `detail` explains it.\n\n"
        f"{_words('reason', reasons())}"
        "\n## Rejected rows\n\nTicks that can be read but not used are counted by reason: in `impactd_ticks_total`,\n"
        "in the summary of `impactd replay`, and in `n_rejected` of an estimate.\n\n"
        f"{table(('reason', 'meaning'), ((code(str(reason)), MEANINGS[reason]) for reason in Reject))}"
        f"\n## Alerts\n\n`kind` of a record in the alerts topic:\n\n{_words('kind', ALERTS)}"
        "\n## Codes of the batch API\n\n`code` of an `impactd` exception; `field` names the parameter, column,\n"
        "setting or file, `what` states what is wrong with it, and `remedy` what to do.\n\n"
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
