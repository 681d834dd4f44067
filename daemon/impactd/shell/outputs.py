"""Outputs as files: one JSON line per message, the bytes as they are on the topics.

Several partitions are merged by the event time of each message, then by partition; within a partition the order is its
own.  Each partition is
spooled to its own file and merged at the end, so that neither memory nor
the result depends on how fast one partition runs ahead of another.

A file takes its name only when all are complete: what was there before stays
until then, and an interrupted run leaves nothing that looks like a result.
"""

from __future__ import annotations

import heapq
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import Output

#: Topics that become files; plans.latest repeats plans, and the rest is private to the service.
FILES: Final = {
    Topic.ESTIMATES: "estimates.jsonl",
    Topic.MODELS: "models.jsonl",
    Topic.PLANS: "plans.jsonl",
    Topic.SLICES: "slices.jsonl",
    Topic.ALERTS: "alerts.jsonl",
    Topic.TCA: "tca.jsonl",
    Topic.DLQ: "dlq.jsonl",
}


class OutputFiles:
    """Writes outputs of one or several partitions to a directory.

    Parameters
    ----------
    directory : Path
        Made if it is not there.
    encode : callable
        Output to the bytes of its line, without the line's end.

    Raises
    ------
    OSError
        If the directory cannot be made or written.
    """

    def __init__(self, directory: Path, encode: Callable[[Output], bytes], partitions: int = 1) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._encode = encode
        self._partitions = partitions
        self._spool = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=directory))
        self._open = ExitStack()
        self._files: dict[tuple[Topic, int], IO[bytes]] = {
            (topic, partition): self._open.enter_context(self._path(topic, partition).open("wb"))
            for topic in FILES
            for partition in range(partitions)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    def _path(self, topic: Topic, partition: int) -> Path:
        return self._spool / f"{topic.value}.{partition}"

    def write(self, partition: int, outputs: Sequence[Output]) -> None:
        """Add what one commit of `partition` said."""
        for output in outputs:
            if output.topic not in FILES:
                continue
            line = self._encode(output) + b"\n"
            if self._partitions > 1:
                line = b"%d\t%s" % (output.clock, line)
            self._files[output.topic, partition].write(line)

    def finish(self) -> list[Path]:
        """Merge the partitions, give every file its name, and return the files."""
        self._open.close()
        done = {topic: self._merge(topic) for topic in FILES}
        return [path.replace(self._directory / FILES[topic]) for topic, path in done.items()]

    def _merge(self, topic: Topic) -> Path:
        if self._partitions == 1:
            return self._path(topic, 0)
        merged = self._spool / FILES[topic]
        with ExitStack() as stack, merged.open("wb") as out:
            sources = [
                _said(stack.enter_context(self._path(topic, partition).open("rb")), partition)
                for partition in range(self._partitions)
            ]
            for _, _, line in heapq.merge(*sources, key=lambda item: item[:2]):
                out.write(line)
        return merged


def _said(lines: IO[bytes], partition: int) -> Iterator[tuple[int, int, bytes]]:
    for line in lines:
        clock, _, message = line.partition(b"\t")
        yield int(clock), partition, message
