"""The loop around the pipeline, on lists: what the probes see, and what a failing source does to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from monitor import config, detector
from monitor.assembly import assemble
from monitor.batch import Outcome
from monitor.checkpoint import Checkpoint
from monitor.errors import FencedError, MonitorError, UnavailableError
from monitor.health import Health
from monitor.metrics import Metrics
from monitor.ports import Polled
from monitor.service import Ends, Service
from monitor.snapshots import Identity, Snapshots
from monitor.windows import Image
from tests.fakes import ListBroker, ListSink, ListSource
from tests.models import FEATURES, START, tiny_artefact

PATIENCE = 20.0


def event(row: int) -> bytes:
    return msgspec.json.encode({"stream": "a", "time": START + row, "features": dict.fromkeys(FEATURES, 0.5)})


class Member:
    """A service on lists, in a thread of its own."""

    def __init__(self, folder: Path, connect: Callable[[], Ends], kafka: config.Kafka | None = None) -> None:
        settings = config.Settings(
            model=config.Model(path=folder),
            events=config.Events(max_age=None, max_ahead=1e12),
            kafka=kafka or config.Kafka(),
        )
        model = detector.load(folder, settings.model)
        self.registry = CollectorRegistry()
        self.health = Health(60, time.monotonic)
        metrics = Metrics(self.registry, model.manifest, settings)
        self.service = Service(settings, model.manifest, assemble(settings, model), connect, metrics, self.health)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.service.run()
        except BaseException as error:
            self.error = error

    def ends(self) -> BaseException | None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.error

    def ready(self) -> bool:
        status = self.health.status
        return status is not None and status.ready


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class SlowSink(ListSink):
    """Holds a publish until it is let go."""

    def __init__(self, broker: ListBroker, source: ListSource) -> None:
        super().__init__(broker, source)
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def publish(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        self.entered.set()
        assert self.let_go.wait(PATIENCE)
        return super().publish(outcome, checkpoints)


class FailingSource(ListSource):
    """Its polls and its close fail as often as told."""

    failures = 2

    def poll(self) -> Polled:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("polling: a:1 does not answer")
        time.sleep(0.001)
        return super().poll()

    def close(self) -> None:
        super().close()
        raise UnavailableError("leaving the group: a:1 does not answer")


class RefusingSink(ListSink):
    """Never takes anything."""

    def publish(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        raise UnavailableError("publishing: a:1 does not answer")


class GreedySource(ListSource):
    """Notes what is asked of it while the sink refuses."""

    idled = 0

    def idle(self, seconds: float) -> Polled:
        self.idled += 1
        time.sleep(0.001)
        return super().idle(seconds)


class RebalancedSink(ListSink):
    """Publishes, but the offsets cannot be committed the first two times."""

    refused = 0

    def publish(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        if self.refused < 2:
            self.refused += 1
            return False
        return super().publish(outcome, checkpoints)


class FencedSink(RebalancedSink):
    """Put out when the offsets are to be made up for."""

    fenced = 0

    def publish(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        if self.refused == 1 and not self.fenced:
            self.fenced += 1
            raise FencedError("publishing: the group has moved on")
        return super().publish(outcome, checkpoints)


class ForgettingSink(ListSink):
    """Notes what it is told to forget."""

    def __init__(self, broker: ListBroker, source: ListSource) -> None:
        super().__init__(broker, source)
        self.forgotten: list[int] = []

    def forget(self, partition: int) -> None:
        self.forgotten.append(partition)
        super().forget(partition)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artefact(tmp_path_factory.mktemp("artefact") / "model")


def broker_with(rows: Sequence[bytes]) -> ListBroker:
    broker = ListBroker()
    for row in rows:
        broker.put(0, row)
    return broker


def test_a_stop_is_seen_by_the_probe_before_the_batch_in_hand_is_published(folder: Path) -> None:
    broker = broker_with([event(0)])
    source = ListSource(broker)
    sink = SlowSink(broker, source)
    member = Member(folder, lambda: Ends(source, sink))
    assert sink.entered.wait(PATIENCE)
    member.service.stop()
    status = member.health.status
    assert status is not None
    assert (status.state, status.ready) == ("stopping", False)
    assert broker.committed == {}
    sink.let_go.set()
    assert member.ends() is None
    assert broker.committed == {0: 1}


def test_a_poll_that_fails_is_tried_again_and_a_group_that_cannot_be_left_is_left(folder: Path) -> None:
    broker = broker_with([event(row) for row in range(3)])
    source = FailingSource(broker)
    member = Member(folder, lambda: Ends(source, ListSink(broker, source)))
    until(lambda: broker.committed == {0: 3})
    until(member.ready)
    member.service.stop()
    assert member.ends() is None
    assert member.registry.get_sample_value("monitor_broker_errors_total", {"kind": "poll"}) == 2


def test_while_the_sink_refuses_nothing_more_is_taken_and_a_stop_says_what_was_left(folder: Path) -> None:
    broker = broker_with([event(0)])
    source = GreedySource(broker)
    member = Member(folder, lambda: Ends(source, RefusingSink(broker, source)))
    until(lambda: source.idled > 3)
    broker.put(0, event(1))
    assert source.positions == {0: 1}
    assert not member.ready()
    member.service.stop()
    error = member.ends()
    assert isinstance(error, MonitorError)
    assert error.hint == "Nothing is lost: its records are not committed and will be read again."
    assert broker.committed == {}


def test_a_stop_before_any_broker_answered_ends_at_once(folder: Path) -> None:
    def connect() -> Ends:
        raise UnavailableError("connecting: a:1 does not answer", "Is it there?")

    member = Member(folder, connect)
    kinds = {"kind": "connect"}
    until(lambda: bool(member.registry.get_sample_value("monitor_broker_errors_total", kinds)))
    until(lambda: "a:1" in str(member.health.status))
    status = member.health.status
    assert status is not None
    assert status.not_ready == ("Kafka: connecting: a:1 does not answer Is it there?",)
    member.service.stop()
    assert member.ends() is None


def test_offsets_that_a_rebalance_kept_from_being_committed_are_committed_without_new_records(folder: Path) -> None:
    broker = broker_with([event(0)])
    source = ListSource(broker)
    sink = RebalancedSink(broker, source)
    member = Member(folder, lambda: Ends(source, sink))
    until(lambda: broker.committed == {0: 1})
    member.service.stop()
    assert member.ends() is None
    assert sink.refused == 2


def test_windows_are_kept_as_of_the_offsets_that_were_made_up_for(folder: Path, tmp_path: Path) -> None:
    """A snapshot that knew records behind its offset would be given them a second time."""
    broker = ListBroker(2)
    broker.put(0, event(0))
    source = ListSource(broker)
    sink = RebalancedSink(broker, source)
    sink.refused = 2
    model = detector.load(folder, config.Model(path=folder)).manifest
    shape = model.architecture.window, len(model.features)
    identity = Identity("events", "", "group", "digest", *shape)
    member = Member(folder, lambda: Ends(source, sink, lambda: Snapshots(tmp_path, identity, 1000)))
    until(lambda: broker.committed == {0: 1})
    sink.refused = 0
    broker.put(0, event(1))
    until(lambda: broker.committed == {0: 2})
    broker.put(1, event(0))
    until(lambda: broker.committed == {0: 2, 1: 1})
    member.service.stop()
    assert member.ends() is None
    kept = Snapshots(tmp_path, identity, 1000)
    image = kept.load(0, broker.checkpoints[0], 0)
    kept.close()
    assert isinstance(image, Image)
    assert (image.offset, image.last_offset.tolist()) == (2, [1])


def test_a_member_that_is_fenced_where_it_makes_up_for_offsets_starts_over(folder: Path) -> None:
    broker = broker_with([event(0)])
    source = ListSource(broker)
    sink = FencedSink(broker, source)
    member = Member(folder, lambda: Ends(source, sink))
    until(lambda: broker.committed == {0: 1})
    assert sink.fenced == 1
    broker.put(0, event(1))
    until(lambda: broker.committed == {0: 2})
    member.service.stop()
    assert member.ends() is None
    assert member.registry.get_sample_value("monitor_delivery_errors_total", {"action": "fence"}) == 1


def test_what_the_sink_knows_of_a_partition_goes_with_it(folder: Path) -> None:
    broker = ListBroker(2)
    source = ListSource(broker)
    sink = ForgettingSink(broker, source)
    member = Member(folder, lambda: Ends(source, sink))
    until(lambda: broker.owner == {0: source, 1: source})
    assert sink.forgotten == []
    other = ListSource(broker)
    until(lambda: sink.forgotten == [1])
    source.rewind()
    until(lambda: sink.forgotten == [1, 0])
    member.service.stop()
    assert member.ends() is None
    assert 1 in other.poll().gained


class StuckSource(ListSource):
    """Owns a partition whose committed offset cannot be learned."""

    released = False

    @property
    def pending(self) -> frozenset[int]:
        return frozenset() if self.released else frozenset({1})

    def poll(self) -> Polled:
        time.sleep(0.001)
        return super().poll()


class CountingSink(ListSink):
    abandoned = 0

    def abandon(self) -> None:
        self.abandoned += 1


def test_what_a_member_may_have_left_hanging_is_ended_once_per_transaction_time_out_until_all_is_read(
    folder: Path,
) -> None:
    broker = ListBroker(partitions=2)
    source = StuckSource(broker)
    sink = CountingSink(broker, source)
    begun = time.monotonic()
    hasty = config.Kafka(publish_timeout=0.05, transaction_timeout=0.1)
    member = Member(folder, lambda: Ends(source, sink), hasty)
    until(lambda: sink.abandoned == 3)
    assert time.monotonic() - begun >= 0.3
    source.released = True
    time.sleep(0.01)  # a turn may be under way
    before = sink.abandoned
    time.sleep(0.3)
    assert sink.abandoned == before
    member.service.stop()
    assert member.ends() is None
