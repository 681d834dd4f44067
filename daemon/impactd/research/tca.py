"""Transaction costs by fill, order and day, from what a replay or a capture has written."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import pandas as pd

from impactd.research.errors import MALFORMED, ValidationError
from impactd.wire.codec import FieldError
from impactd.wire.framing import SCHEMAS, Schemas, is_framed

#: What names a record of each kind: the latest of a name holds.
_NAMES: Final = {
    "fill_cost": ["cl_ord_id", "exec_id"],
    "order_cost": ["cl_ord_id"],
    "day_cost": ["symbol", "side", "day"],
}

_TIMES: Final = ("as_of", "ts_event", "day")

#: What `published` and a look at its messages raise for a file that is something else, or damaged.
UNREADABLE: Final = (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError)


class Costs(NamedTuple):
    """Costs as tables, one row per fill, order, or session and side; columns as in the published messages."""

    fills: pd.DataFrame
    orders: pd.DataFrame
    days: pd.DataFrame


def read_tca(path: str | Path) -> Costs:
    """Return the latest costs of every fill, order and day.

    Parameters
    ----------
    path : str or Path
        The ``tca.jsonl`` of ``impactd replay`` or ``impactd capture --outputs``, plain or ``.gz``.

    Returns
    -------
    Costs
        Three frames; times are UTC, `day` is when the session opened.  What
        was revised is there as last published.

    Raises
    ------
    ValidationError
        1001 if the file cannot be read, or is none of costs.
    """
    path = Path(path)
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _NAMES}
    try:
        for record in published(path):
            rows[record["type"]].append(record)
    except UNREADABLE as error:
        what = f"path: {path} is not a file of costs ({error})"
        raise ValidationError(MALFORMED, what, "give the tca.jsonl of a replay or a capture") from error
    return Costs(*(_table(found, _NAMES[kind]) for kind, found in rows.items()))


def published(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the messages of a file of a replay or a capture, plain or ``.gz``.

    Records of a capture that are no message of the service are passed over.
    """
    schemas: Schemas | None = None
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for line in lines:
            record = orjson.loads(line)
            if not record.keys() & {"value", "value_base64"}:
                yield record
                continue
            # A capture has the published bytes in an envelope, and the schemas next to it.
            encoded = record.get("value_base64")
            value = (record["value"] or "").encode() if encoded is None else base64.b64decode(encoded)
            if is_framed(value):
                schemas = schemas or Schemas.of_text((path.parent / SCHEMAS).read_text("utf-8"))
                try:
                    value = schemas.as_json(value)
                except FieldError as error:
                    raise ValueError(f"{path}: {error}") from error
            with suppress(orjson.JSONDecodeError):
                message = orjson.loads(value)
                if isinstance(message, dict) and "type" in message:
                    yield message


def _table(rows: list[dict[str, Any]], names: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    if table.empty:
        return pd.DataFrame(columns=names)
    for name in _TIMES:
        if name in table:
            table[name] = pd.to_datetime(pd.to_numeric(table[name]), unit="ns", utc=True)
    return table.drop(columns="type").drop_duplicates(names, keep="last").reset_index(drop=True)
