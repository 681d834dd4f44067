"""The page on FIX tags."""

from __future__ import annotations

from typing import Final

from impactd.shell.fix.tags import LEAST_COST, ORDER_TAGS, PARTICIPATE, places

_HEAD: Final = """\
# FIX tags

What `impactd fix` reads; see [how to connect](../howto/connect-fix.md). The ticket for order entry systems is
`deploy/fix/impactd.atdl.xml` (FIXatdl 1.1).

## Orders: NewOrderSingle (D), OrderCancelReplaceRequest (G)

| tag | name | meaning |
|---|---|---|
"""

_TERMS: Final = """
Every other tag is refused by name, except those of the session layer and those that `fix.informational_tags` lists.
A value that is read is printable ASCII of at most 1,024 characters; any other is refused by its tag. A request that
is sent again in doubt (97=Y) is taken once, and answered by the order's status.

## Terms

A term is read from one place: its standard tag, or the strategy parameter (957-960) of its name. Times are
UTCTimestamps, shares are numbers such as 0.1 for 10 %, flags are Y or N, windows are START/END pairs and venues
names, with commas between.

| term | tag | unit | meaning |
|---|---|---|---|
"""

_TAIL: Final = f"""
Under TargetStrategy {PARTICIPATE}, tag 849 is `target_participation_rate`, and `participation_rate` is a strategy
parameter.

## Other messages in

| message | tags |
|---|---|
| OrderCancelRequest (F) | 11, 41, 55; 54, 38, 37, 60 and 1 may be there |
| OrderStatusRequest (H) | 11 (any id of the chain) or 37; 55, 54, 790 |
| ExecutionReport (8) | 150 F (trade), G (correct) or H (cancel), others are passed over; 17, 19, 55, 31, 32, 60, 851 |

An ExecutionReport names the parent order in tag 11, or in the tag that `fix.parent_tag` names; 19 is needed by G and H.

## Messages out

| message | when |
|---|---|
| ExecutionReport 150=A | a new order is taken, and sent to the service |
| 150=0 | the service works it |
| 150=8 | it is rejected; 58 states the field and the remedy |
| 150=E, 150=6 | a replace or cancel is taken |
| 150=5, 150=4 | it is replaced; it is canceled, by a request or otherwise |
| 150=F | a part of it is filled: 32 and 31 are what was filled since the last report, and its average price |
| 150=9, 150=D | it is halted, with the reason in 58; it works again, or fills were corrected or busted |
| 150=C | its window ended with a part not traded |
| 150=I | the answer to a status request; also that it is filled (39=2), where trades are not reported |
| OrderCancelReject (9) | a replace or cancel is refused; 102: 0 late, 1 unknown, 2 refused, 3 pending, 6 used id |
| BusinessMessageReject (j) | an execution that cannot be used, or a message that is not supported |

Every report has OrderQty (38) = CumQty (14) + LeavesQty (151); once the order is canceled, expired or rejected,
LeavesQty is 0. CumQty is what the service has counted, and AvgPx (6) the average price of the reported fills: 0 where
there is none. In FIX 4.4 and later only a trade (150=F) moves CumQty, so the fills that come in go back to the order's
sender, those since its last report as one trade. They are not trades of their own: where the system that traded reports
them to the same books, set `fix.trade_reports` to false. What is busted or corrected restates the order (150=D). With
`plans.fills` = "scheduled" CumQty has what counts as executed without a fill too, and no trade is reported.
"""


def page() -> str:
    """Return the page."""
    tags = "".join(f"| {tag} | {name} | {meaning} |\n" for tag, (name, meaning) in ORDER_TAGS.items())
    terms = "".join(
        f"| `{place.term}` | {place.tag or 'parameter'} | {place.unit.value} | {place.meaning} |\n"
        for place in places(LEAST_COST)
    )
    return _HEAD + tags + _TERMS + terms + _TAIL
