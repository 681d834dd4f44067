"""Costs of several currencies in the one of a report."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from impactd.research.errors import MALFORMED, ValidationError

#: Stands for an instrument whose currency no definition states.
UNSTATED: Final = ""

_REMEDY: Final = 'give currency = "USD" and a table [rates] such as EUR = 1.08'


@dataclass(frozen=True, slots=True)
class Rates:
    """What one unit of each currency is worth in the report's."""

    currency: str
    #: By currency, positive; the report's own is 1.
    rates: dict[str, float] = field(default_factory=dict)


def read_rates(path: Path) -> Rates:
    """Read a report's currency and its rates from a TOML file."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        rates = {name: float(value) for name, value in found.pop("rates").items()}
        currency = found.pop("currency")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValidationError(MALFORMED, f"rates: {path}: {error!r}", _REMEDY) from error
    bad = [name for name, rate in rates.items() if not 0.0 < rate < float("inf")]
    if found or bad or not isinstance(currency, str) or rates.get(currency, 1.0) != 1.0:
        wrong = next(iter([*found, *bad, "currency"]))
        raise ValidationError(MALFORMED, f"rates: {path}: {wrong} is unknown, or has no such value", _REMEDY)
    return Rates(currency, {currency: 1.0} | rates)


def stated(table: pd.DataFrame) -> pd.Series:
    """Return the currency of each row; `UNSTATED` where the results have none."""
    if "currency" not in table:
        return pd.Series(UNSTATED, index=table.index, dtype=object)
    return table["currency"].astype(object).where(table["currency"].notna(), UNSTATED)


def multipliers(table: pd.DataFrame) -> pd.Series:
    """Return the multiplier of each row; 1 where the results have none."""
    if "multiplier" not in table:
        return pd.Series(1.0, index=table.index)
    return table["multiplier"].astype(float).fillna(1.0)


def converted(table: pd.DataFrame, money: Sequence[str], rates: Rates) -> pd.DataFrame:
    """Return a table with its columns of money in the currency of the report."""
    own = stated(table)
    missing = sorted(set(own) - set(rates.rates))
    if missing:
        symbol = table["symbol"][own == missing[0]].iloc[0]
        what = f"no rate for {missing[0]}, the currency of {symbol}" if missing[0] else f"{symbol} has no currency"
        remedy = "add it to [rates], or state the currency in the instrument's definition"
        raise ValidationError(MALFORMED, f"rates: {what}", remedy)
    rate = own.map(rates.rates).astype(float)
    changed = {name: table[name].astype(float) * rate for name in money if name in table}
    return table.assign(**changed, currency=rates.currency)
