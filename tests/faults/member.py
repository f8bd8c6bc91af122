"""`python -m tests.faults.member PLAN run -c FILE`: `monitor run -c FILE` as it is, with a knife at one of its arrows.

The product has no hooks for this: here its methods are wrapped before the command line starts. PLAN is JSON:
`arrow` = {"point": "send", "side": "before", "call": 3, "action": "kill", "after": 0}: at the third call that carries
something, this process kills (SIGKILL) or freezes (SIGSTOP) itself, or kills the broker (process id `broker`) `after`
some seconds. `broken` names a fault of order or of memory that the harness must catch. `file_limit` is the
largest file, in bytes, that this process may write: a disk that is full.
In its log it tells, on the clock that all processes of a machine share, when it scored windows of which partitions.
"""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from monitor.batch import Outcome
from monitor.cli import main
from monitor.kafka.sink import KafkaSink
from monitor.kafka.source import KafkaSource
from monitor.pipeline import Pipeline

Method = Callable[..., Any]
_ACTIONS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}


def tell(event: str, **facts: object) -> None:
    """One line of the log, written at once."""
    line = json.dumps({"event": event, "at": time.monotonic(), **facts}) + "\n"
    os.write(sys.stderr.fileno(), line.encode())


def wrap(owner: type, name: str, make: Callable[[Method], Method]) -> None:
    method = getattr(owner, name)
    setattr(owner, name, functools.wraps(method)(make(method)))


def trace() -> None:
    """Tells which partitions' windows were scored."""

    def make(process: Method) -> Method:
        def traced(self: Pipeline, records: Any) -> Any:
            outcome = process(self, records)
            if outcome.counts.windows:
                tell("scored", partitions=sorted({record.partition for record in records}))
            return outcome

        return traced

    wrap(Pipeline, "process", make)


def carries(point: str, arguments: tuple[Any, ...], result: Any) -> bool:
    """Whether this call had anything to do; an idle loop passes each arrow too."""
    if point == "poll":
        return bool(result.records)
    return bool(arguments[0]) if arguments else True


def arm(point: str, side: str, call: int, action: str, after: float, broker: int) -> None:
    """The knife: at the `call`-th call of the point that carries something, before or after it is done."""
    points = {
        "poll": (KafkaSource, "poll"),
        "process": (Pipeline, "process"),
        "send": (KafkaSink, "_send_messages"),
        "offsets": (KafkaSink, "_send_offsets"),
        "commit": (KafkaSink, "_commit_transaction"),
        "group commit": (KafkaSource, "commit"),
    }
    calls = 0

    def cut() -> None:
        tell("injected", point=point, side=side, call=call, action=action)
        if action == "kill broker":
            threading.Timer(after, os.kill, (broker, signal.SIGKILL)).start()
        else:
            os.kill(os.getpid(), _ACTIONS[action])

    def make(method: Method) -> Method:
        def armed(self: Any, *arguments: Any, **named: Any) -> Any:
            nonlocal calls
            if side == "before" and carries(point, arguments, None):
                calls += 1
                if calls == call:
                    cut()
            result = method(self, *arguments, **named)
            if side == "after" and carries(point, arguments, result):
                calls += 1
                if calls == call:
                    cut()
            return result

        return armed

    owner, name = points[point]
    wrap(owner, name, make)


def publish_offsets_first() -> None:
    """Broken on purpose: the offsets are committed, then what they came from is published."""

    def make(publish: Method) -> Method:
        def broken(self: KafkaSink, outcome: Outcome, checkpoints: Any) -> Any:
            committed = publish(self, Outcome(), checkpoints)
            publish(self, outcome, {})
            return committed

        return broken

    wrap(KafkaSink, "publish", make)


def keep_memory() -> None:
    """Broken on purpose: what was in memory when a partition was lost is still there when it comes back."""

    def make(_drop: Method) -> Method:
        def broken(self: Pipeline, partition: int) -> None:
            tell("kept", partition=partition)

        return broken

    wrap(Pipeline, "drop", make)


BROKEN: dict[str, Callable[[], None]] = {"offsets first": publish_offsets_first, "memory kept": keep_memory}


def start(plan: dict[str, Any], arguments: list[str]) -> None:
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # where it stands, when the harness waits in vain
    if limit := plan.get("file_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # Python ignores the signal: a write fails (EFBIG)
    if broken := plan.get("broken"):
        BROKEN[broken]()
    trace()
    if arrow := plan.get("arrow"):
        arm(**arrow, broker=plan["broker"])
    main(args=arguments, prog_name="monitor")


if __name__ == "__main__":
    start(json.loads(sys.argv[1]), sys.argv[2:])
