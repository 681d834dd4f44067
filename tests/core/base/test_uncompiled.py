"""Kernels as Python while their machine code is missing: the same bits, and compiled where Python cannot do it."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from numba import njit, types
from numba.core import config

from impactd.cli import main
from impactd.config import load
from impactd.core.base.uncompiled import compile_missing, in_machine_code, look_again, missing, run_uncompiled
from tests.core.model.networks import network_content

_ROOT: Final = Path(__file__).resolve().parents[3]

#: Runs a command without machine code, and prints what was compiled all the same.
_COLD: Final = """
import sys
from numba.core import event
from impactd.config import load
from impactd.core.base.uncompiled import run_uncompiled

class Compiled(event.Listener):
    def on_start(self, event):
        print("compiled", event.data["dispatcher"])
    def on_end(self, event):
        pass

event.register("numba:compile", Compiled())
run_uncompiled()
from impactd.cli import main
sys.exit(main(sys.argv[1:]))
"""

_MINUTE: Final = 60_000_000_000
_OPEN: Final = 1_748_871_000_000_000_000
#: Each needs another solver, and some are planned together.
_TERMS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"risk_aversion": 1e-6},
    {"urgency": "normal", "max_interval_qty": 900},
    {"min_clip_qty": 200},
    {"lot_size": 100, "side": "sell", "risk_aversion": 1e-6, "max_interval_qty": 800},
    {"participation_rate": 0.2, "min_participation_rate": 0.02},
    {"limit_px": 60.5, "symbol": "DEMO2"},
    {"min_clip_qty": 300, "risk_aversion": 1e-6, "symbol": "DEMO2"},
)


def _of_core(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that counts as one of the core's."""
    function.__module__ = "impactd.core.made_up"
    return function


@pytest.fixture
def python_mode() -> Iterator[None]:
    """Have kernels run as Python, and no longer afterwards."""
    run_uncompiled()
    yield
    compile_missing()


@pytest.mark.parametrize(("kind", "learned"), [("power", False), ("linear", True), ("quadratic", False)])
def test_a_day_without_machine_code_has_the_bytes_of_a_compiled_one(
    tmp_path: Path,
    kind: str,
    learned: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    with gzip.open(_ROOT / "replay_data" / "day.jsonl.gz") as whole:
        ticks = [next(whole) for _ in range(1_000)]
    (tmp_path / "ticks.jsonl").write_bytes(b"".join(ticks))
    orders = [
        {
            "type": "new",
            "cl_ord_id": f"C{n}",
            "symbol": "DEMO1",
            "side": "buy",
            "order_qty": 5_000 + 100 * n,
            "ts_event": _OPEN + (1 + n // 2) * _MINUTE + n,
            "start": _OPEN + (1 + n // 2) * _MINUTE + n,
            "end": _OPEN + (40 + 10 * n) * _MINUTE,
            **terms,
        }
        for n, terms in enumerate(_TERMS)
    ]
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders), "utf-8")
    settings = _ROOT / "replay_data" / "impactd.toml"
    asked = ["replay", "-c", str(settings), "--set", f"model.kind={kind}"]
    if learned:
        core = load(settings, environ={"IMPACTD__MODEL__KIND": kind}).settings.core()
        (tmp_path / "network.json").write_bytes(network_content(core))
        asked += ["--set", f"model.learned={tmp_path / 'network.json'}", "--set", "model.learned_use=always"]
    asked += ["--data", str(tmp_path / "ticks.jsonl"), "--orders", str(tmp_path / "orders.jsonl"), "--out"]
    cold = subprocess.Popen(
        [sys.executable, "-c", _COLD, *asked, str(tmp_path / "python")],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert main([*asked, str(tmp_path / "compiled")]) == 0
        told, _ = cold.communicate()
    finally:
        cold.kill()
        cold.wait()
    assert cold.returncode == 0, told
    assert "compiled CPUDispatcher" not in told
    names = sorted(path.name for path in (tmp_path / "compiled").iterdir())
    assert len((tmp_path / "compiled" / "plans.jsonl").read_bytes().splitlines()) > 2 * len(_TERMS)
    for name in names:
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "compiled" / name).read_bytes(), name


class _Pair(NamedTuple):
    first: Any
    second: Any


def _wrapped(a: int, b: int) -> int:
    return a * b + 1


def _over(a: float, b: float) -> float:
    return a / b


def _whole(a: float) -> float:
    return 0 if a > 0.0 else a


def _both(a: float, n: int) -> tuple[float, int]:
    return (0, n) if a > 0.0 else (a, n + 1)


def _of_pair(pair: _Pair) -> float:
    pair.first[0] += pair.second
    return float(pair.first[0])


def _field(rows: Any, k: int) -> float:
    row = rows[k]
    row.level += 0.5
    return float(row.level)


_ROWS: Final = np.array([(1.0, 2), (3.0, 4)], dtype=[("level", np.float64), ("n", np.int64)])


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (_wrapped, (2**62, 6)),
        (_over, (1.0, 0.0)),
        (_over, (0.0, 0.0)),
        (_whole, (1.0,)),
        (_both, (1.0, 3)),
        (_of_pair, (_Pair(np.ones(2), 0.1),)),
        (_field, (_ROWS, 1)),
    ],
)
@pytest.mark.usefixtures("python_mode")
def test_python_computes_as_machine_code(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    got = (both := njit(error_model="numpy")(_of_core(function)))(*_copies(args))
    assert not both.signatures
    compile_missing()
    expected = njit(error_model="numpy")(function)(*_copies(args))
    assert repr(got) == repr(expected)


def _copies(args: tuple[Any, ...]) -> list[Any]:
    return [
        one.copy() if isinstance(one, np.ndarray) else type(one)(*_copies(one)) if isinstance(one, tuple) else one
        for one in args
    ]


@pytest.mark.usefixtures("python_mode")
def test_what_raises_in_python_alone_is_compiled_with_the_arguments_as_they_were() -> None:
    @njit(error_model="numpy")
    @_of_core
    def counted(seen: Any, value: float) -> float:
        seen[0] += 1.0
        return math.log(value)

    seen = np.zeros(1)
    assert counted(seen, 1.0) == 0.0
    assert not counted.signatures
    assert counted(seen, 0.0) == -math.inf
    assert counted.signatures
    assert seen[0] == 2.0


@pytest.mark.usefixtures("python_mode")
def test_what_raises_in_machine_code_too_raises() -> None:
    @njit
    @_of_core
    def refused(value: float) -> float:
        if value < 0.0:
            raise ValueError("negative")
        return value

    with pytest.raises(ValueError, match="negative"):
        refused(-1.0)


def test_machine_code_is_taken_up_once_it_is_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    other, kernel = (njit(cache=True)(_of_core(_over)) for _ in range(2))
    run_uncompiled()
    try:
        assert kernel(1.0, 4.0) == 0.25
        assert missing() == 1
        other.compile((types.float64, types.float64))
        assert kernel(1.0, 4.0) == 0.25
        assert not kernel.signatures
        look_again()
        assert kernel(1.0, 4.0) == 0.25
        assert kernel.signatures
        assert missing() == 1
    finally:
        compile_missing()


@pytest.mark.usefixtures("python_mode")
def test_a_kernel_that_takes_too_long_as_python_never_runs_so() -> None:
    kernel = njit(_of_core(_over))
    assert in_machine_code(kernel, 1.0, 4.0) == 0.25
    assert kernel.signatures


def test_a_missing_kernel_is_compiled_where_python_is_not_asked_for() -> None:
    kernel = njit(_of_core(_over))
    assert kernel(1.0, 4.0) == 0.25
    assert kernel.signatures
