"""Topics by their role, and the two sides of an order."""

from __future__ import annotations

from enum import StrEnum


class Topic(StrEnum):
    """The topics by their role; the names on a broker are settings."""

    TICKS = "ticks"
    ORDERS = "orders"
    EXECUTIONS = "executions"
    CONTROL = "control"
    INSTRUMENTS = "instruments"
    STATUS = "status"
    ESTIMATES = "estimates"
    MODELS = "models"
    PLANS = "plans"
    PLANS_LATEST = "plans.latest"
    SLICES = "slices"
    ALERTS = "alerts"
    TCA = "tca"
    DLQ = "dlq"
    JOURNAL = "journal"
    STATE = "state"


#: Rank of the input topics in the merge of one commit (design: control first, ticks last).
INPUT_TOPICS = (Topic.CONTROL, Topic.INSTRUMENTS, Topic.STATUS, Topic.ORDERS, Topic.EXECUTIONS, Topic.TICKS)


class Side(StrEnum):
    """Side of an order; a buy walks the asks."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 to buy, -1 to sell: a positive cost is money lost by us."""
        return 1 if self is Side.BUY else -1


SIDES = (Side.BUY, Side.SELL)
