"""Recorded days as they are named on a command line: a file, a folder, or a pattern."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterable
from pathlib import Path

from impactd.shell.lines import InputFileError, open_content
from impactd.shell.pairs import other_half
from impactd.wire.registry import detect

logger = logging.getLogger("impactd.files")


def days_of(text: str) -> tuple[Path, ...]:
    """Return the files that a name refers to, in the order of their names.

    Of a folder these are its own files that a codec recognises; what is left out is logged.
    """
    path = Path(text)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        days = [file for file in files if _is_day(file)]
        if not days:
            raise InputFileError(f"{text}: none of its {len(files)} files has a known format; name one with --codec")
        left_out = [file.name for file in files if file not in days]
        if left_out:
            logger.warning("%s: unknown format, skipped: %s", text, ", ".join(left_out))
        return once(days)
    if path.exists():
        return (path,)
    files = sorted(Path(found) for found in glob.glob(text, recursive=True))  # noqa: PTH207  # absolute ones too
    if not (days := [file for file in files if file.is_file()]):
        raise InputFileError(f"{text}: no such file, folder or pattern of files")
    return once(days)


def once(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the paths without the second halves of pairs of files that are read as one."""
    found: dict[str, Path] = {}
    for path in paths:
        both = other_half(path)
        found.setdefault(str(path) if both is None else both.message, path)
    return tuple(found.values())


def _is_day(path: Path) -> bool:
    try:
        return detect(open_content(path).head) is not None
    except (InputFileError, OSError):
        return False
