"""Collects the messages and counts of one commit."""

from __future__ import annotations

from impactd.core.base.topics import Topic
from impactd.core.outputs.counts import Counts
from impactd.core.outputs.messages import Message, Output


class Outbox:
    """Messages and counts of the current commit.

    Attributes
    ----------
    clock : int
        Event time of the partition, ns; stamped on each message.
    trigger : tuple of (Topic, int) or None
        Topic and offset of the input that is being applied; None during an idle move.
    """

    def __init__(self) -> None:
        self.clock = 0
        self.trigger: tuple[Topic, int] | None = None
        self.counts = Counts()
        self._outputs: list[Output] = []

    def publish(self, topic: Topic, key: str | None, message: Message) -> None:
        """Publish a message with the commit."""
        self._outputs.append(Output(topic, key, message, self.clock, self.trigger))

    def take(self) -> tuple[tuple[Output, ...], Counts]:
        """Return the messages and counts of the commit, and start the next one."""
        taken = tuple(self._outputs), self.counts
        self._outputs, self.counts = [], Counts()
        return taken
