"""Mutations of messages: of bytes, of tokens, and of JSON as a tree.

One mutant is one to three mutations of a message that was good. Everything is drawn from one generator, so that a seed
names a run.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

#: Numbers at and beyond every limit that a field has, and what is no number at all.
NUMBERS: Final = (
    b"0",
    b"-0",
    b"-0.0",
    b"1",
    b"-1",
    b"0.5",
    b"1e-9",
    b"1e-10",
    b"5e-324",
    b"1e308",
    b"1e309",
    b"-1e309",
    b"1e400",
    b"4294967295",
    b"9999999998",
    b"9999999999",
    b"9000000000",
    b"9000000001",
    b"9223372036.854775807",
    b"4611686018427387904",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1" * 400,
    b"0." + b"3" * 400,
    b"1" + b"0" * 30 + b".5",
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"1e",
    b"0x10",
    b"1_000",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"nan",
    b"null",
    b"true",
    b"false",
    b"[]",
    b"{}",
    b'""',
    b'"1"',
    b'"1e5"',
    b'"9e999999999"',
    b'" 1"',
)

#: Strings that a reader may stumble over: escapes, lone surrogates, NUL, controls, invalid UTF-8, much of anything.
STRINGS: Final = (
    b"",
    b"\\u0000",
    b"\\ud800",
    b"\\udfff\\ud800",
    b"\\ud83d\\ude00",
    b"\\n",
    b"\\",
    b"\\x41",
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    "\u202eMUT".encode(),
    "\ufb00\u0301".encode(),
    "\U0001d4b3".encode() * 40,
    b"M" * 32,
    b"M" * 33,
    b"M" * 64,
    b"M" * 65,
    b"M" * 5_000,
    b"book",
    b"trade",
    b"new",
    b"replace",
    b"cancel",
    b"fill",
    b"correct",
    b"bust",
    b"halt",
    b"resume",
    b"buy",
    b"sell",
    b"hold",
    b"taker",
    b"../../etc/passwd",
    b"%s%n",
    b"{0}",
    b"$(id)",
    b"order/M1",
    b"2025-04-03T13:30:00.000000001Z",
    b"9999-12-31T23:59:59Z",
    b"bid",
    b"ask",
)

_NUMBER: Final = re.compile(rb"-?[0-9][0-9.eE+-]*")
_STRING: Final = re.compile(rb'"[^"]*"')
_FIELD: Final = re.compile(rb"[^,\n]*")

#: A mutant may grow beyond the limit of a message, which is below this, but not without end.
LARGEST: Final = 300_000

Mutation = Callable[[random.Random, bytes], bytes]


def _place(rng: random.Random, value: bytes) -> int:
    return rng.randrange(len(value) + 1)


def flip_bits(rng: random.Random, value: bytes) -> bytes:
    out = bytearray(value)
    for _ in range(rng.choice((1, 1, 1, 2, 8)) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def truncate(rng: random.Random, value: bytes) -> bytes:
    return value[: _place(rng, value)]


def cut_out(rng: random.Random, value: bytes) -> bytes:
    at = _place(rng, value)
    return value[:at] + value[at + rng.choice((1, 2, 5, 40)) :]


def repeat_part(rng: random.Random, value: bytes) -> bytes:
    at = _place(rng, value)
    end = min(len(value), at + rng.choice((1, 5, 40, 400)))
    return value[:end] + value[at:end] * rng.choice((1, 1, 3, 50)) + value[end:]


def insert(rng: random.Random, value: bytes) -> bytes:
    at = _place(rng, value)
    return value[:at] + rng.choice((*STRINGS, *NUMBERS, rng.randbytes(4), b",", b'"', b"[", b"}", b"\n")) + value[at:]


def _swap(rng: random.Random, value: bytes, pattern: re.Pattern[bytes], words: Sequence[bytes]) -> bytes:
    found = list(pattern.finditer(value))
    if not found:
        return value
    where = rng.choice(found)
    word = rng.choice(found)[0] if rng.random() < 0.3 else rng.choice(words)
    return value[: where.start()] + word + value[where.end() :]


def swap_number(rng: random.Random, value: bytes) -> bytes:
    return _swap(rng, value, _NUMBER, NUMBERS)


def nudge_number(rng: random.Random, value: bytes) -> bytes:
    """Move an integer by a little or by a unit of time: what stays valid reaches deepest."""
    found = [item for item in _NUMBER.finditer(value) if item[0].isdigit() and len(item[0]) < 25]
    if not found:
        return value
    where = rng.choice(found)
    steps = (1, -1, 10, 1_000_000_000, -1_000_000_000, 60_000_000_000, -60_000_000_000, 86_400_000_000_000)
    return value[: where.start()] + b"%d" % (int(where[0]) + rng.choice(steps)) + value[where.end() :]


def swap_string(rng: random.Random, value: bytes) -> bytes:
    return _swap(rng, value, _STRING, [b'"%s"' % word for word in STRINGS])


def swap_field(rng: random.Random, value: bytes) -> bytes:
    return _swap(rng, value, _FIELD, (*STRINGS, *NUMBERS))


def shuffle_fields(rng: random.Random, value: bytes) -> bytes:
    fields = value.split(b",")
    i, j = rng.randrange(len(fields)), rng.randrange(len(fields))
    match rng.randrange(4):
        case 0:
            fields[i], fields[j] = fields[j], fields[i]
        case 1:
            del fields[i]
        case 2:
            fields.insert(i, fields[j])
        case _:
            fields[i] = b'"' + fields[i] + rng.choice((b"", b'"', b'""'))
    return b",".join(fields)


def shuffle_lines(rng: random.Random, value: bytes) -> bytes:
    lines = value.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines[i], lines[j] = lines[j], lines[i]
        case 1:
            del lines[i]
        case 2:
            lines[i:i] = [lines[j]] * rng.choice((1, 2, 200))
        case _:
            lines[i] += rng.choice((b"\r", b"\x00", b" ", b"\xff"))
    return b"\n".join(lines)


def nest(rng: random.Random, value: bytes) -> bytes:
    """Wrap the message, or a value in it, in brackets: a few, or more than any stack holds."""
    depth = rng.choice((1, 2, 30, 130, 1_100, 20_000))
    left, right = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"bids":[', b"]}")))
    found = list(_NUMBER.finditer(value))
    if found and rng.random() < 0.5:
        where = rng.choice(found)
        start, end = where.span()
    else:
        start, end = 0, len(value)
    closed = right * depth if rng.random() < 0.7 else b""
    return value[:start] + left * depth + value[start:end] + closed + value[end:]


def twice_a_key(rng: random.Random, value: bytes) -> bytes:
    """Name a key of an object once more, with another value."""
    keys = re.findall(rb'"[a-z_]+"(?=:)', value)
    at = value.find(b"{") + 1
    if not keys or not at:
        return value
    again = rng.choice(keys) + b":" + rng.choice((*NUMBERS, b'"MUT"', b'"sell"', b"[[1,1]]")) + b","
    if rng.random() < 0.5:
        return value[:at] + again + value[at:]
    end = value.rfind(b"}")
    return value[:end] + b"," + again[:-1] + value[end:]


def batch(rng: random.Random, value: bytes) -> bytes:
    """Make an array of many copies, of which the last may be broken."""
    n = min(rng.choice((0, 1, 2, 5, 20, 20, 600)), LARGEST // (len(value) + 1))
    return b"[" + b",".join([value] * n + ([flip_bits(rng, value)] if rng.random() < 0.5 else [])) + b"]"


def pad(rng: random.Random, value: bytes) -> bytes:
    """Blow the message up around its limits: unknown fields, blanks, or nothing but bytes."""
    n = rng.choice((100, 100, 1_000, 10_000, LARGEST))
    match rng.randrange(3):
        case 0:
            end = value.rfind(b"}")
            return value[:end] + b',"note":"' + b"x" * n + b'"' + value[end:]
        case 1:
            return value + b" " * n
        case _:
            return rng.randbytes(min(n, 5_000))


def _paths(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [above] if above else []
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in items:
        found += _paths(inner, (*above, key))
    return found


def change_tree(rng: random.Random, value: bytes) -> bytes:
    """Change one node of the document: another type, another node's value, gone, or repeated very often."""
    try:
        tree = json.loads(value)
    except (ValueError, RecursionError):
        return flip_bits(rng, value)
    if not isinstance(tree, dict | list) or not tree or len(value) > 20_000:
        return flip_bits(rng, value)
    paths = _paths(tree)
    path = rng.choice(paths)
    parent: Any = tree
    for key in path[:-1]:
        parent = parent[key]
    node = parent[path[-1]]
    match rng.randrange(7):
        case 0:
            other: Any = tree
            for key in rng.choice(paths):
                other = other[key]
            parent[path[-1]] = copy.deepcopy(other)
        case 1:
            del parent[path[-1]]
        case 2:
            parent[path[-1]] = [node] * rng.choice((0, 2, 99, 101, 1_001, 5_000))
        case 3:
            parent[path[-1]] = rng.choice((None, True, [], {}, "", 0, -1, 1e308, float("nan"), float("inf"), 2**64))
        case 4:
            parent[path[-1]] = str(node)
        case 5 if isinstance(node, int | float) and abs(node) < 1e300:
            parent[path[-1]] = node * rng.choice((-1, 2, 1e-9, 1e9, 1.5))
        case _:
            parent[path[-1]] = node * 200 if isinstance(node, str | list) else {str(node): node}
    return json.dumps(tree).encode("utf-8", "surrogatepass")


_ANY: Final = (flip_bits, truncate, cut_out, repeat_part, insert, swap_number, nudge_number)

#: Each is drawn as often as it stands here: what costs most to read is rare.
JSON_MUTATIONS: Final = (
    *_ANY * 3,
    *(swap_string, twice_a_key, change_tree, change_tree, nudge_number) * 3,
    nest,
    batch,
    pad,
)
CSV_MUTATIONS: Final = (*_ANY * 3, *(swap_field, swap_field, shuffle_fields, shuffle_lines, swap_string) * 3, pad)


class Mutator:
    """Makes mutants of good messages.

    Parameters
    ----------
    rng : random.Random
    messages : sequence of bytes
        What the mutants are made of.
    mutations : sequence of Mutation
    """

    def __init__(self, rng: random.Random, messages: Sequence[bytes], mutations: Sequence[Mutation]) -> None:
        self._rng = rng
        self._messages = messages
        self._mutations = mutations

    def mutant(self) -> bytes:
        rng = self._rng
        value = rng.choice(self._messages)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if len(value) < LARGEST:
                value = rng.choice(self._mutations)(rng, value)
        if rng.random() < 0.03 and len(value) < LARGEST:
            other = rng.choice(self._messages)
            value = value[: _place(rng, value)] + other[_place(rng, other) :]
        return value
