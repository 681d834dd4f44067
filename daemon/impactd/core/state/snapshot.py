"""The whole state of a partition in its journal, so that a derivation need not begin at the genesis.

A snapshot follows the journal record of its commit, in the same
transaction, and holds what the state topic holds after that commit.  It is
cut into records of `CHUNK_BYTES` of state each, so that none comes near the
largest message, however large the state is::

    {"type":"snapshot","partition":0,"commit_seq":97,"config":"...","release":"...",
     "part":0,"parts":2,"sha256":"...","partitions":4,"settings":{...},"data":"<Base64>"}

`data` of all parts, put together, is a sequence of (length of key, length of
value, key, value); `sha256` is of that whole.  The first part also names the
settings in full and the number of partitions: with these a journal whose
earlier records are gone can still be followed.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

#: Bytes of state in a record: a third more in Base64, and with the settings still below 256 kB.
CHUNK_BYTES: Final = 180_000

_LENGTHS: Final = struct.Struct("<II")


class SnapshotError(ValueError):
    """Journal records that are not one whole snapshot."""


def is_due(every_ns: int, before_ns: int, after_ns: int) -> bool:
    """Return whether event time passes a multiple of `every_ns` between two times (ns).

    Never where `every_ns` is 0, nor at a state's first event, when there is
    nothing yet to be spared.
    """
    return every_ns > 0 and before_ns > 0 and before_ns // every_ns != after_ns // every_ns


def snapshot_records(
    head: Mapping[str, object], terms: Mapping[str, object], items: Mapping[str, bytes]
) -> tuple[Mapping[str, object], ...]:
    """Return the journal records of a snapshot.

    Parameters
    ----------
    head : mapping
        What every journal record says: its type, partition, commit, settings' hash and release.
    terms : mapping
        Settings and number of partitions, for the first part.
    """
    whole = b"".join(_framed(key.encode(), items[key]) for key in sorted(items))
    chunks = [whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES)] or [b""]
    digest = hashlib.sha256(whole).hexdigest()
    return tuple(
        {
            **head,
            "part": part,
            "parts": len(chunks),
            "sha256": digest,
            **(terms if part == 0 else {}),
            "data": base64.b64encode(chunk).decode("ascii"),
        }
        for part, chunk in enumerate(chunks)
    )


def snapshot_items(records: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return the state by key that the records of one snapshot hold.

    Raises
    ------
    SnapshotError
        If parts are missing or doubled, or their bytes are not those that were written.
    """
    parts = [record["part"] for record in records]
    if not records or parts != list(range(records[0]["parts"])):
        raise SnapshotError(f"a snapshot has the parts {parts}, not all of its own in their order")
    try:
        whole = b"".join(base64.b64decode(record["data"], validate=True) for record in records)
    except ValueError as error:
        raise SnapshotError(f"a snapshot's data is not Base64: {error}") from error
    if hashlib.sha256(whole).hexdigest() != records[0]["sha256"]:
        raise SnapshotError("a snapshot's bytes do not match its sha256")
    items, at = {}, 0
    while at < len(whole):
        n_key, n_value = _LENGTHS.unpack_from(whole, at)
        at += _LENGTHS.size
        items[whole[at : at + n_key].decode()] = whole[at + n_key : at + n_key + n_value]
        at += n_key + n_value
    return items


def _framed(key: bytes, value: bytes) -> bytes:
    return b"".join((_LENGTHS.pack(len(key), len(value)), key, value))
