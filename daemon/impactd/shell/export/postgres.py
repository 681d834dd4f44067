"""Export to PostgreSQL: rows and the offset that follows them in one transaction.

The tables are made where they are missing, in a schema of their own. Times are ``bigint``, ns since the epoch, UTC:
a ``timestamptz`` holds no nanoseconds (``to_timestamp(ts_event / 1e9)`` gives one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from impactd.core.base.extras import extra_module
from impactd.shell.export.tables import TABLES, Kind, Place, Table

_SCHEMA: Final = "impactd"

_TYPES: Final[Mapping[Kind, str]] = {
    Kind.TEXT: "text",
    Kind.TIME: "bigint",
    Kind.WHOLE: "bigint",
    Kind.NUMBER: "double precision",
    Kind.FLAG: "boolean",
    Kind.JSON: "jsonb",
    Kind.TIMES: "bigint[]",
    Kind.NUMBERS: "double precision[]",
    Kind.TEXTS: "text[]",
}


class PositionTakenError(Exception):
    """Another process has exported the same records; nothing was written twice."""


class PostgresSink:
    """Writes to tables of the schema ``impactd``.

    Parameters
    ----------
    address : str
        As libpq takes it: ``postgresql://user@host/database``; the password also from PGPASSWORD or .pgpass.

    Raises
    ------
    MissingExtraError
        Without psycopg.
    psycopg.Error
        If the server cannot be reached, or refuses.
    """

    def __init__(self, address: str) -> None:
        psycopg = extra_module("psycopg", "postgres")
        # Without it a database of SQL_ASCII gives bytes.
        self._connection: Any = psycopg.connect(address, client_encoding="utf8")
        with self._connection.transaction(), self._connection.cursor() as cursor:
            # Two first runs at once must not both make the tables.
            cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (_SCHEMA,))
            cursor.execute(f"create schema if not exists {_SCHEMA}")
            cursor.execute(
                f"create table if not exists {_SCHEMA}.positions (table_name text, topic text, partition bigint, "
                "next_offset bigint not null, primary key (table_name, topic, partition))"
            )
            for table in TABLES:
                columns = ", ".join(f'"{name}" {_TYPES[kind]}' for name, kind in table.columns.items())
                cursor.execute(
                    f"create table if not exists {_SCHEMA}.{table.name} "
                    f'(topic text, {columns}, primary key (topic, "partition", "offset"))'
                )
                for name, kind in table.columns.items():
                    # A later release has further fields.
                    cursor.execute(
                        f'alter table {_SCHEMA}.{table.name} add column if not exists "{name}" {_TYPES[kind]}'
                    )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def positions(self) -> Mapping[Place, int]:
        """Return the offset that follows what is already there."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(f"select table_name, topic, partition, next_offset from {_SCHEMA}.positions")  # noqa: S608
            return {Place(table, topic, partition): end for table, topic, partition, end in cursor.fetchall()}

    def write(self, table: Table, place: Place, first: int, end: int, rows: Sequence[Sequence[Any]]) -> None:
        """Write the rows of the offsets [first, end), and the position, in one transaction.

        Raises
        ------
        PositionTakenError
            If the position is not `first` any more.
        """
        names = ", ".join(f'"{name}"' for name in ("topic", *table.columns))
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                f"insert into {_SCHEMA}.positions values (%s, %s, %s, %s) on conflict (table_name, topic, partition) "  # noqa: S608
                f"do update set next_offset = excluded.next_offset where {_SCHEMA}.positions.next_offset <= %s",
                (*place, end, first),
            )
            if cursor.rowcount != 1:
                raise PositionTakenError(f"{table.name} of {place.topic}/{place.partition} from offset {first}")
            with cursor.copy(f"copy {_SCHEMA}.{table.name} ({names}) from stdin") as copy:
                for row in rows:
                    copy.write_row((place.topic, *map(_stored, row)))


def _stored(value: Any) -> Any:
    """Return a value as the server can hold it: its text has no NUL."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
