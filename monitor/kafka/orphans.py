"""Partitions that the group has given to nobody, though it has come to rest: they would never be read."""

from __future__ import annotations

import time
from typing import Any

from kafka import errors as kafka_errors
from kafka.protocol.admin import DescribeGroupsRequest
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment

from monitor import logs

log = logs.get("kafka.orphans")

_EVERY = 5.0  # s between two looks; a rebalance under way has orphans too, so they must be seen twice
_PATIENCE = 1000  # ms for an answer


class Orphans:
    """Looks at the whole group now and then, and has it share out its partitions anew where some belong to nobody.

    A static member that is killed between giving a partition up and joining again is handed its old share when it
    comes back, without a rebalance: what it gave up would be nobody's for good.
    """

    def __init__(self, consumer: Any, group: str, topic: str) -> None:
        self._consumer = consumer
        self._group = group
        self._topic = topic
        self._seen: frozenset[int] = frozenset()
        self._looked = time.monotonic()

    def look(self) -> None:
        """Does nothing most of the time; never waits long, and says nothing where the brokers do not answer."""
        now = time.monotonic()
        if now - self._looked < _EVERY:
            return
        self._looked = now
        before, self._seen = self._seen, self._unassigned()
        if lasting := before & self._seen:
            log.warning("partitions belong to no member; asking the group to share anew", partitions=sorted(lasting))
            self._consumer._coordinator.request_rejoin()
            self._seen = frozenset()

    def _unassigned(self) -> frozenset[int]:
        consumer = self._consumer
        node = consumer._coordinator.coordinator()
        partitions = consumer._cluster.partitions_for_topic(self._topic)
        if node is None or not partitions:
            return frozenset()
        request = DescribeGroupsRequest(groups=[self._group], include_authorized_operations=False)
        try:
            answer = consumer._manager.call_soon(_send, consumer._manager, request, node)
            (group,) = consumer._net.run(consumer._manager.wait_for, answer, _PATIENCE).groups
        except kafka_errors.KafkaError as error:
            log.debug("the group cannot be described", why=str(error))
            return frozenset()
        if group.error_code or group.group_state != "Stable":
            return frozenset()
        given: set[int] = set()
        for member in group.members:
            assignment = ConsumerProtocolAssignment.decode(member.member_assignment)
            given |= {place.partition for place in assignment.partitions() if place.topic == self._topic}
        return frozenset(partitions - given)


async def _send(manager: Any, request: Any, node: Any) -> Any:
    return await manager.send(request, node_id=node)
