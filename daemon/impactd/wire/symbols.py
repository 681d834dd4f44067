"""Symbols of files: what the user names, and what the file's name suggests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

#: ``INSTRUMENT=NAME`` or ``PUBLISHER/INSTRUMENT=NAME``.
_MAPPED: Final = re.compile(r"\s*(\d+(?:/\d+)?)=(.+?)\s*", re.ASCII)
#: Databento's names of files: dataset, days, schema and, where they are split by it, the symbol.
_DATABENTO: Final = re.compile(r"[a-z]{4}-[a-z]+-\d{8}(?:-\d{8})?\.[a-z]+(?:-[0-9a-z]+)?(?:\.(?P<symbol>.+?))?\.[a-z]+")
#: A day, with which names of files begin too.
_DAY: Final = re.compile(r"(?:19|20)\d{6}|\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileSymbols:
    """Symbols for data that name none, or not enough."""

    #: For all rows that name no symbol.
    name: str | None = None
    #: Names by ``INSTRUMENT`` or ``PUBLISHER/INSTRUMENT``, the ids in the data.
    by_key: Mapping[str, str] = field(default_factory=dict)
    #: Whether `name` is a guess from the file's name.
    guessed: bool = False

    @classmethod
    def parse(cls, text: str | None, file_name: str = "") -> Self:
        """Return what ``--symbol`` says; without it, what the file's name suggests.

        Parameters
        ----------
        text : str, optional
            ``NAME``, or ``ID=NAME,ID=NAME``.
        """
        if text is None:
            return cls(guess(file_name), guessed=True)
        matches = [_MAPPED.fullmatch(part) for part in text.split(",")]
        mapped = {match[1]: match[2] for match in matches if match is not None}
        return cls(by_key=mapped) if all(matches) else cls(text)


def guess(file_name: str) -> str | None:
    """Return the symbol that a file's name suggests: its first part that is no day, or where Databento puts it.

    Parts end at ``_``, the last one at the first dot.
    """
    match = _DATABENTO.fullmatch(file_name)
    if match is not None:
        return match["symbol"]
    parts = file_name.partition(".")[0].split("_")
    return next((part for part in parts if part and not _DAY.fullmatch(part)), None)
