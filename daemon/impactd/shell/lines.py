"""Files as content: opened, and decompressed by their first bytes."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from impactd.core.base.extras import MissingExtraError, remedy
from impactd.shell import columnar
from impactd.shell.pairs import joined, other_half, pair_among
from impactd.wire.codec import FieldError
from impactd.wire.content import Content, Head, Line
from impactd.wire.zstd import ZSTD

_PIECE: Final = 1 << 20

#: A compressed file in a compressed file is read; more layers are no accident.
_MAX_LAYERS: Final = 3
_ENDINGS: Final = (".gz", ".gzip", ".xz", ".lzma", ".bz2", ".zst", ".zstd")

#: Beginnings of files that no codec reads: what they are, and how to make one of them that is read.
_KNOWN: Final = (
    (b"\x89HDF", "HDF5", "write it as CSV: pandas.read_hdf(FILE).to_csv('day.csv', index=False)"),
    (b"SQLite format 3", "an SQLite database", "write its table as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and name the file in it"),
    (b"Rar!", "a RAR archive", "unpack it and name the file in it"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4", "decompress it: lz4 -d FILE"),
    (b"\x02\x21\x4c\x18", "compressed with LZ4", "decompress it: lz4 -d FILE"),
    (b"\xff\x06\0\0sNaPpY", "compressed with Snappy", "decompress it, or compress it with gzip, xz, zstd or bzip2"),
    (b"\x1f\x9d", "compressed with compress", "decompress it: gzip -d FILE"),
    (b"Obj\x01", "Avro", "write it as JSON lines: java -jar avro-tools.jar tojson FILE"),
    (b"ORC", "ORC", "write it as Parquet"),
    (b"FEA1", "Feather of version 1", "write it again as Parquet, or with pyarrow.feather.write_feather"),
    (b"\x93NUMPY", "an array of NumPy", "write it as CSV with a header"),
    (b"\x80\x04\x95", "a pickle", "write it as CSV: pandas.read_pickle(FILE).to_csv('day.csv', index=False)"),
    (b"\x80\x05\x95", "a pickle", "write it as CSV: pandas.read_pickle(FILE).to_csv('day.csv', index=False)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook", "save its sheet as CSV"),
)


class InputFileError(Exception):
    """A file that cannot be used at all; the message names it and the remedy."""


def open_content(path: Path) -> Content:
    """Open a file for reading; gzip, xz, zstd, bzip2 and zip (of one file) are decompressed, tables made text.

    LOBSTER's message and orderbook files are joined, in a zip archive or side by side, whichever of the two is named.

    Raises
    ------
    InputFileError
        If there is no such file, or it cannot be read.
    """
    try:
        if path.is_dir():
            raise InputFileError(f"{path}: is a directory; name a file")
        with contextlib.ExitStack() as stack:
            both = other_half(path)
            if both is None:
                file, name = _opened(path, stack)
            else:
                halves = (_opened(Path(half), stack)[0] for half in (both.message, both.orderbook))
                file, name = stack.enter_context(joined(*halves)), both.name
            return Content(name, _pieces(path, file, stack.pop_all()))
    except _DAMAGED as error:
        name = _without(path.name, *_ENDINGS)
        return Content(name, _failed(_damage(path, error)))


def _opened(path: Path, stack: contextlib.ExitStack) -> tuple[Any, str]:
    """Return a file, decompressed, and its name without the ending of a compression."""
    name = path.name
    file: Any = stack.enter_context(path.open("rb"))
    for _ in range(_MAX_LAYERS):
        start = file.peek(8)[:8]
        opener = next((opener for magic, opener in _OPENERS if start.startswith(magic)), None)
        if opener is None:
            break
        file, name = opener(path, file, name)
        stack.enter_context(file)
    return file, name


def read_lines(path: Path, max_bytes: int) -> Iterator[Line]:
    """Yield the lines of a file that are not blank; see `impactd.wire.content.Content.lines`."""
    return open_content(path).lines(max_bytes)


def unreadable(head: Head) -> str | None:
    """Return what a file is that holds no text, with the remedy; None where it may be text."""
    for magic, what, advice in _KNOWN:
        if head.data.startswith(magic):
            return f"is {what}, which is not read; {advice}"
    if head.data[257:262] == b"ustar":
        return "is a tar archive; unpack it and name the file in it"
    return None if head.is_text else "is a binary file of an unknown format; export it as CSV or JSON lines"


Opener = Callable[[Path, Any, str], tuple[Any, str]]


def _stream(opened: Callable[[Any], Any], *endings: str) -> Opener:
    """Return what opens a file by `opened`, and takes one of its endings off the name."""
    return lambda _, file, name: (opened(file), _without(name, *endings))


def _zstd(path: Path, file: Any, name: str) -> tuple[Any, str]:
    if ZSTD is None:
        raise InputFileError(f"{path}: is compressed with zstd; pip install backports-zstd, or decompress it: zstd -d")
    return ZSTD.ZstdFile(file), _without(name, ".zst", ".zstd")


def _zip(path: Path, file: Any, name: str) -> tuple[Any, str]:
    del name
    archive = zipfile.ZipFile(file)
    members = [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    try:
        if (pair := pair_among([info.filename for info in members])) is not None:
            return joined(archive.open(pair.message), archive.open(pair.orderbook)), pair.name
    except (RuntimeError, NotImplementedError) as error:
        raise InputFileError(f"{path}: {error}; unpack it and name the file in it") from error
    if any(info.filename == "xl/workbook.xml" for info in members):
        raise InputFileError(f"{path}: is an Excel workbook, which is not read; save its sheet as CSV")
    if len(members) != 1:
        names = ", ".join(info.filename for info in members[:5]) or "none"
        raise InputFileError(
            f"{path}: the archive holds {len(members)} files ({names}); unpack it and name the one to read"
        )
    try:
        return archive.open(members[0]), Path(members[0].filename).name
    except (RuntimeError, NotImplementedError) as error:
        raise InputFileError(f"{path}: {error}; unpack it and name the file in it") from error


def _table(magic: bytes, *endings: str) -> Opener:
    """Return what opens a table that begins so, as text."""

    def opener(path: Path, file: Any, name: str) -> tuple[Any, str]:
        try:
            return columnar.opened(file, magic), _without(name, *endings)
        except MissingExtraError:
            raise InputFileError(f"{path}: is Parquet or Arrow; {remedy('arrow')} to read it") from None

    return opener


_XZ: Final = _stream(lzma.LZMAFile, ".xz", ".lzma")

_OPENERS: Final[tuple[tuple[bytes, Opener], ...]] = (
    (b"\x1f\x8b", _stream(lambda file: gzip.GzipFile(fileobj=file), ".gz", ".gzip")),
    (b"\xfd7zXZ\0", _XZ),
    (b"BZh", _stream(bz2.BZ2File, ".bz2")),
    (b"\x5d\0\0", _XZ),  # LZMA alone
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x50\x2a\x4d\x18", _zstd),  # begins with a frame to skip, as pzstd writes it
    (b"PK\x03\x04", _zip),
    (b"PK\x05\x06", _zip),
    (columnar.PARQUET, _table(columnar.PARQUET, ".parquet", ".pq")),
    (columnar.ARROW, _table(columnar.ARROW, ".arrow", ".feather", ".ipc")),
    (columnar.STREAM, _table(columnar.STREAM, ".arrows", ".arrow", ".ipc")),
)


#: What files and decompressors raise, on a stream that is cut or damaged among others.
_DAMAGED: Final[tuple[type[Exception], ...]] = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    columnar.TableError,
    *(() if ZSTD is None else (ZSTD.ZstdError,)),
)


def _without(name: str, *endings: str) -> str:
    return next((name[: -len(ending)] for ending in endings if name.lower().endswith(ending)), name)


def _damage(path: Path, error: Exception) -> FieldError:
    # The bzip2 reader raises an OSError without a number on a damaged stream.
    if isinstance(error, OSError) and error.errno is not None:
        raise InputFileError(f"{path}: {error.strerror or error}; name a file that can be read") from error
    if isinstance(error, EOFError):
        return FieldError("truncated", "the compressed stream ends early; fetch the file again")
    if isinstance(error, columnar.TableError):
        return FieldError("corrupt", f"the table cannot be read: {error}; write it again")
    return FieldError("corrupt", f"the compressed stream is damaged: {error}; fetch the file again")


def _failed(error: FieldError) -> Iterator[bytes]:
    yield from ()
    raise error


def _pieces(path: Path, file: Any, opened: contextlib.ExitStack) -> Iterator[bytes]:
    try:
        with opened:
            # One piece at a time, as read1 gives it: read would drop what precedes the cut of a stream.
            while piece := file.read1(_PIECE):
                yield piece
    except _DAMAGED as error:
        raise _damage(path, error) from None
