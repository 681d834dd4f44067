"""Compiling before the group is joined: everything that a day calls, and nothing that keeps a process from leaving."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from impactd.core.base.settings import CoreSettings, ModelSettings
from impactd.core.base.uncompiled import compile_missing, runs_uncompiled
from impactd.core.model.learned.trained import TrainedFile
from impactd.shell.kafka import warm
from impactd.shell.kafka.warm import (
    compile_ahead,
    compile_meanwhile,
    compile_plans,
    compiled,
    ready,
    reported,
    warm_up,
)
from tests.core.model.networks import network_content
from tests.paths import ROOT
from tests.shell.kafka.warmed import kernels

#: What Python calls, and what its arguments come from: each needs something else of the made-up day.
_CALLED = {
    "scan",
    "run_rows",
    "solve_separable",
    "interior_point",
    "round_separable",
    "round_path",
    "place_remainder",
    "charge",
    "chances",
    "shrinkage",
    "variance_at",
    "network_means",
}


def _loaded() -> set[str]:
    return {kernel.py_func.__name__ for kernel in kernels("impactd.") if kernel.signatures}


@pytest.mark.parametrize("kind", ["linear", "quadratic", "power"])
def test_warm_up_of_each_model_calls_every_kernel_of_a_plan(kind: str) -> None:
    file = TrainedFile.of(network_content(CoreSettings(model=ModelSettings(kind=kind))))
    warm_up(CoreSettings(model=ModelSettings(kind=kind, learned=file)))
    assert _loaded() >= _CALLED


@pytest.mark.parametrize("act", ["minute", "slices"])
def test_day_of_an_exchange_compiles_nothing_after_the_made_up_one(act: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.shell.kafka.warmed", act, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("compiled late")] == []


def test_warm_up_applying_in_event_time_plans_all_the_same() -> None:
    assert warm_up(CoreSettings(apply="in_event_time")) >= 0.0


async def test_compiled_told_to_stop_returns_while_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, begun = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(core: CoreSettings) -> float:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(0.5)
        return 0.5

    monkeypatch.setattr(warm, "warm_up", endless)
    waiting = asyncio.create_task(compiled(CoreSettings(), stop))
    await begun.wait()
    assert not waiting.done()
    stop.set()
    await waiting


async def test_compiled_of_what_fails_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(core: CoreSettings) -> float:
        raise ValueError("no such kernel")

    monkeypatch.setattr(warm, "warm_up", fails)
    with pytest.raises(ValueError, match="no such kernel"):
        await compiled(replace(CoreSettings(), max_symbols=7), asyncio.Event())


async def test_compiled_is_told_of_while_it_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    told, release = asyncio.Event(), threading.Event()

    def takes_long(core: CoreSettings) -> float:
        release.wait()
        return 0.0

    monkeypatch.setattr(warm, "warm_up", takes_long)
    monkeypatch.setattr(warm, "_PROGRESS_S", 0.001)
    waiting = asyncio.create_task(compiled(CoreSettings(), asyncio.Event(), lambda _: told.set()))
    await told.wait()
    assert not waiting.done()
    release.set()
    await waiting


@pytest.mark.parametrize("command", ["raise SystemExit(1)", "pass"])
def test_warm_up_from_nothing_compiles_whatever_the_other_process_does(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    started: list[list[str]] = []
    real = subprocess.Popen

    def start(asked: list[str], **how: Any) -> Any:
        started.append(asked)
        return real([*asked[:2], command], **how)

    monkeypatch.setattr(warm, "_is_cold", lambda: True)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", start)
    warm._warm_up.cache_clear()
    assert warm_up(CoreSettings()) > 0.0
    assert [asked[-1] for asked in started] == [f"from {warm.__name__} import compile_plans; compile_plans()"]


def test_compile_plans_calls_the_solvers() -> None:
    compile_plans()
    assert _loaded() >= {"interior_point", "round_path", "decompose", "clipped_separable", "solve_separable"}


def test_reported_tells_of_what_takes_its_time_and_stops_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_PROGRESS_S", 0.001)
    told, seconds = threading.Event(), []

    def tell(so_far: float) -> None:
        seconds.append(so_far)
        told.set()

    with reported(tell):
        assert told.wait(60.0)
    [reporter] = [thread for thread in threading.enumerate() if thread.name == "impactd-progress"] or [None]
    if reporter is not None:
        reporter.join(60.0)
    assert seconds == sorted(seconds)
    assert seconds[0] > 0.0


async def test_compiled_waits_for_what_was_begun_ahead_and_does_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    release, done = threading.Event(), []

    def work(core: CoreSettings) -> float:
        if not done:
            assert release.wait(60.0)
            done.append(core)
        return 1.0

    monkeypatch.setattr(warm, "_warm_up", work)
    core = replace(CoreSettings(), max_symbols=9)
    compile_ahead(core)
    waiting = asyncio.create_task(compiled(core, asyncio.Event()))
    await asyncio.sleep(0)
    assert not waiting.done()
    release.set()
    await waiting
    assert done == [core]


@pytest.fixture
def compiling_again() -> Iterator[None]:
    """Have kernels compile when they are called, afterwards as before."""
    yield
    compile_missing()


def _other_process(monkeypatch: pytest.MonkeyPatch, code: str) -> asyncio.Queue[asyncio.subprocess.Process]:
    """Have another process run `code` instead of compiling; return those that were started."""
    started: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
    real = asyncio.create_subprocess_exec

    async def start(*command: str, **how: Any) -> asyncio.subprocess.Process:
        process = await real(*command[:2], code, **how)
        started.put_nowait(process)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    return started


@pytest.mark.usefixtures("compiling_again")
async def test_ready_with_all_machine_code_there_leaves_nothing_to_python() -> None:
    warm_up(CoreSettings())
    assert await ready(CoreSettings(), asyncio.Event())
    assert not runs_uncompiled()


@pytest.mark.usefixtures("compiling_again")
async def test_ready_without_some_machine_code_lets_python_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "missing", lambda: 1)
    assert not await ready(CoreSettings(), asyncio.Event())
    assert runs_uncompiled()


@pytest.mark.usefixtures("compiling_again")
@pytest.mark.parametrize("code", ["pass", "raise SystemExit(1)"])
async def test_compile_meanwhile_ends_with_machine_code_whatever_the_other_process_does(
    monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    warm_up(CoreSettings())
    monkeypatch.setattr(warm, "missing", lambda: 1)
    await ready(CoreSettings(), asyncio.Event())
    started = _other_process(monkeypatch, code)
    await compile_meanwhile(CoreSettings())
    assert started.get_nowait().returncode is not None
    assert not runs_uncompiled()


@pytest.mark.usefixtures("compiling_again")
async def test_compile_meanwhile_cancelled_ends_the_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started = _other_process(monkeypatch, "import signal; signal.pause()")
    waiting = asyncio.create_task(compile_meanwhile(CoreSettings()))
    process = await started.get()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert process.returncode is not None


def test_the_process_that_compiles_ends_with_the_one_that_started_it() -> None:
    code = f"import {warm.__name__} as warm, signal; warm.warm_up = lambda core: signal.pause(); warm.compile_given()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(CoreSettings()))
        process.stdin.close()
        assert process.wait() == 1
