"""Where the member's time goes, told twice: by its own metrics, and by a sampling profiler that watches from outside.

Both see the same seconds of the same backlog. A sample of the main thread belongs to the outermost function of a stage
that is in it; what waits is counted too, as the stages are wall time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.performance import environments
from benchmarks.performance.bench import Bench, Member, console
from benchmarks.performance.parts.cost import STREAMS
from benchmarks.performance.processes import START_SECONDS
from benchmarks.performance.workload import INTERVAL, send
from monitor.metrics import STAGES

SAMPLES = 200
"""A second."""
FRAMES = {
    "poll (monitor/kafka/source.py": "poll",
    "decode (monitor/events.py": "decode",
    "push (monitor/windows.py": "window",
    "score (monitor/detector.py": "score",
    "_judge (monitor/pipeline.py": "incidents",
    "_parts (monitor/pipeline.py": "incidents",
    "update (monitor/incidents.py": "incidents",
    "tell (monitor/outputs.py": "outputs",
    "publish (monitor/kafka/sink.py": "publish",
}
"""The functions whose calls the stages time."""
OTHER = "between the stages"
THREADS = "the client's threads"
WAITING = ("threading.py", "selectors.py", "socketserver.py")
"""Files whose functions wait for others, and use no CPU."""
TOP = 12


def measure(bench: Bench, folder: Path) -> dict[str, Any]:
    spy = environments.profiler(folder)
    topic, group = bench.topic("profile"), f"profile-{bench.number('group')}"
    warm, seconds = STREAMS * 50, max(6, round(bench.size.events / 4000))
    # More than it can take in that time: what has nothing left to do is not worth a sample.
    count = 30_000 * seconds
    send(bench.load(topic, STREAMS, 0, warm + count, time.time() - INTERVAL * count / STREAMS))
    member = bench.member(topic, group)
    with member.process:
        while bench.committed(group) < warm:
            member.process.check()
            time.sleep(0.05)
        raw, log = bench.scratch / "profile.txt", bench.scratch / "spy.log"
        command = [
            str(spy),
            "record",
            "--pid",
            str(member.process.pid),
            "--duration",
            str(seconds),
            "--output",
            str(raw),
        ]
        command += ["--rate", str(SAMPLES), "--format", "raw", "--idle", "--threads", "--full-filenames"]
        with log.open("wb") as output:
            watching = subprocess.Popen(command, stdout=output, stderr=output)
            while watching.poll() is None and "Sampling" not in log.read_text(encoding="utf-8", errors="replace"):
                time.sleep(0.01)
            before, begun = _at_commit(bench, member, group)
            time.sleep(max(0.0, seconds - 1))
            after, ended = _at_commit(bench, member, group)
            wall = ended - begun
            if watching.wait(60):
                sys.exit(f"py-spy failed: {log.read_text(encoding='utf-8')[-1000:]}")
        left = warm + count - bench.committed(group)
    told = {
        s: after[f"monitor_stage_seconds_sum/{s}"] - before.get(f"monitor_stage_seconds_sum/{s}", 0) for s in STAGES
    }
    sampled, active, top = _read(raw)
    total = sum(sampled.values()) or 1
    ours = {stage: value / wall for stage, value in told.items()} | {OTHER: 1 - sum(told.values()) / wall}
    theirs = {stage: sampled[stage] / total for stage in (*STAGES, OTHER)}
    largest = max(abs(ours[stage] - theirs[stage]) for stage in ours)
    console.print(f"largest difference of a stage's share: {largest:.1%}; {left:,} events were left", markup=False)
    return {
        "seconds": wall,
        "samples": total,
        "left": left,
        "metrics": ours,
        "profiler": theirs,
        "active": {stage: count / (sum(active.values()) or 1) for stage, count in sorted(active.items())},
        "difference": largest,
        "top": [[name, count / total] for name, count in top.most_common(TOP)],
    }


def _at_commit(bench: Bench, member: Member, group: str) -> tuple[dict[str, float], float]:
    """The metrics right after a batch, and when that was: the stages of a batch are told when all of it is done."""
    done, deadline = bench.committed(group), time.monotonic() + START_SECONDS
    while bench.committed(group) == done:
        member.process.check()
        if time.monotonic() > deadline:
            sys.exit("the profiled member commits nothing more: it has drained its backlog, or it is stuck")
        time.sleep(0.005)
    now = time.perf_counter()
    return member.metrics(), now


def _read(raw: Path) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Samples of the main thread by stage; those of all threads that did not wait, by stage; the main thread's by the
    function that was running.
    """
    stages: Counter[str] = Counter()
    active: Counter[str] = Counter()
    running: Counter[str] = Counter()
    for line in raw.read_text(encoding="utf-8").splitlines():
        stack, _, text = line.rpartition(" ")
        frames, count = [_short(frame) for frame in stack.split(";")], int(text)
        stage = THREADS
        if any("MainThread" in frame for frame in frames[:2]):
            stage = next((FRAMES[start] for frame in frames for start in FRAMES if _is(frame, start)), OTHER)
            stages[stage] += count
            running[frames[-1]] += count
        if not any(f"{file}:" in frames[-1] for file in WAITING):
            active[stage] += count
    return stages, active, running


def _is(frame: str, start: str) -> bool:
    """Whether a frame is that function, of whichever class."""
    name, _, place = frame.partition(" (")
    return f"{name.rpartition('.')[2]} ({place}".startswith(start)


def _short(frame: str) -> str:
    """`poll (/a/b/monitor/kafka/source.py:12)` with the path from the package on."""
    name, _, place = frame.partition(" (")
    for root, kept in (("/site-packages/", ""), ("/monitor/", "monitor/")):
        if root in place:
            return f"{name} ({kept}{place.rpartition(root)[2]}"
    return f"{name} ({place.rpartition('/')[2]}" if place else frame
