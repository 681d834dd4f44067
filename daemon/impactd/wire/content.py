"""The content of a recorded file, decompressed: its head, and its lines.

A file is read in pieces and never whole.  What is wrong with it comes out as a
line with a fault, in its place among the good ones: everything before a cut
or a damaged spot is kept, and the loss is visible.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

from impactd.wire.codec import FieldError

#: Bytes of a file that a codec is recognised by, at most.
HEAD_BYTES: Final = 1 << 16


#: Byte order marks; that of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Line(NamedTuple):
    """A line without its line end, or another record of a file."""

    #: From 1 on.
    number: int
    text: bytes
    #: Why the line cannot be used: ``truncated``, ``too_large`` or ``corrupt``.
    fault: FieldError | None = None
    #: The file ends without a line end behind this line.
    is_last_open: bool = False


class Head(NamedTuple):
    """The beginning of a file."""

    #: The file's name without the ending of a compression.
    name: str
    #: Its first bytes, decompressed.
    data: bytes

    @property
    def text(self) -> bytes:
        """The beginning as UTF-8 without a byte order mark, for any Unicode encoding of the file."""
        return b"".join(_as_utf8(iter([self.data]), "replace"))

    @property
    def line(self) -> str:
        """The first line that is not blank."""
        first = next((line for line in self.text.splitlines() if line.strip()), b"")
        return first.decode(errors="replace")

    @property
    def is_text(self) -> bool:
        """Whether it can be text: no text holds a NUL."""
        return b"\0" not in self.text[:1_024]


class Content:
    """A file's bytes, decompressed, to be read once.

    Parameters
    ----------
    name : str
        The file's name without the ending of a compression.
    pieces : iterator of bytes
        Raises `FieldError` where a compressed stream is cut or damaged.
    """

    def __init__(self, name: str, pieces: Iterator[bytes]) -> None:
        self.damage: FieldError | None = None
        self._pieces = pieces
        held = b""
        while len(held) < HEAD_BYTES and (piece := self._next()):
            held += piece
        self._held = held
        self.head = Head(name, held[:HEAD_BYTES])

    def _next(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except FieldError as error:
            self.damage = error
            return b""

    def pieces(self) -> Iterator[bytes]:
        """Yield the content from the beginning; `damage` tells afterwards whether it is whole."""
        piece, self._held = self._held, b""
        while piece:
            yield piece
            piece = b"" if self.damage is not None else self._next()

    def text(self) -> Iterator[bytes]:
        """Yield the content as UTF-8."""
        try:
            yield from _as_utf8(self.pieces())
        except UnicodeDecodeError as error:
            self.damage = FieldError("encoding", f"not {error.encoding} as the byte order mark says; send UTF-8")

    def lines(self, max_bytes: int) -> Iterator[Line]:
        """Yield the lines that are not blank; they end in LF, CR LF or, where a file has no LF, CR.

        Parameters
        ----------
        max_bytes : int
            A longer line comes with a fault and its first `max_bytes` only.
        """
        number = 1
        pending = b""
        start = self.head.text
        end = b"\r" if b"\r" in start and b"\n" not in start else b"\n"
        # Of a line that is too long only the beginning is kept.
        is_cut = False
        for piece in self.text():
            *whole, rest = piece.split(end)
            for i, part in enumerate(whole):
                text = part if i else pending + part
                line = _line(number, text, max_bytes, is_cut=is_cut and not i)
                if line is not None:
                    yield line
                number += 1
            if whole:
                pending, is_cut = rest, False
            elif not is_cut:
                pending += rest
            if len(pending) > max_bytes:
                pending, is_cut = pending[: max_bytes + 1], True
        if self.damage is not None:
            yield Line(number, pending[:max_bytes], self.damage)
            return
        last = _line(number, pending, max_bytes, is_cut=is_cut)
        if last is not None:
            yield last._replace(is_last_open=True)


def _as_utf8(pieces: Iterator[bytes], errors: str = "strict") -> Iterator[bytes]:
    """Take a byte order mark off, and transcode what has one."""
    first = next(pieces, b"")
    encoding = next((name for mark, name in _MARKS if first.startswith(mark)), None)
    if encoding is None:
        yield first
        yield from pieces
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for piece in chain([first], pieces):
        yield decoder.decode(piece).encode()
    yield decoder.decode(b"", final=True).encode()


def _line(number: int, text: bytes, max_bytes: int, *, is_cut: bool) -> Line | None:
    text = text.removesuffix(b"\r")
    if is_cut or len(text) > max_bytes:
        fault = FieldError("too_large", f"a line of more than {max_bytes} bytes (setting wire.max_message_bytes)")
        return Line(number, text[:max_bytes], fault)
    return Line(number, text) if text.strip() else None
