"""The demo: labels against incidents, the verdict, the shipped data, and real runs, whole and cut short."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.admin import KafkaAdminClient

from monitor.alerts import Alert, Evidence, Feature, moment
from monitor.batch import RawRecord
from monitor.config import Events
from monitor.demo import data, place, report
from monitor.demo.play import Timeline
from monitor.demo.truth import Comparison, Event, Finding, Incident, Promise, compare, incidents, labelled_events
from monitor.demo.watch import Metrics
from monitor.errors import MonitorError, UsageError
from monitor.events import Decoder
from monitor.kafka import history
from monitor.kafka.feed import Feed
from monitor.local_kafka.jars import fetch
from tests.brokers import Topics

ROOT = Path(__file__).parent.parent
TRAIL = timedelta(minutes=5)
START = datetime(2026, 3, 1, tzinfo=UTC)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def event(first: float, last: float, number: int = 1) -> Event:
    return Event(number, at(first), at(last))


def incident(first: float, last: float, opened: float | None = None) -> Incident:
    return Incident(at(first if opened is None else opened), at(first), at(last), False, "major", 2.5, "f15")


@pytest.mark.parametrize(
    ("started", "ended", "finds"),
    [
        (10, 20, True),  # the event itself
        (12, 13, True),  # inside it
        (5, 30, True),  # around it
        (5, 10, True),  # touches its first row
        (5, 9, False),  # ends before it
        (20, 22, True),  # touches its last row
        (25, 40, True),  # begins while the window still holds its last row
        (26, 40, False),  # begins later
    ],
)
def test_an_incident_finds_an_event_that_it_overlaps_or_trails_by_a_window(
    started: float, ended: float, finds: bool
) -> None:
    result = compare([event(10, 20)], [incident(started, ended)], TRAIL)
    assert (result.found, len(result.false)) == ((1, 0) if finds else (0, 1))


def test_the_delay_is_from_the_first_row_of_the_event_to_the_message_that_opened_the_earliest_incident() -> None:
    early, late = incident(11, 12, opened=13), incident(15, 18, opened=17)
    [finding] = compare([event(10, 20)], [late, early], TRAIL).findings
    assert finding.incident == early
    assert finding.delay == timedelta(minutes=3)
    assert Finding(event(10, 20), None).delay is None


def test_one_long_incident_finds_every_event_it_covers() -> None:
    result = compare([event(10, 20), event(30, 40, 2), event(90, 95, 3)], [incident(15, 35)], TRAIL)
    assert [finding.incident is not None for finding in result.findings] == [True, True, False]
    assert result.false == ()


spans = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), max_size=8)


@given(spans, spans, st.integers(0, 30))
def test_every_incident_finds_something_or_is_false_and_a_longer_trail_never_finds_less(
    labelled: list[tuple[int, int]], told: list[tuple[int, int]], trail: int
) -> None:
    events = [event(first, first + more, number) for number, (first, more) in enumerate(labelled, 1)]
    found = [incident(first, first + more) for first, more in told]
    short, long = compare(events, found, timedelta(0)), compare(events, found, timedelta(minutes=trail))
    for result in (short, long):
        finders = {finding.incident for finding in result.findings} - {None}
        assert finders.isdisjoint(result.false)
        assert set(result.false) <= set(found)
        assert (result.found == 0) == (len(result.false) == len(found)) or not events
    assert long.found >= short.found
    assert len(long.false) <= len(short.false)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_labelled_events_cover_exactly_the_labelled_rows(label: list[bool]) -> None:
    time_of = np.arange(len(label), dtype=np.float64) * 60
    found = labelled_events(time_of, np.array(label, np.float32))
    covered = [any(one.start <= moment(when) <= one.end for one in found) for when in time_of]
    assert covered == label
    assert all(one.end < other.start - timedelta(minutes=1) for one, other in pairwise(found))
    assert [one.number for one in found] == list(range(1, len(found) + 1))


def alert(name: str, status: str, minute: float, ended: float | None = None, score: float = 2.0) -> Alert:
    return Alert(
        id=f"{name}-{status}-{minute}",
        incident=name,
        kind="anomaly",
        status=status,  # type: ignore[arg-type]  # one of the three, given by the tests below
        reason="recovered" if status == "closed" else None,
        stream="s",
        time=at(minute),
        started_at=at(1),
        ended_at=None if ended is None else at(ended),
        severity="major",
        score=score,
        error=2,
        threshold=1,
        features=(Feature(name="f01", observed=3, expected=1, contribution=0.5),),
        evidence=Evidence(topic="t", partition=0, first_offset=0, last_offset=1, model="m", config="c"),
    )


def test_the_messages_of_an_incident_in_any_order_and_twice_are_one_incident() -> None:
    told = [alert("a", "closed", 20, ended=12, score=7), alert("a", "opened", 3), alert("a", "updated", 9)] * 2
    told += [alert("b", "opened", 40), alert("b", "updated", 50)]
    closed, still_open = incidents(told)
    assert (closed.opened_at, closed.ended_at, closed.open, closed.score) == (at(3), at(12), False, 7)
    assert (still_open.opened_at, still_open.ended_at, still_open.open) == (at(40), at(50), True)


def test_labels_and_incidents_are_told_in_the_order_of_their_times() -> None:
    lines: list[str] = []
    timeline = Timeline([event(2, 10), event(30, 40, 2)], lines.append)
    timeline.tell(alert("a", "opened", 4))
    timeline.tell(alert("a", "updated", 8))
    timeline.tell(alert("a", "closed", 20, ended=12))
    timeline.reach(at(35))
    told = [" ".join(line[16:].split()[:3]) for line in lines]
    assert told == ["event 1 begins", "opened major 2.0", "event 1 ends", "closed major 2.0", "event 2 begins"]
    assert lines == sorted(lines)


def outcome(found: int, false: int, of: int = 7) -> Comparison:
    one = incident(1, 2)
    findings = tuple(Finding(event(1, 2, number), one if number <= found else None) for number in range(1, of + 1))
    return Comparison(findings, (one,) * false)


EQUAL = report.Check("records read", 3, 3, "produced")


@pytest.mark.parametrize(
    ("comparison", "checks", "said"),
    [
        (outcome(5, 2), [EQUAL], []),
        (outcome(7, 0), [EQUAL], []),
        (outcome(4, 0), [EQUAL], ["4 of 7 labelled events found, promised at least 5"]),
        (outcome(7, 4), [EQUAL], ["4 false incidents, promised at most 3"]),
        (outcome(0, 9), [EQUAL], ["0 of 7 labelled events found", "9 false incidents"]),
        (
            outcome(7, 0),
            [report.Check("records read", 8002, 8003, "produced")],
            ["records read: 8002, but produced 8003"],
        ),
    ],
)
def test_the_verdict_names_each_promise_that_was_not_kept(
    comparison: Comparison, checks: Sequence[report.Check], said: list[str]
) -> None:
    fault = report.fault(comparison, checks, Promise())
    assert bool(fault) == bool(said)
    for part in said:
        assert part in fault


def test_metrics_are_summed_over_the_series_that_have_the_labels() -> None:
    scrape = Metrics(
        '# HELP a_total x\na_total{status="opened",severity="major"} 2.0\n'
        'a_total{status="opened",severity="critical"} 1.0\n'
        'a_total{status="closed",severity="major"} 4.0\na_total_more 9\n'
        'h_bucket{le="0.1"} 1.0\nh_bucket{le="0.5"} 3.0\nh_bucket{le="+Inf"} 3.0\nh_count 3.0\n'
    )
    assert scrape.total("a_total", 'status="opened"') == 3
    assert scrape.total("a_total") == 7
    assert scrape.within("h") == 0.5


def test_the_shipped_data_is_what_its_page_says() -> None:
    page = (data.FOLDER / "README.md").read_text(encoding="utf-8")
    for path in (data.NORMAL, data.LABELLED):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in page
        with gzip.open(path, "rt", encoding="ascii") as file:
            header, *lines = file.read().splitlines()
        columns = ["time", "stream", *(f"f{number:02}" for number in range(38))]
        assert header.split(",") == (columns if path == data.NORMAL else [*columns, "label"])
        assert len(lines) == 8000
        times = np.array([int(line.partition(",")[0]) for line in lines])
        assert set(np.diff(times)) == {int(data.INTERVAL)}
        assert {line.split(",")[1] for line in lines} == {"machine-1-7"}
    assert "MIT License" in (data.FOLDER / "LICENSE.txt").read_text(encoding="ascii")


def test_the_labelled_part_has_seven_events_and_three_records_that_are_rejected_for_the_reasons_named() -> None:
    rows, events = data.labelled("events")
    minutes = [(one.end - one.start) / timedelta(minutes=1) + 1 for one in events]
    assert minutes == [15, 26, 31, 3, 41, 4, 31]
    assert [row.time for row in rows] == sorted(row.time for row in rows)
    records = [row.record._replace(timestamp=round(row.time * 1000)) for row in rows]
    decoded = Decoder([f"f{number:02}" for number in range(38)], Events()).decode(records)
    assert len(decoded.batch) == 8000
    assert tuple(reject.reason for reject in decoded.rejects) == data.POISON_REASONS


def test_a_feed_gives_each_record_its_key_headers_and_timestamp_or_the_time_of_sending(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    name = topics.create("fed")
    file = tmp_path / "monitor.yaml"
    file.write_text(place.configuration(kafka, "x", tmp_path, 1234), encoding="utf-8")
    settings = place.load(file)
    before = time.time() * 1000
    with Feed(settings.kafka) as feed:
        feed.send(
            [
                RawRecord(name, 0, 0, 1_600_000_000_000, b"k", b"old", [("h", b"v")]),
                RawRecord(name, 0, 0, -1, None, b"now"),
            ]
        )
    old, now = [record for batch in history.read(settings.kafka, name) for record in batch]
    assert (old.key, old.value, old.timestamp, list(old.headers)) == (b"k", b"old", 1_600_000_000_000, [("h", b"v")])
    assert (now.key, now.value) == (None, b"now")
    assert before - 1000 <= now.timestamp <= time.time() * 1000 + 1000


def test_every_topic_of_a_run_and_its_group_carry_its_id(tmp_path: Path) -> None:
    file = tmp_path / "monitor.yaml"
    file.write_text(place.configuration("localhost:9092", "ab12cd", tmp_path, 1234), encoding="utf-8")
    settings = place.load(file)
    topics = [getattr(settings.topics, purpose).name for purpose in type(settings.topics).model_fields]
    assert len(set(topics)) == 4
    assert all("ab12cd" in name for name in [*topics, settings.kafka.group])


@pytest.mark.parametrize("variable", ["MONITOR_TOPICS__INPUT__NAME", "MONITOR_KAFKA__GROUP", "MONITOR_WEB__PORT"])
def test_an_environment_that_would_point_the_demo_at_something_else_is_refused(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "monitor.yaml"
    file.write_text(place.configuration("localhost:9092", "x", tmp_path, 1234), encoding="utf-8")
    monkeypatch.setenv("MONITOR_TRAINING__EPOCHS", "2")
    assert place.load(file).training.epochs == 2
    monkeypatch.setenv(variable, "9999")
    with pytest.raises(UsageError, match=variable):
        place.load(file)


def test_a_second_demo_at_the_same_time_is_refused_and_what_a_killed_one_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONITOR_CACHE", str(tmp_path / "cache"))
    with place.folder(keep=True) as path:
        (path / "left").touch()
        with pytest.raises(MonitorError, match="another demo is running"), place.folder(keep=False):
            pass
    assert (path / "left").exists()
    with place.folder(keep=False) as path:
        assert list(path.iterdir()) == []
    assert not path.exists()


class Run:
    """`monitor demo` as a program, in a home, cache, temporary and working folder of its own."""

    def __init__(self, base: Path, *arguments: str, epochs: int, bootstrap: str | None) -> None:
        self.folders = {name: base / name for name in ("home", "cache", "tmp", "cwd")}
        for path in self.folders.values():
            path.mkdir(exist_ok=True)
        if bootstrap is None:
            jars = self.folders["cache"] / fetch().name
            if not jars.exists():
                jars.symlink_to(fetch())
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MONITOR_", "KAFKA_B"))}
        environment |= {
            "HOME": str(self.folders["home"]),
            "MONITOR_CACHE": str(self.folders["cache"]),
            "TMPDIR": str(self.folders["tmp"]),
            "PYTHONPATH": str(ROOT),
            "MONITOR_TRAINING__EPOCHS": str(epochs),
        }
        if bootstrap is not None:
            environment["KAFKA_BOOTSTRAP"] = bootstrap
        self.output = base / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "monitor", "demo", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self.folders["cwd"],
                start_new_session=True,  # a process group of its own, as a terminal's
            )

    @property
    def said(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def processes(self) -> list[str]:
        """Command lines of the processes, ours excepted, that name this run's cache folder."""
        return running(str(self.folders["cache"]))


def running(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if text in line:
            found.append(line)
    return found


@contextmanager
def demo(base: Path, *arguments: str, epochs: int = 1, bootstrap: str | None = None) -> Iterator[Run]:
    run = Run(base, *arguments, epochs=epochs, bootstrap=bootstrap)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait()


def of_this_run(kafka: str, run_id: str) -> list[str]:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        groups = [group["group_id"] for group in admin.list_groups()]
        return [name for name in [*admin.list_topics(), *groups] if run_id in name]
    finally:
        admin.close()


def test_a_whole_run_on_a_named_broker_agrees_with_itself_and_leaves_nothing(kafka: str, tmp_path: Path) -> None:
    """Learning is cut to two epochs, so the verdict is the run's own; exit code and verdict must say the same."""
    with demo(tmp_path, "--pace", "3000", epochs=2, bootstrap=kafka) as run:
        code = run.process.wait(90)
        said = run.said
        assert code == (0 if "kept its promise" in said else 1), said
        assert ("error: the demo fell short of its promise" in said) == (code == 1), said
        assert said.count("\nok  ") == 6, said
        assert "WRONG" not in said
        assert "exit code 0 after" in said
        assert all(f"event {number} ends" in said for number in range(1, 8))
        assert all(f"dead letter  {reason}" in said for reason in data.POISON_REASONS)
        assert re.search(r"opened  +(warning|major|critical) .*\n(.*\n)*.*closed  ", said), said
        assert f"A broker that is running: {kafka}" in said
        assert run.processes() == []
        assert of_this_run(kafka, str(re.findall(r"demo-([0-9a-f]{6})", said)[0])) == []
        assert [path.name for path in run.folders["cache"].iterdir()] == ["demo.lock"]
        for name in ("home", "tmp", "cwd"):
            assert list(run.folders[name].iterdir()) == [], name


@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [
        ("epoch 1/", signal.SIGTERM, 143),  # while it learns
        ("event time", signal.SIGINT, 130),  # Ctrl+C while the service runs
        ("event time", signal.SIGKILL, -9),
    ],
)
def test_cut_at_any_stage_no_process_of_it_remains(
    stage: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with demo(tmp_path, epochs=50 if stage == "epoch 1/" else 1) as run:
        run.wait_for(stage)
        assert any("kafka.Kafka" in line for line in run.processes())
        if number == signal.SIGINT:
            os.killpg(run.process.pid, number)  # as the terminal does: to all of its group
        else:
            run.process.send_signal(number)
        assert run.process.wait(30) == code, run.said
        deadline = time.monotonic() + 5
        while run.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert run.processes() == []
        assert (run.folders["cache"] / "demo").exists() == (number == signal.SIGKILL)
        assert "Traceback" not in run.said
