"""Files of JSON: one value per line, or one array, or values over several lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import orjson

from impactd.wire.codec import FieldError
from impactd.wire.content import HEAD_BYTES, Content, Head, Line

_TOKEN: Final = re.compile(rb'["{}\[\]]')
_STRING: Final = re.compile(rb'(?:[^"\\]|\\.)*"', re.DOTALL)
_HEAD_VALUES: Final = 20


def json_records(content: Content, max_bytes: int) -> Iterator[Line]:
    """Yield the records of a file of JSON.

    These are its lines where the first is a value, and otherwise its values, or the elements of its one array, whose
    numbers are from 1 on.
    """
    return _values(content, max_bytes) if _is_spread(content.head) else content.lines(max_bytes)


def json_objects(content: Content, max_bytes: int) -> Iterator[Line]:
    """Yield the records of a file of JSON, each of them one value: as `json_records`, but an array on one line too."""
    is_array = content.head.text.lstrip()[:1] == b"["
    return _values(content, max_bytes) if is_array else json_records(content, max_bytes)


def first_values(head: Head) -> list[bytes]:
    """Return the first records of a file of JSON."""
    if not _is_spread(head):
        return head.text.split(b"\n")[:_HEAD_VALUES]
    found = (line for line in _values(Content(head.name, iter([head.data])), HEAD_BYTES) if line.fault is None)
    return [line.text for _, line in zip(range(_HEAD_VALUES), found, strict=False)]


def _is_spread(head: Head) -> bool:
    text = head.text.lstrip()
    if text[:1] not in (b"[", b"{"):
        return False
    line, end, rest = text.partition(b"\n")
    if not end:
        return len(head.data) >= HEAD_BYTES and text[:1] == b"["  # one array, longer than any line should be
    # A line that is cut off is a bad line: only one that plainly goes on is not.
    goes_on = line.rstrip().endswith((b"[", b"{", b",")) and not _is_value(line)
    return goes_on and (text[:1] == b"[" or not _is_value(rest.lstrip().partition(b"\n")[0]))


def _is_value(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _values(content: Content, max_bytes: int) -> Iterator[Line]:
    held, at, start, depth, number = b"", 0, -1, 0, 1
    is_array: bool | None = None
    for piece in content.text():
        held += piece
        while (token := _TOKEN.search(held, at)) is not None:
            mark, at = token[0], token.end()
            if mark == b'"':
                if (string := _STRING.match(held, at)) is None:
                    at = token.start()
                    break
                at = string.end()
            elif mark in b"{[":
                if depth == 0 and is_array is None and mark == b"[":
                    is_array = True
                    continue
                is_array = bool(is_array)
                start = token.start() if depth == 0 else start
                depth += 1
            elif depth:
                depth -= 1
                if depth == 0:
                    yield _line(number, held[start:at], max_bytes)
                    number, start = number + 1, -1
        else:
            at = len(held)
        begin = start if start >= 0 else at
        held, at, start = held[begin:], at - begin, (0 if start >= 0 else -1)
        if len(held) > max_bytes + HEAD_BYTES and start == 0:
            yield _line(number, held, max_bytes)
            return
    if content.damage is not None:
        yield Line(number, held[:max_bytes], content.damage)
    elif held.strip() and start == 0:
        fault = FieldError("truncated", "the file ends in the middle of a JSON value; fetch it again")
        yield Line(number, held[:max_bytes], fault)


def _line(number: int, text: bytes, max_bytes: int) -> Line:
    if len(text) > max_bytes:
        fault = FieldError("too_large", f"a value of more than {max_bytes} bytes (setting wire.max_message_bytes)")
        return Line(number, text[:max_bytes], fault)
    return Line(number, text)
