"""Columns of Databento CSV files: which column plays which role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from impactd.core.inputs.ticks import Int
from impactd.wire.tick_codec import HeaderError
from impactd.wire.ticks.csv import split_header, split_line
from impactd.wire.ticks.databento import kernel as k

_ROLES: Final = {
    "ts_event": k.TS_EVENT,
    "ts_recv": k.TS_RECV,
    "action": k.ACTION,
    "side": k.SIDE,
    "price": k.PRICE,
    "size": k.SIZE,
    "flags": k.FLAGS,
    "symbol": k.SYMBOL,
}
_NEEDED: Final = ("ts_event", "action", "side", "price", "size", "flags")
_PLANES: Final = ("bid_px", "bid_sz", "ask_px", "ask_sz")

#: Databento's own order of columns.
MBP10_HEADER: Final = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence,"
    + "".join(
        f"{name}_{i:02}," for i in range(10) for name in ("bid_px", "ask_px", "bid_sz", "ask_sz", "bid_ct", "ask_ct")
    )
    + "symbol"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Roles of the columns of an MBP-10 file.

    Attributes
    ----------
    roles : ndarray of int64, shape (n_columns,)
        See `impactd.wire.ticks.databento.kernel`.
    names : mapping of int to str
        The column's name by its role.
    """

    roles: Int
    names: Mapping[int, str]
    n_levels: int
    has_symbol: bool

    def split(self, line: bytes) -> dict[int, str]:
        """Return the fields that have a role."""
        fields = split_line(line, len(self.roles))
        return {int(role): text for role, text in zip(self.roles, fields, strict=True) if role != k.SKIP}


def databento_columns(header: str | None) -> Columns:
    """Return the roles of the columns that `header` names; None is Databento's own header.

    Raises
    ------
    HeaderError
        If columns that are needed are missing.
    """
    names = split_header(header if header is not None else MBP10_HEADER)
    if "ts_recv" not in names and names.count("ts_event") == 2:
        # Databento's order is ts_recv, ts_event: somebody renamed the first.
        names[names.index("ts_event")] = "ts_recv"
    n_levels = 0
    while all(f"{plane}_{n_levels:02}" in names for plane in _PLANES):
        n_levels += 1
    missing = [name for name in _NEEDED if name not in names]
    missing += [f"{plane}_00" for plane in _PLANES if f"{plane}_00" not in names]
    if missing:
        raise HeaderError(f"no column {', '.join(missing)} in the header; MBP-10 has them: export it with its header")
    role_of = dict(_ROLES)
    for i in range(n_levels):
        for plane, name in enumerate(_PLANES):
            role_of[f"{name}_{i:02}"] = k.LEVEL + 4 * i + plane
    roles = np.array([role_of.get(name, k.SKIP) for name in names], np.int64)
    used = roles[roles != k.SKIP]
    if len(np.unique(used)) != len(used):
        twice = sorted({name for name in names if name in role_of and names.count(name) > 1})
        raise HeaderError(f"column {', '.join(twice)} stands in the header twice; leave one")
    return Columns(roles, {role: name for name, role in role_of.items()}, n_levels, "symbol" in names)
