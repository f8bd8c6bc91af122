"""The demo of a capture: labels against incidents, the shipped capture, and a real run."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor import config
from monitor.demo.attacks import Attack, Found, Promise, Verdict, judge
from monitor.demo.packets import ATTACKS, FOLDER, LABELS, NORMAL, PROMISE, attacks, lines
from monitor.demo.truth import Incident
from monitor.feeds import sources
from monitor.feeds.files import Mapping

ROOT = Path(__file__).parent.parent
START = datetime(2026, 11, 28, 12, tzinfo=UTC)
TRAIL = timedelta(seconds=5)
UNTOLD = "no incident of the port scan says how many times the usual 'distinct destination ports a second' was"
SCAN = "distinct destination ports a second"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


ATTACK = Attack("port scan", at(10), at(20), "10.0.0.7", "10.0.0.9")


def incident(first: float, last: float, stream: str = "10.0.0.7", summary: str = "") -> Incident:
    return Incident(at(first), at(first), at(last), False, "major", 2.5, "host.target_ports", stream, summary)


@pytest.mark.parametrize(
    ("first", "last", "stream", "tells"),
    [
        (12, 15, "10.0.0.7", True),  # the attacker
        (12, 15, "10.0.0.9", True),  # the victim
        (12, 15, "10.0.0.8", False),  # somebody else
        (5, 10, "10.0.0.7", True),  # touches its beginning
        (5, 9, "10.0.0.7", False),  # over before it
        (25, 30, "10.0.0.7", True),  # the window still holds its end
        (26, 30, "10.0.0.7", False),
    ],
)
def test_an_incident_tells_of_an_attack_on_or_by_its_host_while_it_lasts(
    first: float, last: float, stream: str, tells: bool
) -> None:
    verdict = judge([ATTACK], [incident(first, last, stream)], TRAIL)
    assert (len(verdict.found[0].incidents), len(verdict.false)) == ((1, 0) if tells else (0, 1))


def test_the_delay_is_that_of_the_earliest_incident() -> None:
    verdict = judge([ATTACK], [incident(15, 18), incident(13, 14, "10.0.0.9")], TRAIL)
    assert verdict.found[0].delay == timedelta(seconds=3)
    assert judge([ATTACK], [], TRAIL).found[0].delay is None


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ([f"10.0.0.7: {SCAN} 41 x the usual (90 % of the error)"], ""),
        (["10.0.0.9: packets sent a second 3 x the usual", f"10.0.0.7: {SCAN} 1,440 x the usual"], ""),
        ([], "the port scan led to no incident of 10.0.0.7 or 10.0.0.9"),
        (["10.0.0.9: packets sent a second 3 x the usual"], UNTOLD),
        ([f"10.0.0.7: {SCAN} 98 ports/s, usually 0"], UNTOLD),
    ],
)  # fmt: skip
def test_the_promise_is_that_each_attack_is_told_in_its_words(said: list[str], fault: str) -> None:
    found = Found(ATTACK, tuple(incident(12, 13, summary=one) for one in said))
    assert Promise({"port scan": SCAN}).broken(Verdict((found,), ())) == ([fault] if fault else [])


def test_the_promise_is_also_of_few_false_incidents() -> None:
    promise = Promise({}, false=1)
    assert promise.broken(Verdict((), (incident(1, 2),))) == []
    assert promise.broken(Verdict((), (incident(1, 2),) * 2)) == ["2 false incidents, promised at most 1"]


def test_each_incident_is_a_line_that_begins_with_its_host() -> None:
    verdict = judge([ATTACK], [incident(12, 13, summary="10.0.0.7: scans"), incident(50, 51, summary="b: odd")], TRAIL)
    assert lines(verdict) == [
        "12:00:10 to 12:00:20  port scan: 10.0.0.7 on 10.0.0.9",
        "  found after 2 s",
        "  major     host 10.0.0.7: scans",
        "false: host b: odd",
    ]
    assert lines(judge([ATTACK], [], TRAIL))[1:] == ["  missed"]


def test_the_capture_is_whole_small_and_holds_what_its_labels_say() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_500_000
    labelled = attacks(LABELS)
    assert {attack.name for attack in labelled} == set(PROMISE.words)
    feed = config.Feed.model_validate({"vectors": "hosts"})
    spans = []
    for path in (NORMAL, ATTACKS):
        source = sources.of_files([path], Mapping(), feed)
        times = [time for vectors in source.vectors() for time in vectors.time.tolist()]
        assert not list(source.tally.lines())
        spans.append((min(times), max(times)))
    assert spans[0][1] < spans[1][0]
    for attack in labelled:
        assert spans[1][0] < attack.begin.timestamp() < attack.end.timestamp() < spans[1][1]


def test_the_whole_run_keeps_its_promise(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_CACHE", str(tmp_path))
    command = [sys.executable, "-m", "monitor", "demo", "--packets", "--bootstrap", kafka]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kept its promise: 2 of 2 attacks named with their hosts" in done.stdout
    assert f"{SCAN} " in done.stdout
