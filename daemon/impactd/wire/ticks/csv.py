"""CSV files: headers, lines, and code shared by all CSV codecs.

A file's last line may have no line end.  It is whole if it has all columns, unless the last column is empty or a name
and holds no more than the beginning of what the line before it has there.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import ClassVar, Final

from impactd.wire.codec import FieldError
from impactd.wire.content import Content, Line
from impactd.wire.tick_codec import TickCodec
from impactd.wire.ticks.one_book import OneBook

#: What tables write where there is no value, in lower case.
_ABSENT: Final = frozenset({"", "nan", "null", "none", "na", "n/a", "<na>", "\\n", "-"})
_WITH_POINT: Final = re.compile(r"-?\d+\.\d+", re.ASCII)
_NAME: Final = re.compile(rb'"?[^\W\d]', re.ASCII)
_WITH_COMMA: Final = re.compile(r"-?\d+,\d+", re.ASCII)


class CsvCodec(TickCodec):
    """A codec whose files begin with a header line."""

    #: What tells whether a symbol's rows are of one book; None where they need not be.
    one_book: OneBook | None = None
    #: Whether lines are read with commas between their columns, whatever a file has there.
    takes_commas: ClassVar[bool] = False

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the lines behind the header."""
        mark = delimiter_of(content.head.line)
        whole = _whole(content, self.limits.max_message_bytes, mark.encode())
        if self.takes_commas and mark != ",":
            whole = (line._replace(text=with_commas(line.text, mark)) for line in whole)
        return whole if self.one_book is None else self.one_book.follow(whole)


def _whole(content: Content, max_bytes: int, mark: bytes) -> Iterator[Line]:
    """Yield the lines behind the header, the last one with a fault if the name in its last column is cut."""
    lines = content.lines(max_bytes)
    next(lines, None)
    before = b""
    for line in lines:
        if line.is_last_open and line.fault is None and _is_cut(line.text, before, content.head.text, mark):
            yield line._replace(fault=FieldError("truncated", "the file ends in the middle of a line; fetch it again"))
        else:
            yield line
        before = line.text


def _is_cut(last: bytes, before: bytes, head: bytes, mark: bytes) -> bool:
    whole = head.splitlines()[:-1]  # the last one is cut by the head's end, or `last` itself
    name, other, *known = (line.rpartition(mark)[2].strip() for line in (last, before, *whole))
    return name not in known and other.startswith(name) and (not name or _NAME.match(other) is not None)


def joined_lines(lines: list[Line]) -> Line:
    """Return lines that are one record as one, with the number of the first and the first fault."""
    fault = next((line.fault for line in lines if line.fault is not None), None)
    return Line(lines[0].number, b"\n".join(line.text for line in lines), fault)


def delimiter_of(header: str) -> str:
    """Return what separates the columns: a tab, a semicolon or a bar where there is no comma."""
    return next((mark for mark in "\t;|" if mark in header and "," not in header), ",")


def with_commas(line: bytes, delimiter: str) -> bytes:
    """Return a line with commas between its columns.

    Where semicolons separate the columns, a comma is a decimal one, except beside a decimal point: then it may separate
    thousands, and stays, so that the line has too many columns and is refused.
    """
    if delimiter == ";" and b"," in line and not _has_points(line.decode("latin-1").split(delimiter)):
        line = line.replace(b",", b".")
    return line.replace(delimiter.encode(), b",")


def decimal_comma(fields: list[str], delimiter: str) -> list[str]:
    """Return the fields of a line with decimal points.

    Where semicolons separate the columns, a comma in a number is a decimal one, unless a number of the line has a
    point: then the comma separates thousands, and stays as it is, to be refused.
    """
    if delimiter != ";" or not any("," in field for field in fields) or _has_points(fields):
        return fields
    return [field.replace(",", ".") if _WITH_COMMA.fullmatch(field) else field for field in fields]


def _has_points(fields: list[str]) -> bool:
    """Return whether a number among fields has a decimal point."""
    return any(_WITH_POINT.fullmatch(field.strip(' "')) for field in fields)


def is_absent(text: str) -> bool:
    """Return whether a field says that there is no value."""
    return text.lower() in _ABSENT


def split_header(line: str) -> list[str]:
    """Return the names of the columns, without quotes and blanks."""
    return [name.strip() for name in next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter_of(line)), [])]


def split_line(line: bytes, n_columns: int, delimiter: str = ",") -> list[str]:
    """Return the fields of a line.

    Raises
    ------
    FieldError
        ``encoding``, ``truncated`` or ``value``.
    """
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise FieldError("encoding", "the line is not UTF-8; send UTF-8") from None
    try:
        fields = (
            next(csv.reader([text], delimiter=delimiter, strict=True), []) if '"' in text else text.split(delimiter)
        )
    except csv.Error as error:
        raise FieldError("value", f"not a line of CSV: {error}; close the quotes") from None
    if len(fields) < n_columns:
        raise FieldError("truncated", f"{len(fields)} columns where the header has {n_columns}; send all of them")
    if len(fields) > n_columns:
        raise FieldError(
            "value", f"{len(fields)} columns where the header has {n_columns}; quote what holds {delimiter!r}"
        )
    return fields
