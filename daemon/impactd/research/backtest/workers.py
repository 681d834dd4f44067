"""Orders spread over processes, which map the tapes of all symbols into their memory instead of copying them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import joblib

from impactd.research.backtest.evaluate import Bench, Outcome, evaluate
from impactd.research.backtest.live import State
from impactd.research.backtest.windows import Trial
from impactd.research.processes import executor

#: Fewer orders than this are done before a process has started.
_WORTH_IT: Final = 40


@dataclass(frozen=True, slots=True)
class Job:
    """Orders of one symbol, day, start and end, and the engines' states at their start."""

    trials: tuple[Trial, ...]
    states: dict[str, State]


def work(
    benches: Mapping[str, Bench],
    strategies: Sequence[str],
    jobs: Sequence[Job],
    workers: int,
    progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Return the outcome of each order, in their order.

    Parameters
    ----------
    benches : mapping of str to Bench
        By symbol.
    workers : int
        Processes.
    progress : callable, optional
        Called with the number of orders of each job that is done.

    Raises
    ------
    RuntimeError
        If a process was killed before its work was done.
    """
    tell = progress or (lambda _: None)
    if workers < 2 or sum(len(job.trials) for job in jobs) < _WORTH_IT:
        outcomes = []
        for job in jobs:
            outcomes += _evaluated(benches, strategies, job)
            tell(len(job.trials))
        return outcomes
    with TemporaryDirectory() as directory:
        shared = Path(directory) / "benches"
        joblib.dump((dict(benches), tuple(strategies)), shared)
        pool = executor(workers, _load, shared)
        try:
            # Long ones first, so that no process is left with one at the end.
            order = sorted(range(len(jobs)), key=lambda i: jobs[i].trials[0].order.start - jobs[i].trials[0].order.end)
            tasks = {pool.submit(_evaluate, jobs[i]): i for i in order}
            done: dict[int, list[Outcome]] = {}
            for task in as_completed(tasks):
                done[tasks[task]] = task.result()
                tell(len(jobs[tasks[task]].trials))
        except BrokenExecutor as error:
            raise RuntimeError("a process of the backtest was killed, perhaps for lack of memory; use fewer") from error
        finally:
            pool.shutdown(kill_workers=True)
    return [outcome for i in range(len(jobs)) for outcome in done[i]]


#: In a worker: the benches by symbol, and the strategies.
_shared: list[Any] = []


def _load(path: Path) -> None:
    # Copied where written to, so that the kernels take the arrays as they take others.
    _shared[:] = joblib.load(path, mmap_mode="c")


def _evaluate(job: Job) -> list[Outcome]:
    benches, strategies = _shared
    return _evaluated(benches, strategies, job)


def _evaluated(benches: Mapping[str, Bench], strategies: Sequence[str], job: Job) -> list[Outcome]:
    return evaluate(benches[job.trials[0].order.symbol], job.trials, strategies, job.states)
