"""Lines of plain, gzip and xz files, however the file ends.

A file is read in pieces and never whole.  What is wrong with it comes out as a
line with a fault, in its place among the good ones: everything before a cut
or a damaged spot is kept, and the loss is seen.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Final, NamedTuple

from impactd.wire.codec import FieldError

_PIECE: Final = 1 << 20


class InputFileError(Exception):
    """A file that cannot be used at all; the message names it and the remedy."""


class Line(NamedTuple):
    """A line without its line end.

    Attributes
    ----------
    number : int
        From 1 on.
    fault : FieldError or None
        Why the line cannot be used: ``truncated``, ``too_large`` or ``corrupt``.
    is_last_open : bool
        The file ends without a line end behind this line.
    """

    number: int
    text: bytes
    fault: FieldError | None = None
    is_last_open: bool = False


def open_bytes(path: Path) -> BufferedIOBase:
    """Open a file for reading, decompressed by its name's ending: ``.gz``, ``.xz``, or plain.

    Raises
    ------
    InputFileError
        If there is no such file, or it cannot be read.
    """
    try:
        if path.is_dir():
            raise InputFileError(f"{path}: is a directory; name a file")
        # An empty file is an empty day, whatever its name promises about a compressed stream.
        if path.stat().st_size > 0:
            if path.suffix == ".gz":
                return gzip.open(path, "rb")
            if path.suffix == ".xz":
                return lzma.open(path, "rb")
        return path.open("rb")
    except OSError as error:
        raise InputFileError(f"{path}: {error.strerror or error}; name a file that can be read") from error


def read_lines(path: Path, max_bytes: int) -> Iterator[Line]:
    """Yield the lines of a file that are not blank.

    Parameters
    ----------
    max_bytes : int
        A longer line comes with a fault and its first `max_bytes` only.

    Raises
    ------
    InputFileError
        As `open_bytes`.
    """
    number = 1
    pending = b""
    # Of a line that is too long only the beginning is kept.
    is_cut = False
    damage: FieldError | None = None
    with open_bytes(path) as file:
        while True:
            try:
                # One piece at a time, as read1 gives it: read would drop what precedes the cut of a stream.
                piece = file.read1(_PIECE)
            except EOFError:
                damage = FieldError("truncated", "the compressed stream ends early; fetch the file again")
                break
            except (zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
                damage = FieldError("corrupt", f"the compressed stream is damaged: {error}; fetch the file again")
                break
            except OSError as error:
                raise InputFileError(f"{path}: {error.strerror or error}") from error
            if not piece:
                break
            *whole, rest = piece.split(b"\n")
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
    if damage is not None:
        yield Line(number, pending[:max_bytes], damage)
        return
    last = _line(number, pending, max_bytes, is_cut=is_cut)
    if last is not None:
        yield last._replace(is_last_open=True)


def _line(number: int, text: bytes, max_bytes: int, *, is_cut: bool) -> Line | None:
    text = text.removesuffix(b"\r")
    if is_cut or len(text) > max_bytes:
        fault = FieldError("too_large", f"a line of more than {max_bytes} bytes (setting wire.max_message_bytes)")
        return Line(number, text[:max_bytes], fault)
    return Line(number, text) if text.strip() else None
