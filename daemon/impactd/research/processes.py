"""Worker processes that can be killed, by loky as shipped with joblib.

A thread that is inside a solver's machine code cannot be stopped; a process can.  loky starts workers as programs of
their own: the caller's main module does not run again, and threads do no harm.  What it leaves to us: a worker ends
with the process that started it, prints nothing to its standard output, and has one thread of each matrix library.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Final

from joblib.externals.loky import ProcessPoolExecutor

#: Problems are small: the threads of a matrix library would only wait for each other.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

#: An idle worker ends after so long.
_IDLE_S: Final = 300

#: How often a worker looks whether its parent is alive.
_LOOK_S: Final = 1.0


def executor(workers: int, begin: Callable[..., None] | None = None, *arguments: object) -> Any:
    """Return processes for work; each runs ``begin(*arguments)`` when it starts.

    Returns
    -------
    ProcessPoolExecutor
        Of `concurrent.futures`, with ``shutdown(kill_workers=True)``.
    """
    return ProcessPoolExecutor(
        workers, timeout=_IDLE_S, env=_ONE_THREAD, initializer=_begin, initargs=(os.getpid(), begin, arguments)
    )


def _begin(parent: int, begin: Callable[..., None] | None, arguments: tuple[object, ...]) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # What a solver prints is not the command's output, and its warning of an inaccurate answer is its certificate's.
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    if begin is not None:
        begin(*arguments)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
