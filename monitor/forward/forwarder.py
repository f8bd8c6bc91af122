"""The loop of `monitor forward`: take alerts, send them in their order, commit what the receiver has answered.

Nothing is taken while something waits to be sent, so memory is bounded by one poll and no alert overtakes another. What
is killed between the receiver's answer and the commit is sent again by whoever comes next.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from pydantic import ValidationError

from monitor import config, logs
from monitor.alerts import SEVERITIES, parse
from monitor.batch import Record
from monitor.errors import UnavailableError
from monitor.forward.client import AwayError, NotTakenError
from monitor.forward.item import Item
from monitor.forward.metrics import Answer, ForwardMetrics
from monitor.forward.open_incidents import OpenIncidents
from monitor.forward.receiver import Receiver
from monitor.health import Health
from monitor.ports import Place, Subscription
from monitor.repeats import Repeats

log = logs.get("forward")

_FIRST_WAIT = 0.5  # s between two tries, of the receiver and of the brokers; doubled each time
_LONGEST_BROKER_WAIT = 15.0  # s
_SLICE = 0.2  # s; how late a wish to stop is heard
_COMMIT_EVERY = 1.0  # s; amid a long batch
_TOLD_EVERY = 60.0  # s between two lines of the log that say that it still waits


class Forwarder:
    """One member of the forwarding group, from its start to its last commit."""

    def __init__(
        self,
        settings: config.Forward,
        topic: str,
        connect: Callable[[], Subscription],
        receiver: Receiver,
        metrics: ForwardMetrics,
        health: Health,
    ) -> None:
        """`connect` joins the group; while the brokers are away it raises UnavailableError and is called again."""
        self._settings = settings
        self._topic = topic
        self._connect = connect
        self._receiver = receiver
        self._metrics = metrics
        self._health = health
        self._least = SEVERITIES.index(settings.min_severity)
        self._open = OpenIncidents(settings.max_open, settings.forget_after)
        self._repeats = Repeats()
        self._waiting: deque[Item] = deque()  # taken, not answered
        self._handled: dict[int, int] = {}  # next offset, where it is beyond what is committed
        self._committed: dict[int, Place] = {}
        self._source: Subscription | None = None
        self._stopping = False  # not an Event: its lock may be held by the code that a signal handler interrupts
        self._brokers_away = ""
        self._receiver_away = ""
        self._joined = False
        self._told = -math.inf  # when the log last said that the receiver is away
        self._retry_at = -math.inf
        self._wait = _FIRST_WAIT
        self._resend_at = -math.inf
        self._commit_at = -math.inf

    def stop(self) -> None:
        """The request under way is finished, what was answered is committed. May be called from a signal handler."""
        self._health.stop()
        self._stopping = True

    @property
    def state(self) -> str:
        """starting, running or stopping."""
        return "stopping" if self._stopping else "running" if self._source is not None else "starting"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not ready, for people; empty means ready."""
        found = [self._brokers_away, self._receiver_away]
        if self._source is None or self._stopping:
            found.append(f"monitor forward is {self.state}.")
        elif not self._joined and not self._brokers_away:
            found.append("joining the group")
        return tuple(filter(None, found))

    def run(self) -> None:
        """Until `stop`. Raises MonitorError where waiting cannot help."""
        self._report()
        source = self._wait_for_brokers()
        if source is None:
            return
        self._source = source
        try:
            while not self._stopping:
                self._turn(source)
            self._try_commit(source)
        finally:
            self._source = None
            self._receiver.close()
            try:
                source.close()
            except UnavailableError as error:  # the group notices by itself
                log.warning("left without a word to the group", why=error.message)
        log.info("stopped", waiting=len(self._waiting))

    def _turn(self, source: Subscription) -> None:
        try:
            if self._waiting:
                self._drop(source.idle(self._pause()))
            else:
                taken = source.poll(_SLICE)
                self._drop(taken.lost)
                self._remember(taken.known)
                self._waiting.extend(self._newest(list(self._wanted(taken.new))))
            self._joined = source.joined()
            self._look_at_brokers(source)
        except UnavailableError as error:
            self._lost_brokers(error.message)
            self._sleep(_FIRST_WAIT)
        if time.monotonic() >= self._retry_at:
            self._send(source)
            self._resend()
        if not self._waiting:
            self._handled |= source.positions()
            self._try_commit(source)
        self._report()

    def _pause(self) -> float:
        return max(0.0, min(_SLICE, self._retry_at - time.monotonic()))

    def _wanted(self, records: Iterable[Record]) -> Iterable[Item]:
        """Those to be sent; the others are counted, and done with."""
        taken = {item.alert.id for item in self._waiting}
        for record in records:
            item = _item(record)
            if item is None:
                place = f"{record.topic} {record.partition}:{record.offset}"
                log.error("not an alert of this version; left out", place=place)
                self._metrics.alert("unreadable")
            elif item.alert.id in self._repeats or item.alert.id in taken:
                self._metrics.alert("repeated")
            elif SEVERITIES.index(item.alert.severity) < self._least:
                self._metrics.alert("below_severity")
            else:
                taken.add(item.alert.id)
                yield item

    def _newest(self, items: Sequence[Item]) -> Iterable[Item]:
        """Where only the state of an incident counts, the newest message of each: what is over opens nothing more."""
        if not self._receiver.keeps_state:
            return items
        newest = {item.alert.incident: item for item in items}
        for _ in range(len(items) - len(newest)):
            self._metrics.alert("superseded")
        return [item for item in items if newest[item.alert.incident] is item]

    def _remember(self, records: Iterable[Record]) -> None:
        """What an earlier member has sent: that is what the receiver knows."""
        for record in records:
            item = _item(record)
            if item is not None:  # that was told when it was new
                self._note(item)

    def _note(self, item: Item) -> None:
        self._repeats.add(item.alert.id)
        if self._receiver.keeps_state and SEVERITIES.index(item.alert.severity) >= self._least:
            self._open.note(item)

    def _send(self, source: Subscription) -> None:
        """As many of the waiting alerts as the receiver takes now."""
        while self._waiting and not self._stopping:
            items = [self._waiting[i] for i in range(min(self._receiver.batch, len(self._waiting)))]
            answer = self._ask(items)
            if answer == "failed":
                return
            if answer == "not_taken" and len(items) > 1:  # one of them is at fault: each alone
                for item in items:
                    if (answer := self._ask([item])) == "failed":
                        return
                    self._answered(item, taken=answer == "taken")
            else:
                for item in items:
                    self._answered(item, taken=answer == "taken")
            self._health.beat(time.monotonic())
            if self._waiting and time.monotonic() >= self._commit_at:
                self._try_commit(source)
                self._report()

    def _answered(self, item: Item, *, taken: bool) -> None:
        """The first of the waiting alerts is done with."""
        self._waiting.popleft()
        self._handled[item.record.partition] = item.record.offset + 1
        if taken:
            written = item.record.timestamp / 1000
            self._metrics.delivered(time.time() - written if written >= 0 else 0.0)
            self._note(item)
        else:
            self._metrics.alert("refused")

    def _resend(self) -> None:
        """Tells again of what is open, when its time has come."""
        now = time.monotonic()
        if not self._receiver.keeps_state or now < self._resend_at or self._waiting or self._stopping:
            return
        current = self._open.current(time.time())
        for first in range(0, len(current), self._receiver.batch):
            items = current[first : first + self._receiver.batch]
            if self._ask(items) == "failed":
                return  # all of it again, after the wait
            self._metrics.resent(len(items))
            self._health.beat(time.monotonic())
            if self._stopping:
                return
        self._resend_at = now + self._settings.resend_every

    def _ask(self, items: Sequence[Item]) -> Answer:
        started = time.monotonic()
        answer: Answer = "taken"
        try:
            self._receiver.send(items, time.time())
        except AwayError as error:
            answer = "failed"
            self._lost_receiver(error)
        except NotTakenError as error:
            answer = "not_taken"
            if len(items) == 1:
                _tell_refused(items[0], error)
        self._metrics.request(answer, time.monotonic() - started)
        if answer != "failed":
            self._found_receiver()
        return answer

    def _lost_receiver(self, error: AwayError) -> None:
        now = time.monotonic()
        wait = self._wait if error.retry_after is None else max(self._wait, error.retry_after)
        wait = min(wait, self._settings.longest_wait)
        self._wait = min(2 * self._wait, self._settings.longest_wait)
        self._retry_at = now + wait
        if not self._receiver_away or now - self._told >= _TOLD_EVERY:
            self._told = now
            log.warning("the receiver is away; waiting", why=error.message, hint=error.hint, alerts=len(self._waiting))
        self._receiver_away = f"{error.message} {error.hint}".strip()

    def _found_receiver(self) -> None:
        if self._receiver_away:
            log.info("the receiver is back", url=self._receiver.where)
        self._receiver_away, self._wait, self._retry_at = "", _FIRST_WAIT, -math.inf

    def _drop(self, lost: frozenset[int]) -> None:
        """Forgets the partitions that went to another member: it sends what is not committed of them."""
        if not lost:
            return
        self._waiting = deque(item for item in self._waiting if item.record.partition not in lost)
        self._open.forget(lost)
        for partition in lost:
            self._handled.pop(partition, None)
            self._committed.pop(partition, None)
        log.info("partitions revoked", partitions=sorted(lost))

    def _try_commit(self, source: Subscription) -> None:
        """Commits what is done with; what cannot be committed now is committed later, or sent again."""
        begins = self._open.begins()
        places = {
            partition: Place(offset, min(offset, begins.get(partition, offset)))
            for partition, offset in self._handled.items()
        }
        changed = {partition: place for partition, place in places.items() if self._committed.get(partition) != place}
        if not changed:
            return
        self._commit_at = time.monotonic() + _COMMIT_EVERY
        try:
            if source.commit(changed):
                self._committed |= changed
        except UnavailableError as error:
            self._lost_brokers(error.message)

    def _wait_for_brokers(self) -> Subscription | None:
        wait = _FIRST_WAIT
        while not self._stopping:
            try:
                source = self._connect()
            except UnavailableError as error:
                self._lost_brokers(f"{error.message} {error.hint}".strip())
                self._sleep(wait)
                wait = min(2 * wait, _LONGEST_BROKER_WAIT)
            else:
                self._found_brokers()
                return source
        return None

    def _look_at_brokers(self, source: Subscription) -> None:
        if source.connected():
            self._found_brokers()
        else:
            self._lost_brokers("the group's coordinator does not answer")

    def _lost_brokers(self, why: str) -> None:
        if not self._brokers_away:
            log.warning("brokers are away; waiting", why=why)
        self._brokers_away = f"Kafka: {why}"

    def _found_brokers(self) -> None:
        if self._brokers_away:
            log.info("brokers are back")
        self._brokers_away = ""

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping:
            time.sleep(min(left, _SLICE))
            self._report()

    def _report(self) -> None:
        self._health.beat(time.monotonic())
        lag = {} if self._source is None else self._source.lag()
        self._metrics.refresh(
            ready=not self.reasons,
            receiver_up=not self._receiver_away,
            broker_up=not self._brokers_away,
            open_incidents=len(self._open),
            dropped=self._open.dropped,
            lag={(self._topic, str(partition)): records for partition, records in lag.items()},
        )


def _item(record: Record) -> Item | None:
    """None where the record is no alert of this schema version."""
    try:
        return Item(parse(record.value or b""), record)
    except ValidationError:
        return None


def _tell_refused(item: Item, error: NotTakenError) -> None:
    alert = item.alert
    log.error(
        "the receiver refuses an alert; left out",
        why=error.message,
        place=item.place,
        id=alert.id,
        stream=alert.stream,
        status=alert.status,
    )
