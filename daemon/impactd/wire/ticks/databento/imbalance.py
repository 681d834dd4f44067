"""Databento's imbalance schema: what is paired for the auction at the open (types O and M) or the close (C).

Records of other auctions, such as that of a halt, are skipped.
"""

from __future__ import annotations

from typing import Final

from impactd.core.inputs.events import Imbalance
from impactd.wire.fields import parse_number
from impactd.wire.json_instruments import parse_imbalance

#: Databento's own order of columns.
IMBALANCE_HEADER: Final = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,ref_price,auction_time,cont_book_clr_price,"
    "auct_interest_clr_price,ssr_filling_price,ind_match_price,upper_collar,lower_collar,paired_qty,"
    "total_imbalance_qty,market_imbalance_qty,unpaired_qty,auction_type,side,auction_status,freeze_status,"
    "num_extensions,unpaired_side,significant_imbalance,symbol"
)
IMBALANCE: Final = 20
#: By Databento's auction_type; some venues call the open of their core session M.
AUCTIONS: Final = {"O": "open", "M": "open", "C": "close"}
#: An undefined quantity.
NO_QTY: Final = 2**32 - 1


def imbalance_in(symbol: str, ts_event: int, auction: str, paired: str) -> Imbalance | None:
    """Return what a record's texts state; None where it is of another auction, or states no quantity."""
    kind = AUCTIONS.get(auction)
    quantity = parse_number(paired or str(NO_QTY), "paired_qty")
    found = parse_imbalance(
        {"symbol": symbol, "ts_event": ts_event, "auction": kind or "close", "paired_qty": quantity}
    )
    return None if kind is None or quantity == NO_QTY else found
