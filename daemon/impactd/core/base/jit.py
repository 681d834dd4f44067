"""The one way this package compiles a kernel.

Every kernel is compiled with the same options, because determinism and
latency depend on them:

- ``fastmath`` stays off: re-associated sums would make the result depend on
  how many ticks were decoded together;
- ``nogil`` lets a worker thread walk books while the event loop continues;
- ``cache`` keeps the machine code, so that only the first start compiles;
- ``error_model="numpy"`` makes a division by zero a value, not an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` to machine code with the package's options.

    Parameters
    ----------
    function : callable
        A function in numba's nopython subset.

    Returns
    -------
    callable
        The compiled function, with the signature of `function`.
    """
    compiled = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return cast("Callable[P, R]", compiled)


def inner_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` as `kernel` does, and lay it into every kernel that calls it.

    For the parts of a loop over ticks: handing a dozen arrays to a function
    of a few nanoseconds costs more than the function.
    """
    compiled = njit(cache=True, nogil=True, fastmath=False, error_model="numpy", forceinline=True)(function)
    return cast("Callable[P, R]", compiled)
