"""Members that come, go, are killed, put out and cut off, in random schedules: what they tell is what one alone tells.

All of it runs as it does in production but the brokers, the clock and the moment at which a snapshot is written: those
are of this process, so that a seed is a schedule, to the last poll.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitor import alerts, config
from monitor.assembly import assemble
from monitor.batch import Outcome, RawRecord
from monitor.checkpoint import Checkpoint
from monitor.errors import FencedError, UnavailableError
from monitor.health import Health
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.ports import Polled
from monitor.service import Ends, Service
from monitor.snapshots import Identity, Snapshots
from monitor.windows import Image
from tests.fakes import ListBroker, ListSink, ListSource
from tests.faulty import KINDS, Careful, faulty, sections
from tests.test_adaptation import RULES, Learning
from tests.test_pipeline import CARELESS, START, Last, pipeline, record

SEEDS = (*range(13), 24, 40, 101)  # the last three have found something; more of them take about 0.2 s each
TURNS = 4000  # until a schedule without faults must have come to its end

_PLACE = ("monitor-partition", "monitor-offset")  # headers of a dead letter

_Streams = dict[tuple[int, str], list[bytes]]


class Killed(BaseException):
    """The process ends here, without a word to anybody."""


class Clock:
    """Stands for the module `time`: each look takes a millisecond, and sleeping takes no time."""

    def __init__(self) -> None:
        self._now = 1000.0

    def monotonic(self) -> float:
        self._now += 0.001
        return self._now

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        self._now += seconds


class Source(ListSource):
    """Knows of the group what it knew at its last poll; the group is stirred while the service waits."""

    def __init__(self, world: World, poll_records: int) -> None:
        super().__init__(world.broker, poll_records)
        self.refusing = False
        self._world = world
        self.generation = world.generation

    def poll(self) -> Polled:
        self.generation = self._world.generation
        return super().poll()

    def idle(self, seconds: float) -> Polled:
        self.generation = self._world.generation
        if self._world.random.random() < 0.2:
            self._world.stir()
        self._world.clock.sleep(seconds)
        return super().idle(seconds)

    def commit(self, checkpoints: Mapping[int, Checkpoint]) -> bool:
        return not self.refusing and super().commit(checkpoints)


class Sink(ListSink):
    """Refuses, is fenced, dies before and after, leaves in doubt what became of it; at least once, does half of it."""

    def __init__(self, world: World, source: Source) -> None:
        super().__init__(world.broker, source, world.settings.delivery)
        self._world = world
        self._member = source
        self._doubt: tuple[int, dict[int, int], bool] | None = None  # generation, offsets, whether they were committed

    def publish(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        luck = self._world.random.random() / self._world.harshness if self._world.faulty else 1.0
        if self._world.settings.delivery == "exactly_once":
            return self._publish_at_once(luck, outcome, checkpoints)
        return self._publish_then_commit(luck, outcome, checkpoints)

    def abandon(self) -> None:
        self._doubt = None

    def _publish_at_once(self, luck: float, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        generation = self._world.generation
        doubt, self._doubt = self._doubt, None
        if self._member.out or self._member.generation != generation:
            raise FencedError("the group has moved on")
        wanted = {partition: checkpoint.offset for partition, checkpoint in checkpoints.items()}
        if doubt is not None and doubt[1] == wanted:
            if doubt[0] != generation:
                raise FencedError("the group has moved on before the fate of a transaction was known")
            if doubt[2]:
                return True
        if luck < 0.03:
            raise Killed
        if luck < 0.06:
            raise UnavailableError("before the commit")
        if luck < 0.08:
            self._doubt = generation, wanted, False
            raise UnavailableError("in the commit, which did not come about")
        if luck < 0.10:
            raise FencedError("put out")
        super().publish(outcome, checkpoints)
        if luck < 0.13:
            raise Killed
        if luck < 0.16 and wanted:
            self._doubt = generation, wanted, True
            raise UnavailableError("in the commit, which came about")
        return True

    def _publish_then_commit(self, luck: float, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        if luck < 0.03:
            raise Killed
        if luck < 0.06:
            raise UnavailableError("before anything")
        if luck < 0.12:
            ListSink(self._broker, self._source, "at_least_once").publish(self._some_of(outcome), {})
            raise Killed if luck < 0.1 else UnavailableError("half-way")
        if luck < 0.2:
            self._member.refusing = True
            super().publish(outcome, checkpoints)
            self._member.refusing = False
            if luck < 0.16:
                raise Killed
            return False
        return super().publish(outcome, checkpoints)

    def _some_of(self, outcome: Outcome) -> Outcome:
        """What may have arrived when a publish fails: states are sent when all that is told has arrived."""
        random = self._world.random
        told = random.randint(0, len(outcome.alerts))
        kept = random.randint(0, len(outcome.states)) if told == len(outcome.alerts) else 0
        rejects = outcome.rejects[: random.randint(0, len(outcome.rejects))] if not kept else outcome.rejects
        return replace(
            outcome, alerts=outcome.alerts[:told], rejects=rejects, states=dict(list(outcome.states.items())[:kept])
        )


class PromptSnapshots(Snapshots):
    """Written when they are handed over: else the disk would decide what a killed member leaves."""

    def save(self, image: Image) -> None:
        super().save(image)
        while self.busy:
            time.sleep(0.0001)


@dataclass
class Member:
    """A process, turned by hand; `slot` is the folder of its snapshots, which the next of that name finds."""

    service: Service
    source: Source
    ends: Ends
    slot: int
    snapshots: list[Snapshots]


class World:
    """Some members on one broker, and what befalls them. All of it follows from the seed."""

    def __init__(
        self, seed: int, delivery: str, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "plain"
    ) -> None:
        """Of the kind `faulty` the data are at fault; of the kind `adapting` the members learn from them."""
        self.random = random = Random(seed)
        self.clock = Clock()
        for module in ("service", "snapshotting", "takeover"):
            monkeypatch.setattr(f"monitor.{module}.time", self.clock)
        monkeypatch.setattr("monitor.resume._SPACING", random.choice([1, 1, 5, 1000]))
        monkeypatch.setattr("monitor.resume._LOOK_EVERY", random.choice([1, 1, 10, 1000]))
        self._model: Last = Last()
        checks: dict[str, Any] = {"quality": CARELESS}
        if kind == "faulty":
            self._model, checks = Careful(random.choice([3, 8])), sections()
        elif kind == "adapting":
            self._model, checks = Learning(), {"quality": CARELESS, "adaptation": RULES}
        self.settings = config.Settings.model_validate(checks | _sections(random, delivery))
        self.broker = ListBroker(random.randint(1, 3))
        names = [f"s{number}" for number in range(random.randint(2, 7))]
        for partition, log in enumerate(self.broker.log):
            log.extend((_faulty_feed if kind == "faulty" else _feed)(random, partition, names))
        self.generation = 0
        self.faulty = True
        self.members: list[Member] = []
        self._folder = folder
        self._most = random.choice([1, 3, 7, 25])  # records of a poll
        self.harshness = random.choice([1, 1, 3])  # how many times as often a publish fails

    def line(self) -> Pipeline:
        return assemble(self.settings, self._model)

    def run(self) -> None:
        """Anything may happen for some steps; then members go on in peace until all is read and committed."""
        for _ in range(self.random.randint(10, 150)):
            self._step()
        self.faulty = False
        for _ in range(TURNS):
            if all(self.broker.committed.get(p, 0) == len(log) for p, log in enumerate(self.broker.log)):
                break
            if not self.members:
                self._start()
            for member in list(self.members):
                self._turn(member)
        else:
            raise AssertionError(f"only this is committed: {self.broker.committed}")
        for member in list(self.members):
            self._kill(member)

    def stir(self) -> None:
        """A rebalance; perhaps somebody was put out of the group."""
        if self.broker.members:
            self.generation += 1
            if self.random.random() < 0.5:
                self.broker.fence(self.random.choice(self.broker.members))

    def _step(self) -> None:
        if not self.members or (len(self.members) < 3 and self.random.random() < 0.05):
            self._start()
        member = self.random.choice(self.members)
        luck = self.random.random()
        if luck < 0.03:
            self._kill(member)
        elif luck < 0.06:
            self._stop(member)
        elif luck < 0.1:
            self.stir()
        else:
            self._turn(member)

    def _start(self) -> None:
        self.generation += 1
        source = Source(self, self.random.randint(1, self._most))
        line, manifest, taken = self.line(), self._model.manifest, {member.slot for member in self.members}
        slot = next(slot for slot in self.random.sample(range(4), 4) if slot not in taken)
        identity = Identity("events", "", "group", line.features, line.store.window, line.store.features)
        opened: list[Snapshots] = []

        def snapshots() -> Snapshots:
            opened.append(PromptSnapshots(self._folder / str(slot), identity, 10**6))
            return opened[-1]

        ends = Ends(source, Sink(self, source), snapshots)
        metrics = Metrics(CollectorRegistry(), manifest, self.settings)
        health = Health(60, self.clock.monotonic)
        service = Service(self.settings, manifest, line, lambda: ends, metrics, health)
        self.members.append(Member(service, source, ends, slot, opened))

    def _turn(self, member: Member) -> None:
        try:
            member.service._turn(member.ends)
        except Killed:
            self._kill(member)

    def _stop(self, member: Member) -> None:
        """As `Service.run` ends."""
        member.service.stop()
        try:
            member.service._settle(member.ends)
        except Killed:
            self._kill(member)
            return
        member.ends.sink.close()
        member.service._snapshotting.close()
        member.source.close()
        self._gone(member)

    def _kill(self, member: Member) -> None:
        """Nobody leaves the group: it notices."""
        member.source.close()
        for snapshots in member.snapshots:
            snapshots.close()  # gives the folder back, as the end of a process does
        self._gone(member)

    def _gone(self, member: Member) -> None:
        self.generation += 1
        self.members.remove(member)


def _sections(random: Random, delivery: str) -> dict[str, Any]:
    return {
        "delivery": delivery,
        "dead_letters": {"max_ratio": None},
        "incidents": {
            "open_after": 2,
            "open_window": 3,
            "close_after": 2,
            "update_every": 5,
            "cooldown": random.choice([0, 0, 6]),
        },
        "recovery": {"snapshot_every": random.choice([0.001, 0.1])},
        "windows": {
            "max_gap": 30,
            "idle_timeout": 60,
            "max_streams": random.choice([2, 3, 4, 1000, 1000]),
            "stride": random.choice([1, 1, 2, 3]),
        },
    }


def _feed(random: Random, partition: int, names: list[str]) -> list[RawRecord]:
    """Runs of one stream's events, good and bad; with late ones, repeats, gaps, long silence and what is no event."""
    trouble = random.choice([0, 1, 3])
    kinds = {"calm": 35, "bad": 30, "worse": 10} | {
        kind: weight * trouble for kind, weight in {"late": 6, "again": 4, "gap": 3, "idle": 3, "junk": 4}.items()
    }
    steps, levels = {"gap": 31, "idle": 100, "again": 0}, {"bad": 1.2, "worse": 2.0}
    size, now = random.randint(20, 160), START
    made: list[RawRecord] = []
    while len(made) < size:
        (kind,) = random.choices(list(kinds), list(kinds.values()))
        stream = random.choice(names)
        for _ in range(random.randint(1, 4)):
            now += steps.get(kind, 1)
            offset = len(made)
            if kind == "junk":
                made.append(RawRecord("events", partition, offset, int(now * 1000), None, b"junk"))
                continue
            level = levels.get(kind, 0.5) + (offset / 7 if kind == "worse" else 0)
            when = now - random.choice([3, 3, 40, 90]) if kind == "late" else now
            made.append(record(partition, offset, stream, when, (level, level / 2 + 0.4)))
    return made


def _faulty_feed(random: Random, partition: int, names: list[str]) -> list[RawRecord]:
    runs = [(random.choice(KINDS), random.choice(names), random.randint(1, 9)) for _ in range(random.randint(5, 40))]
    return faulty(partition, runs)


def by_stream(told: Iterable[bytes]) -> _Streams:
    """Alerts as bytes, in their order, of each partition and stream."""
    found: defaultdict[tuple[int, str], list[bytes]] = defaultdict(list)
    for value in told:
        alert = alerts.parse(value)
        found[alert.evidence.partition, alert.stream].append(value)
    return dict(found)


def without_repeats(streams: _Streams) -> _Streams:
    return {stream: list(dict.fromkeys(told)) for stream, told in streams.items()}


@pytest.mark.parametrize("kind", ["plain", "faulty", "adapting"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_whatever_befalls_the_members_they_tell_what_one_alone_tells(
    seed: int, delivery: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte and in order, of each stream; at least once, with repeats that are the same to the byte."""
    world = World(seed, delivery, tmp_path, monkeypatch, kind)
    alone = [world.line().process(log) for log in world.broker.log]
    world.run()
    expected = by_stream(alert.to_bytes() for outcome in alone for alert in outcome.alerts)
    told = by_stream(record.value or b"" for record in world.broker.alerts)
    refused = [_origin(letter) for letter in world.broker.dead_letters]
    bad = sorted((r.record.partition, r.record.offset) for outcome in alone for r in outcome.rejects)
    if delivery == "exactly_once":
        assert told == expected
        assert sorted(refused) == bad
        left = {key: change.value for outcome in alone for key, change in outcome.states.items() if not change.quiet}
        assert world.broker.states == left
    else:
        assert without_repeats(told) == expected
        assert sorted(set(refused)) == bad


def _origin(letter: RawRecord) -> tuple[int, int]:
    told = {name: int(value or b"") for name, value in letter.headers if name in _PLACE}
    partition, offset = (told[name] for name in _PLACE)
    return partition, offset


def test_a_stream_that_was_loud_only_within_a_batch_is_said_to_be_quiet() -> None:
    """At least once, somebody who was killed here may have said otherwise, in a smaller batch and without a commit."""
    levels = [0.5] * 5 + [1.5] + [0.5] * 5
    feed = [record(0, offset, "a", START + offset, (level, level)) for offset, level in enumerate(levels)]
    states = pipeline().process(feed).states
    assert {key: change.quiet for key, change in states.items()} == {(0, "a"): True}
    killed = pipeline().process(feed[:6]).states
    assert {key: change.quiet for key, change in killed.items()} == {(0, "a"): False}
