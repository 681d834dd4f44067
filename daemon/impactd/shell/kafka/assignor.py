"""Which process owns which partition number, where processes stand by.

Every process has the same settings.  Each keeps what it owns, up to `kafka.own_at_most`; what nobody owns goes to the
processes that own least.  So one that leaves or is killed is replaced by the one that stands by, the others keep what
they have, and the one that comes back stands by itself: in a deploy no partition moves twice.

A process that was frozen, or cut off, comes back with a claim to what others own by then.  So each assignment has a
number, one more than the highest that a member has seen, and of two claims the one by the later assignment holds.

The group only says who should own a partition; the right to publish is acquired at the broker
(`impactd.shell.kafka.ownership`), so a wrong claim costs a move and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import orjson
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

if TYPE_CHECKING:
    from aiokafka.cluster import ClusterMetadata

_VERSION: Final = 0


class Claim(NamedTuple):
    """What a member owns: the number of the assignment that gave it (0: none did), and the partitions."""

    assignment: int = 0
    partitions: Collection[int] = ()


def spread(partitions: Iterable[int], claims: Mapping[str, Claim], at_most: int) -> dict[str, list[int]]:
    """Return who owns what.

    Parameters
    ----------
    partitions : iterable of int
        All partition numbers.
    claims : mapping of str to Claim
        Of several members that claim a partition the one by the latest assignment has it, and of those the first by
        name.
    at_most : int
        What a member owns while others have room; more where all are full.

    Returns
    -------
    dict of str to list of int
        By member: a partition of everything in `partitions`.
    """
    owned: dict[str, list[int]] = {name: [] for name in sorted(claims)}
    latest_first = sorted(owned, key=lambda name: -claims[name].assignment)
    free = []
    for partition in sorted(partitions):
        claiming = (name for name in latest_first if partition in claims[name].partitions)
        owner = next((name for name in claiming if len(owned[name]) < at_most), None)
        if owner is None:
            free.append(partition)
        else:
            owned[owner].append(partition)
    for partition in free:
        owned[min(owned, key=lambda name: (len(owned[name]), name))].append(partition)
    return {name: sorted(own) for name, own in owned.items()}


class StandbyAssignor(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka ships no types
    """`spread` as aiokafka calls it, on classes: `standby_assignor` makes one for each consumer."""

    name = "impactd-standby"
    at_most: ClassVar[int]
    claim: ClassVar[Claim]

    @classmethod
    def assign(
        cls, cluster: ClusterMetadata, members: Mapping[str, Any]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assign the one topic that all have subscribed to."""
        (topic,) = {topic for member in members.values() for topic in member.subscription}
        claims = {name: Claim(*orjson.loads(member.user_data)) for name, member in members.items()}
        found = spread(cluster.partitions_for_topic(topic) or (), claims, cls.at_most)
        number = orjson.dumps(1 + max(claim.assignment for claim in claims.values()))
        return {
            name: ConsumerProtocolMemberAssignment(_VERSION, [(topic, own)] if own else [], number)
            for name, own in found.items()
        }

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Tell the others what this process owns."""
        return ConsumerProtocolMemberMetadata(_VERSION, list(topics), orjson.dumps([*cls.claim]))

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Note what this process owns now."""
        owned = [place.partition for place in assignment.partitions()]
        cls.claim = Claim(orjson.loads(assignment.user_data), owned)


def standby_assignor(at_most: int) -> type[StandbyAssignor]:
    """Return an assignor for one consumer."""
    return type("StandbyAssignor", (StandbyAssignor,), {"at_most": at_most, "claim": Claim()})
