"""Kernels run as Python while their machine code is not in the cache: the same results, about a hundred times slower.

A process that starts on a machine without machine code of this release can work at once this way, while others
compile.  By default a kernel is compiled when it is first called.

Both ways give the same bits, because a kernel of the core uses only what NumPy and numba compute alike:

- ``math.exp`` and ``math.log``, which are the C library's in both; NumPy's own differ between processors;
- ``x * x`` instead of ``x ** 2``, and ``math.exp2(x)`` instead of ``2.0 ** x``, as LLVM has it;
- `impactd.core.base.sums` instead of ``np.sum`` and ``np.mean`` of floats, which NumPy adds in pairs;
- stable sorts, where the order of equals can be seen.

`tests/core/base/test_uncompiled.py` compares whole days.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

T = TypeVar("T")

#: Kernels elsewhere read bytes, and have a reference path of their own.
_CORE: Final = "impactd.core."


class _Mode:
    """What the kernels of this process do while their machine code is missing."""

    runs_python = False
    #: Counts the looks into the cache: a kernel looks once for each.
    look = 0
    missing = 0


_mode = _Mode()

#: Whether a kernel of this thread runs as Python, which calls others.
_is_within: ContextVar[bool] = ContextVar("_is_within", default=False)


def run_uncompiled() -> None:
    """Let a kernel of the core whose machine code is not in the cache run as Python from now on."""
    _mode.runs_python = True
    _mode.missing = 0
    look_again()
    setattr(Dispatcher, "_compile_for_args", _choose)  # noqa: B010 - numba has no public place for it


def compile_missing() -> None:
    """Let a kernel whose machine code is not in the cache be compiled from now on, as by default."""
    setattr(Dispatcher, "_compile_for_args", _compile_for_args)  # noqa: B010
    _mode.runs_python = False


def look_again() -> None:
    """Let each kernel that runs as Python look once more for machine code."""
    _mode.look += 1


def runs_uncompiled() -> bool:
    """Return whether kernels may run as Python."""
    return _mode.runs_python


def missing() -> int:
    """Return how often a kernel did not find its machine code since `run_uncompiled`."""
    return _mode.missing


def in_machine_code(kernel: Callable[..., T], *args: Any) -> T:
    """Call a kernel whose time as Python has no useful bound: without machine code it is compiled on the spot."""
    if _mode.runs_python:
        return cast("T", _compile_for_args(kernel, *args)(*args))
    return kernel(*args)


_compile_for_args: Final[Any] = getattr(Dispatcher, "_compile_for_args")  # noqa: B009


def _choose(dispatcher: Any, *args: Any) -> Any:
    """Return what to call for these arguments: machine code, or a Python function.

    numba asks for it when a kernel is called that has no machine code for the types of the arguments.
    """
    if not dispatcher.py_func.__module__.startswith(_CORE):
        return _compile_for_args(dispatcher, *args)
    python = _pythons.get(dispatcher)
    if python is None:
        python = _pythons[dispatcher] = _Python(dispatcher)
    if python.look != _mode.look:
        python.look = _mode.look
        cached = _cached(dispatcher, args)
        if cached is not None:
            return cached
        _mode.missing += 1
    return python


class _Python:
    """A kernel as Python."""

    def __init__(self, dispatcher: Any) -> None:
        self.look = -1
        self._dispatcher = dispatcher
        self._function: Callable[..., Any] = dispatcher.py_func
        self._result = _floats(str(self._function.__annotations__.get("return", "")))

    def __call__(self, *args: Any) -> Any:
        """Run it; called by Python, not by another kernel, with what has to be compiled compiled."""
        if _is_within.get():
            return self._result(self._function(*map(_as_numba_sees_it, args)))
        before = [_copied(one) for one in args]
        token = _is_within.set(True)
        try:
            with np.errstate(all="ignore"):
                return self._result(self._function(*map(_as_numba_sees_it, args)))
        except Exception:  # noqa: BLE001 - Python raises where machine code gives NaN; what raises in both does so below
            for one, old in zip(args, before, strict=True):
                _put_back(one, old)
        finally:
            _is_within.reset(token)
        return _compile_for_args(self._dispatcher, *args)(*args)


#: By kernel.
_pythons: Final[dict[Any, _Python]] = {}


def _cached(dispatcher: Any, args: tuple[Any, ...]) -> Any:
    """Return the machine code for these arguments; None if it is not in the cache.

    As numba's `Dispatcher.compile`, without the compiling.
    """
    types = tuple(dispatcher.typeof_pyval(one) for one in args)
    with global_compiler_lock:
        loaded = dispatcher._cache.load_overload(types, dispatcher.targetctx)  # noqa: SLF001
        if loaded is None:
            return None
        dispatcher.targetctx.insert_user_function(loaded.entry_point, loaded.fndesc, [loaded.library])
        dispatcher.add_overload(loaded)
        return loaded.entry_point


def _as_numba_sees_it(one: Any) -> Any:
    """Return an argument with the arithmetic of machine code: numbers of 64 bits, records with attributes."""
    if type(one) is float:
        return np.float64(one)
    if type(one) is int:
        return np.int64(one)
    if isinstance(one, np.ndarray):
        return one if one.dtype.names is None else one.view(np.recarray)
    if isinstance(one, tuple):
        return _like(one, map(_as_numba_sees_it, one))
    return one


def _floats(annotation: str) -> Callable[[Any], Any]:
    """Return what makes a result that of machine code: Python's numbers, floats where the kernel states floats."""
    if annotation == "float":
        return float
    inside = annotation.removeprefix("tuple[").removesuffix("]")
    if inside != annotation and "[" not in inside and "..." not in inside:
        wanted = [part.strip() == "float" for part in inside.split(",")]
        return lambda result: tuple(
            float(one) if is_float else _plain(one) for one, is_float in zip(result, wanted, strict=True)
        )
    return _plain


def _plain(result: Any) -> Any:
    if isinstance(result, np.generic):
        return result.item()
    if isinstance(result, tuple):
        return _like(result, map(_plain, result))
    return result


def _like(one: tuple[Any, ...], items: Any) -> tuple[Any, ...]:
    return type(one)(*items) if hasattr(one, "_fields") else tuple(items)


def _copied(one: Any) -> Any:
    """Return a copy of the arrays that a kernel may write to."""
    if isinstance(one, np.ndarray):
        return one.copy() if one.flags.writeable else None
    if isinstance(one, tuple):
        return [_copied(part) for part in one]
    return None


def _put_back(one: Any, before: Any) -> None:
    if isinstance(one, np.ndarray) and before is not None:
        one[...] = before
    elif isinstance(one, tuple):
        for part, old in zip(one, before, strict=True):
            _put_back(part, old)
