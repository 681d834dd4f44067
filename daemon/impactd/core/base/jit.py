"""The one way this package compiles a kernel.

Every kernel is compiled with the same options, because determinism and
latency depend on them:

- ``fastmath`` stays off: re-associated sums would make the result depend on
  how many ticks were decoded together;
- ``nogil`` lets a worker thread walk books while the event loop continues;
- ``cache`` keeps the machine code, so that only the first start compiles;
- ``error_model="numpy"`` makes a division by zero a value, not an exception.

Cached machine code is used only while all sources that it was compiled from are
unchanged (`impactd.kernel_cache`); numba alone checks the kernel's own file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar, cast

from numba import njit, types
from numba.core import config

P = ParamSpec("P")
R = TypeVar("R")

#: Compares cached machine code with all of its sources.  By name, because it reads files.
_LOCATOR: Final = "impactd.kernel_cache.KernelLocator"


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` to machine code with the package's options."""
    return _compile(function)


def uncounted_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` as `kernel` does, without counting references to the arrays that it is given.

    For what runs for each tick: a count is an atomic operation for each array of each call, which costs more than many
    a function does.  A function that makes an array does not compile so.
    """
    return _compile(function, counted=False)


def inner_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` as `uncounted_kernel` does, and put its code into every kernel that calls it.

    For the parts of a loop over ticks: passing a dozen arrays to a function
    of a few nanoseconds costs more than the function.
    """
    return _compile(function, counted=False, inline=True)


def _compile(function: Callable[P, R], *, counted: bool = True, inline: bool = False) -> Callable[P, R]:
    # Before every kernel, because numba reads its settings again when the environment changes.
    # None before numba 0.62; a locator that the user has set stays.
    if getattr(config, "CACHE_LOCATOR_CLASSES", None) == "":
        setattr(config, "CACHE_LOCATOR_CLASSES", _LOCATOR)  # noqa: B010 - numba sets its attributes by name too
    # `_nrt` is numba's own name for it, which its documentation does not list; a release without it raises here.
    options: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": False, "error_model": "numpy", "_nrt": counted}
    # Nothing takes a kernel as a C function.
    options["no_cfunc_wrapper"] = True
    compiled: Any = njit(forceinline=inline, **options)(function)
    # To numba a literal has a type of its own: what kernels call with 0 and with 1 would be compiled for each.
    template = compiled.get_call_template
    plain: Callable[[Any], Any] = types.unliteral
    compiled.get_call_template = lambda args, kws: template(
        tuple(map(plain, args)), {name: plain(one) for name, one in kws.items()}
    )
    return cast("Callable[P, R]", compiled)
