"""Costs after the trade as tables in files and one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd

from impactd.core.base.extras import remedy
from impactd.research.cost_analysis import MARKOUTS, PARTS, Analysis, summary
from impactd.research.currencies import stated
from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.report import page_environment
from impactd.research.response import ALL

Format = Literal["csv", "parquet"]

#: Cents below which a float still tells tenths of them apart.
_EXACT_BELOW: Final = 1e14

#: Tables of the page: what it shows of each.
_ORDERS: Final = (
    "cl_ord_id",
    "symbol",
    "side",
    "status",
    "order_qty",
    "cum_qty",
    "decision_px",
    "arrival_px",
    "avg_px",
)
_BENCHMARKS: Final = ("arrival_bps", "vwap_bps", "vwap_without_own_bps", "pwp_bps")
_FILLS: Final = (
    "exec_id",
    "cl_ord_id",
    "symbol",
    "side",
    "ts_event",
    "qty",
    "px",
    "liquidity",
    "arrival_bps",
    "modified_z",
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A table of the page."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def answer(found: Analysis) -> str:
    """Return what all orders cost, in a sentence."""
    orders = found.orders
    if orders.empty:
        return f"{_counted(len(found.fills), 'fill')}; no order has ended."
    known = orders[orders["total"].notna()]
    unknown = len(orders) - len(known)
    rest = f"; the cost of {unknown} is unknown" if unknown else ""
    assumed = int((orders["avg_px"].isna() & (orders["cum_qty"] > 0)).sum())
    if assumed:
        rest += f" ({assumed} counted as filled as scheduled: report the fills)"
    if known.empty:
        return f"{_counted(len(orders), 'order')} ended{rest}."
    return "; ".join(_cost(currency, of) for currency, of in known.groupby(stated(known), sort=True)) + f"{rest}."


def _cost(currency: object, orders: pd.DataFrame) -> str:
    """Return what the orders of one currency cost, in words."""
    total, value = orders["total"].sum(), orders["decision_value"].sum()
    share = (
        f", {1e4 * total / value:.2f} bps of {'its' if len(orders) == 1 else 'their'} value at the decision"
        if value > 0
        else ""
    )
    return f"{_counted(len(orders), 'order')} cost {total:,.2f}{f' {currency}' if currency else ''}{share}"


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def write_costs(
    found: Analysis,
    by: Sequence[str],
    out: Path,
    form: Format = "csv",
    response: pd.DataFrame | None = None,
    zone: str = "UTC",
) -> list[Path]:
    """Write fills, orders, the summary by `by`, the response to fills, and ``tca.html``; return the files.

    Hours and dates of the summary are local to `zone`.
    """
    of = found.fills if found.orders.empty else found.orders
    if stated(of).nunique() > 1 and "currency" not in by:
        by = [*by, "currency"]  # no sum is of several
    tables = {"fills": found.fills, "orders": found.orders, "summary": pd.DataFrame()}
    if len(of):
        tables["summary"] = summary(of, by, zone)
    if len(found.fills):
        keys = [key for key in by if key in {*found.fills.columns, "hour", "date"}]
        tables["fills_summary"] = summary(found.fills, keys or ["symbol"], zone)
    if response is not None:
        tables["response"] = response
    page = page_environment().get_template("tca.html.j2").render(answer=answer(found), tables=_shown(found, tables))
    paths = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            path = out / f"{name}.{form}"
            if form == "csv":
                table.to_csv(path, index=False)
            else:
                table.to_parquet(path, index=False)
            paths.append(path)
        paths.append(out / "tca.html")
        paths[-1].write_text(page, encoding="utf-8")
    except ImportError as error:
        raise ValidationError(MALFORMED, "format: parquet needs pyarrow", f"{remedy('arrow')}, or write csv") from error
    except OSError as error:
        raise ValidationError(MALFORMED, f"{out}: {error.strerror}", "name a directory that can be written") from error
    return paths


def _shown(found: Analysis, tables: dict[str, pd.DataFrame]) -> list[Shown]:
    shown = []
    if len(tables["summary"]):
        shown.append(
            _show(
                "Summary",
                "Sums in the instrument's currency, or the report's; averages weighted by value.",
                tables["summary"],
            )
        )
    if len(found.orders):
        parts = adding_up(found.orders[[*_ORDERS[:1], *PARTS, "total", "total_bps"]])
        shown.append(
            _show(
                "What each order cost",
                "In the instrument's currency, or the report's; the parts as shown sum to the total.",
                parts,
            )
        )
        prices = found.orders[[*_ORDERS, *_BENCHMARKS]]
        shown.append(_show("Orders against prices", "Basis points; positive is a loss.", prices))
    if "fills_summary" in tables:
        fills = tables["fills_summary"]
        columns = [name for name in fills if name not in {"slippage_bps", "predicted_bps"}]
        note = f"Markouts after {', '.join(map(str, MARKOUTS))} minutes and at the close: positive is the fill's way."
        shown.append(_show("Fills", note, fills[columns]))
        outliers = found.fills[found.fills["outlier"]]
        note = "Fills whose cost against arrival has a modified z-score beyond 3.5." if len(outliers) else "None."
        shown.append(_show("Outliers", note, outliers[list(_FILLS)]))
    if len(tables.get("response", ())):
        shown += [_response(str(symbol), of) for symbol, of in tables["response"].groupby("symbol", sort=False)]
    return shown


def _response(symbol: str, found: pd.DataFrame) -> Shown:
    title = "How books responded to fills" + ("" if symbol == ALL else f": {symbol}")
    text = found["text"].iloc[0]
    if text is not None:
        return Shown(title, f"Unknown: {text}.", (), ())
    note = (
        "Change since just before a fill, against the same half hours without fills, basis points of mid, with "
        "standard errors. Mid: positive where the price followed the fills. Impact: what a fixed size costs beyond "
        "the half-spread on the side that fills take; more is a thinner book. "
        f"{found['overlapping'].iloc[0]} events have another one nearby, which ends what counts of them."
    )
    return _show(title, note, found.drop(columns=["symbol", "overlapping", "text"]))


def adding_up(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose parts, rounded to cents, sum to the rounded total: each is less than a cent off.

    The cents that rounding down leaves go to the parts that lost most (largest remainders). Totals that are unknown,
    or too large for cents to be exact, leave their row as it is.
    """
    names = list(PARTS)
    cents = table[names].to_numpy(dtype=float) * 100
    exact = (np.abs(cents) < _EXACT_BELOW).all(axis=1)
    cents = cents[exact]
    whole = np.floor(cents)
    total = np.round(cents.sum(axis=1))
    # Place of each part by its remainder, the largest first.
    place = np.argsort(np.argsort(whole - cents, axis=1, kind="stable"), axis=1)
    whole += place < (total - whole.sum(axis=1))[:, None]
    table = table.astype(dict.fromkeys([*names, "total"], float))
    table.loc[exact, names] = whole / 100
    table.loc[exact, "total"] = total / 100
    return table


def _show(title: str, note: str, table: pd.DataFrame) -> Shown:
    rows = tuple(tuple(_cell(value) for value in row) for row in table.itertuples(index=False))
    return Shown(title, note, tuple(str(name).replace("_", " ") for name in table), rows)


def _cell(value: object) -> str:
    if value is None or value is pd.NaT or (isinstance(value, float) and pd.isna(value)):
        return "-"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:z,.2f}" if value != round(value) else f"{value:z,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
