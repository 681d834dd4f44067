"""Files as content: opened, and decompressed by what they begin with."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Final

from impactd.wire.codec import FieldError
from impactd.wire.content import Content, Line

_PIECE: Final = 1 << 20


class InputFileError(Exception):
    """A file that cannot be used at all; the message names it and the remedy."""


def open_content(path: Path) -> Content:
    """Open a file for reading.

    Raises
    ------
    InputFileError
        If there is no such file, or it cannot be read.
    """
    name = path.name.removesuffix(path.suffix) if path.suffix in (".gz", ".xz") else path.name
    return Content(name, _pieces(path))


def read_lines(path: Path, max_bytes: int) -> Iterator[Line]:
    """Yield the lines of a file that are not blank; see `impactd.wire.content.Content.lines`.

    Raises
    ------
    InputFileError
        As `open_content`.
    """
    return open_content(path).lines(max_bytes)


def _open(path: Path) -> BufferedIOBase:
    if path.is_dir():
        raise InputFileError(f"{path}: is a directory; name a file")
    # An empty file is an empty day, whatever its name promises about a compressed stream.
    if path.stat().st_size > 0:
        if path.suffix == ".gz":
            return gzip.open(path, "rb")
        if path.suffix == ".xz":
            return lzma.open(path, "rb")
    return path.open("rb")


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            # One piece at a time, as read1 gives it: read would drop what precedes the cut of a stream.
            while piece := file.read1(_PIECE):
                yield piece
    except EOFError:
        raise FieldError("truncated", "the compressed stream ends early; fetch the file again") from None
    except (zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise FieldError("corrupt", f"the compressed stream is damaged: {error}; fetch the file again") from None
    except OSError as error:
        raise InputFileError(f"{path}: {error.strerror or error}; name a file that can be read") from error
