"""Orders spread over processes, which map the tapes of all symbols into their memory instead of copying them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
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


def work_each(
    benches: Mapping[str, Bench],
    strategies: Sequence[str],
    groups: Mapping[str, Sequence[Job]],
    workers: int,
    progress: Callable[[int], None] | None = None,
) -> Generator[tuple[str, list[Outcome]], None, None]:
    """Yield each group's name and the outcomes of its orders, in their order, once all of them are done.

    Parameters
    ----------
    benches : mapping of str to Bench
        By symbol.
    groups : mapping of str to sequence of Job
        By name; worked in this order.
    progress : callable, optional
        Called with the number of orders of each job that is done.

    Raises
    ------
    RuntimeError
        If a process was killed before its work was done.
    """
    tell = progress or (lambda _: None)
    if workers < 2 or sum(len(job.trials) for jobs in groups.values() for job in jobs) < _WORTH_IT:
        for name, jobs in groups.items():
            outcomes = []
            for job in jobs:
                outcomes += _evaluated(benches, strategies, job)
                tell(len(job.trials))
            yield name, outcomes
        return
    yield from ((name, []) for name, jobs in groups.items() if not jobs)
    with TemporaryDirectory() as directory:
        shared = Path(directory) / "benches"
        joblib.dump((dict(benches), tuple(strategies)), shared)
        pool = executor(workers, _load, shared)
        try:
            # Long ones first, so that no process is left with one at the end.
            tasks = {
                pool.submit(_evaluate, job): (name, i)
                for name, jobs in groups.items()
                for i, job in sorted(enumerate(jobs), key=lambda numbered: _length_ns(numbered[1]), reverse=True)
            }
            done: defaultdict[str, dict[int, list[Outcome]]] = defaultdict(dict)
            for task in as_completed(tasks):
                name, i = tasks.pop(task)
                done[name][i] = task.result()
                tell(len(groups[name][i].trials))
                if len(done[name]) == len(groups[name]):
                    yield name, [outcome for _, its in sorted(done.pop(name).items()) for outcome in its]
        except BrokenExecutor as error:
            raise RuntimeError("a process of the backtest was killed, perhaps for lack of memory; use fewer") from error
        finally:
            pool.shutdown(kill_workers=True)


def _length_ns(job: Job) -> int:
    return job.trials[0].order.end - job.trials[0].order.start


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
