"""Kafka errors, by the action that they require.

aiokafka's exceptions are translated into these at the boundary, so that the
rest of the shell decides by meaning: go back and acquire again, or stop.
"""

from __future__ import annotations


class KafkaShellError(Exception):
    """Base of the errors of this package."""


class FatalError(KafkaShellError):
    """The process must stop; the text states why, and what to do about it."""


class CommitUnknownError(KafkaShellError):
    """A commit failed, or nobody knows whether it did.

    Memory and producer are worthless now: the partition is acquired again,
    and the broker states what was committed.
    """


class CommitLateError(CommitUnknownError):
    """A commit had no answer by its deadline; a smaller one may."""


class UnsupportedError(FatalError):
    """The broker does not know a request at all: it is older than what is supported, or a mock."""


class CommitRefusedError(CommitUnknownError):
    """The broker refuses what the commit holds, and will refuse it again."""


class FencedError(CommitUnknownError):
    """Another producer has started with this partition's transactional id."""


class RestoreError(KafkaShellError):
    """A partition's state could not be read now; it is worth trying again."""


class MismatchError(RestoreError):
    """State, journal and inputs do not belong together, as far as one reading of them shows.

    They are read one after the other.  If this process has lost the partition in between, or a topic has just changed
    its leader, that passes; if it repeats, the topics are not those that were written.
    """


class PositionLostError(KafkaShellError):
    """A position no longer exists in its topic.

    Parameters
    ----------
    position : int
        Offset that was asked for.
    """

    def __init__(self, topic: str, partition: int, position: int) -> None:
        super().__init__(f"{topic}/{partition} has no offset {position} any more")
        self.topic = topic
        self.partition = partition
        self.position = position
