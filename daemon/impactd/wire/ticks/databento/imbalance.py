"""Databento's imbalance schema: what is paired for the auction at the open (types O and M) or the close (C).

Records of other auctions, such as that of a halt, are skipped.
"""

from __future__ import annotations

from typing import Final

from impactd.wire.codec import Limits
from impactd.wire.fields import parse_number
from impactd.wire.json_instruments import parse_imbalance
from impactd.wire.rows import RowBuilder
from impactd.wire.times import parse_text_time

#: Databento's own order of columns.
IMBALANCE_HEADER: Final = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,ref_price,auction_time,cont_book_clr_price,"
    "auct_interest_clr_price,ssr_filling_price,ind_match_price,upper_collar,lower_collar,paired_qty,"
    "total_imbalance_qty,market_imbalance_qty,unpaired_qty,auction_type,side,auction_status,freeze_status,"
    "num_extensions,unpaired_side,significant_imbalance,symbol"
)
#: Columns that are read.
NEEDED: Final = ("ts_event", "auction_type", "paired_qty")
RTYPE: Final = 20
#: By Databento's auction_type; some venues call the open of their core session M.
AUCTIONS: Final = {"O": "open", "M": "open", "C": "close"}
#: An undefined quantity.
NO_QTY: Final = 2**32 - 1


def add_imbalance(
    index: int, symbol: str | None, ts_event: str, auction: str, paired: str, limits: Limits, builder: RowBuilder
) -> int:
    """Add the event of a record that is given by its texts; return 1 where it is none that is read.

    Raises
    ------
    FieldError
        If the record cannot be used.
    """
    at = parse_text_time(ts_event, "ts_event", limits.time_unit)
    kind = AUCTIONS.get(auction)
    quantity = parse_number(paired or str(NO_QTY), "paired_qty")
    event = parse_imbalance(
        {"symbol": symbol or "", "ts_event": at, "auction": kind or "close", "paired_qty": quantity}
    )
    if kind is None or quantity == NO_QTY:
        return 1
    builder.add_event(index, event)
    return 0
