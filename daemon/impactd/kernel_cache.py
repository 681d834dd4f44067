"""Which sources a kernel's cached machine code depends on.

numba compares cached machine code with the kernel's own file only.  A kernel
also holds what it takes from other files: kernels compiled into it, the order of
a tuple's fields, constants.  If one of those files changes, numba would run
the old machine code: wrong numbers, or reads outside an array.  Here a kernel of
this package is compared with its file and every file of the package which
that file imports, directly or not.

numba finds the class by its name in ``CACHE_LOCATOR_CLASSES`` (numba 0.62 and
later); `impactd.core.base.jit` sets the name.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from numba.core.caching import CacheImpl

_PACKAGE: Final = Path(__file__).parent

#: ``from impactd.books import walk``, in brackets or not, or ``import impactd.books``; for type checking only as well.
_IMPORT: Final = re.compile(
    r"""^[ \t]*(?:
        from[ ]+(?P<source>impactd[\w.]*)[ ]+import[ ]+(?P<names>\((?:[^)#]|\#[^\n]*)*\)|[^\n]*)
        | import[ ]+(?P<module>impactd[\w.]*)
    )""",
    re.MULTILINE | re.VERBOSE,
)
_COMMENT: Final = re.compile(r"#[^\n]*")
_NAME: Final = re.compile(r"\w+")


class KernelLocator:
    """numba's own choice of a directory, with a stamp of all sources for kernels of this package."""

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> Any:
        """Return numba's locator for `function`, or None if no directory can be written to."""
        locators: list[Any] = list(CacheImpl._locator_classes)  # noqa: SLF001 - numba has no public list
        found = (locator.from_function(function, file) for locator in locators)
        locator = next((one for one in found if one is not None), None)
        path = Path(file)
        if locator is not None and path.is_relative_to(_PACKAGE) and path.is_file():
            locator.get_source_stamp = functools.partial(source_stamp, path)
        return locator


@functools.cache
def source_stamp(file: Path, package: Path = _PACKAGE) -> bytes:
    """Hash `file` and every file of `package` that it imports, directly or not.

    Sources are read once in a process, as Python reads them.

    Returns
    -------
    bytes
        The same for the same names and contents in any directory.
    """
    digest = hashlib.sha256()
    for one in sorted(_read(path, package)[0] for path in source_files(file, package)):
        digest.update(one)
    return digest.digest()


def source_files(file: Path, package: Path = _PACKAGE) -> set[Path]:
    """Return `file` and every file of `package` that it imports, directly or not."""
    reached: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting.extend(_read(path, package)[1])
    return reached


@functools.cache
def _read(file: Path, package: Path) -> tuple[bytes, tuple[Path, ...]]:
    """Return the hash of a file's name and content, and the files of the package that it imports itself."""
    content = file.read_bytes()
    own = hashlib.sha256(f"{file.relative_to(package).as_posix()}\0".encode() + content).digest()
    names: set[str] = set()
    for found in _IMPORT.finditer(content.decode("utf-8")):
        if (module := found["module"] or found["source"]) is not None:
            names.add(module)
        # A name that is imported may be a module.
        names.update(f"{module}.{name}" for name in _NAME.findall(_COMMENT.sub("", found["names"] or "")))
    files = (_module_file(name, package) for name in sorted(names))
    return own, tuple(path for path in files if path is not None)


@functools.cache
def _module_file(name: str, package: Path) -> Path | None:
    """Return the file of a module of the package, or None if `name` is not a module."""
    place = package.joinpath(*name.split(".")[1:])
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.is_file():
            return path
    return None
