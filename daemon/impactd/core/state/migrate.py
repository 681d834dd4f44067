"""An older state becomes one of this release, key by key.

`MIGRATIONS` has one entry a schema version: a pure function from the keys and
values of that version to those of the next.  A state is carried through as
many as it takes; a version that this release does not know is refused.

A release that changes a value's form raises `SCHEMA_VERSION`, adds the entry
that leads there, and keeps a genuine state of the version before among the
tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import SIDES
from impactd.core.books.store import from_layout_1
from impactd.core.orders.costs import Costs
from impactd.core.state.schema import META, SCHEMA_VERSION, SETTINGS, StateMismatchError, hash_of
from impactd.core.state.settings_change import plain

Items = Mapping[str, bytes]

#: Settings that releases of schema 1 knew, by section: their hash is of these alone.
_SETTINGS_1: Final[Mapping[str, frozenset[str]]] = {
    "books": frozenset(
        {
            "allow_locked",
            "grace_ns",
            "interval_ns",
            "max_book_age_ns",
            "max_clock_skew_ns",
            "max_levels",
            "max_silence_ns",
            "min_coverage",
            "n_sizes",
            "sizes",
        }
    ),
    "model": frozenset(
        {
            "deltas",
            "gain",
            "huber",
            "intercept",
            "kind",
            "mean_half_life_minutes",
            "prior_profile",
            "reversion_half_life_minutes",
        }
    ),
    "plans": frozenset(
        {
            "child_slices",
            "fills",
            "hold_ns",
            "keep_ended_ns",
            "max_held",
            "max_horizon_intervals",
            "max_orders",
            "missing_ticks_ns",
            "replan_threshold_bps",
            "solvers",
        }
    ),
    "session": frozenset({"close_s", "offsets", "open_s"}),
    "": frozenset({"apply", "max_symbols"}),
}


def _with_settings(items: Items) -> Items:
    """Return schema 1 as 2: the state says under which settings it was made, which an old one does not know."""
    return {**items, SETTINGS: b"null"}


#: What a series of schema 3 has beside that of 2: no swing, and the belief in books that a new one begins with.
_SERIES_3: Final = (0.0, 0.3 * 5.0 * 0.3 * 0.3, 5.0 * 0.3 * 0.3, 0.0, 0.0)


def _with_beliefs(items: Items) -> Items:
    """Return schema 2 as 3: a series knows how far its level swings, and what standing books have been worth."""
    return _changed(items, {"market": _market_3})


def _market_3(value: bytes) -> bytes:
    market: dict[str, Any] = orjson.loads(value)
    for side in market["sides"].values():
        side["made"][0] = 2
        for series in ("spread", "excess"):
            side[series] = [[*row, *_SERIES_3] for row in side[series]]
    return orjson.dumps(market)


#: Terms that an order of schema 3 does not know.
_TERMS_4: Final[dict[str, Any]] = {"min_clip_qty": None, "must_complete": False}

#: What an order of schema 4 has beside that of 3: nothing is known of what its fills have cost or displaced.
_ORDER_4: Final[dict[str, Any]] = {
    "arrival_px": None,
    "end_px": None,
    "vwap_turnover": 0.0,
    "vwap_volume": 0.0,
    "costs": Costs().save(),
    "closed": None,
    **_TERMS_4,
    "displacement": 0.0,
    "displaced_at": 0,
    "depth_root": 0.0,
}


def _with_costs(items: Items) -> Items:
    """Return schema 3 as 4.

    A side has bands of plan cost, a guard and a bias of fills, and its series speeds of their own; a tape knows
    turnover, and an order what its fills have cost, whether it has a smallest clip or must complete, and
    what its fills still displace.
    """
    return _changed(items, {"market": _market_4, "tape": from_layout_1, "order": _order_4})


def _order_4(value: bytes) -> bytes:
    order: dict[str, Any] = orjson.loads(value)
    n_executions = order.pop("n_executions")
    order["new"] |= _TERMS_4
    order["schedule"]["gap"] = 0.0
    return orjson.dumps(order | _ORDER_4 | {"n_executions": n_executions})


def _market_4(value: bytes) -> bytes:
    market: dict[str, Any] = orjson.loads(value)
    for side in market["sides"].values():
        side["made"][0] = 3
        side["days"] = None
        for series in ("spread", "excess"):
            # The swing meant another thing; speeds and changes of regime were not looked for.
            side[series] = [[*row[:6], 0.0, *row[7:], *([0.0] * 10)] for row in side[series]]
    none = {str(side): None for side in SIDES}
    return orjson.dumps(market | {"bands": none, "bias": [1.0 for _ in SIDES], "guards": none})


def _changed(items: Items, forms: Mapping[str, Callable[[bytes], bytes]]) -> Items:
    """Return the state with the values of those kinds of keys in their new form."""
    return {
        key: forms[kind](value) if (kind := key.partition("/")[0]) in forms else value for key, value in items.items()
    }


#: From which schema, and how to the next.
MIGRATIONS: Final[Mapping[int, Callable[[Items], Items]]] = {
    1: _with_settings,
    2: _with_beliefs,
    3: _with_costs,
}


def settings_of_schema_1(config: str, settings: CoreSettings) -> Mapping[str, Any] | None:
    """Return the settings that a state of schema 1 was made under, if they are these; None if they are not.

    Parameters
    ----------
    config : str
        Their hash, which is all that such a state knows of them.
    settings : CoreSettings
        Those at hand, which may have fields that schema 1 did not know.
    """
    known: dict[str, Any] = {}
    for name, value in plain(settings).items():
        if isinstance(value, dict):
            fields = {field: item for field, item in value.items() if field in _SETTINGS_1.get(name, ())}
            known |= {name: fields} if fields else {}
        elif name in _SETTINGS_1[""]:
            known[name] = value
    return known if hash_of(known) == config else None


def migrated(items: Items, release: str) -> Items:
    """Return a whole state in this release's schema; one that has it already is returned as it is.

    Parameters
    ----------
    items : mapping of str to bytes
        With the key ``meta``.
    release : str
        Name of this release.

    Raises
    ------
    StateMismatchError
        If the schema is newer than this release, or older than all that it can migrate.
    """
    meta: dict[str, Any] = orjson.loads(items[META])
    schema = meta["schema"]
    if schema == SCHEMA_VERSION:
        return items
    if schema not in MIGRATIONS:
        oldest = min(MIGRATIONS)
        raise StateMismatchError(
            f"the state has schema {schema}, this release ({release}) reads {oldest} to {SCHEMA_VERSION}: "
            f"run the release that wrote it ({meta['release']}) or a later one, or begin again in a new environment"
        )
    while schema < SCHEMA_VERSION:
        items = MIGRATIONS[schema](items)
        schema += 1
    return {**items, META: orjson.dumps(meta | {"schema": SCHEMA_VERSION})}
