"""Export to Parquet: a directory a table, whose files are named by the offsets that they hold.

A file takes its name when it is complete, so the names state what was exported: a run that was interrupted leaves
nothing that the next one would repeat or miss.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from impactd.core.base.extras import extra_module
from impactd.shell.export.tables import TABLES, Kind, Place, Table

_NAME: Final = re.compile(r"(?P<topic>.+)-(?P<partition>\d+)-(?P<first>\d{12,})-(?P<end>\d{12,})\.parquet")


class ParquetSink:
    """Writes Parquet files under a directory, for one process at a time.

    Parameters
    ----------
    directory : Path
        Made if it is not there.

    Raises
    ------
    MissingExtraError
        Without pyarrow.
    OSError
        If it cannot be written, or another process exports to it (`BlockingIOError`).
    """

    def __init__(self, directory: Path) -> None:
        pa = self._arrow = extra_module("pyarrow", "arrow")
        self._parquet = extra_module("pyarrow.parquet", "arrow")
        self._types: Mapping[Kind, Any] = {
            Kind.TEXT: pa.string(),
            Kind.TIME: pa.timestamp("ns", tz="UTC"),
            Kind.WHOLE: pa.int64(),
            Kind.NUMBER: pa.float64(),
            Kind.FLAG: pa.bool_(),
            Kind.JSON: pa.string(),
            Kind.TIMES: pa.list_(pa.timestamp("ns", tz="UTC")),
            Kind.NUMBERS: pa.list_(pa.float64()),
            Kind.TEXTS: pa.list_(pa.string()),
        }
        self._directory = directory
        for table in TABLES:
            (directory / table.name).mkdir(parents=True, exist_ok=True)
        # Released when the process ends, however it ends.
        self._lock: IO[bytes] = (directory / ".lock").open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise
        for left in directory.glob("*/.*.tmp"):
            left.unlink()

    def close(self) -> None:
        """Let another process export."""
        self._lock.close()

    def positions(self) -> Mapping[Place, int]:
        """Return the offset that follows what is already there."""
        found: dict[Place, int] = {}
        for table in TABLES:
            for path in (self._directory / table.name).iterdir():
                if (name := _NAME.fullmatch(path.name)) is not None:
                    place = Place(table.name, name["topic"], int(name["partition"]))
                    found[place] = max(found.get(place, 0), int(name["end"]))
        return found

    def write(self, table: Table, place: Place, first: int, end: int, rows: Sequence[Sequence[Any]]) -> None:
        """Write the rows of the offsets [first, end) as a file."""
        columns = {
            name: self._arrow.array([row[k] for row in rows], self._types[kind])
            for k, (name, kind) in enumerate(table.columns.items())
        }
        directory = self._directory / table.name
        name = f"{place.topic}-{place.partition}-{first:012d}-{end:012d}.parquet"
        made = directory / f".{name}.tmp"
        with made.open("wb") as file:
            self._parquet.write_table(self._arrow.table(columns), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        made.rename(directory / name)
        entry = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
