"""The C library keeps memory that is freed, for what is asked for next; Python looks for cycles less often.

A fetch of some megabytes is copied a few times and becomes arrays of a few more, and all of it is freed before the
next. By default glibc gives such blocks back to the system at once, and has each of their pages made again: a third
of the time that fetching takes. https://man7.org/linux/man-pages/man3/mallopt.3.html

A minute's close makes some tens of thousands of objects that live until its commit is encoded, and hardly a cycle. By
default Python looks through new objects at each seven hundredth: 7% of the close's time, and a seventh of what
compiling kernels takes.
"""

from __future__ import annotations

import ctypes
import gc
import platform
from collections.abc import Mapping
from typing import Final

# Of <malloc.h>.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3

#: The largest that glibc takes.
_LARGEST_BLOCK: Final = 32 * 1024 * 1024

#: Bytes at most that are free at the end of the heap: several fetches with all that is made of them.
_KEPT: Final = 64 * 1024 * 1024


#: New objects, less those that are gone, from one look for cycles to the next.
_YOUNG: Final = 20_000


def collect_seldom() -> None:
    """Have Python look for cycles once in `_YOUNG` new objects."""
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


def keep_freed_memory(environ: Mapping[str, str]) -> bool:
    """Have glibc keep freed memory; return whether it does.

    Parameters
    ----------
    environ : mapping of str to str
        The process's environment; what a user has set there of glibc's own variables stays as it is.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK) and mallopt(_TRIM_THRESHOLD, _KEPT))
