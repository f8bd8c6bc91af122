"""The loop of `monitor feed`: vectors are asked for when their turn has come, sent, and counted once acknowledged."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from monitor.feeds.pacing import Pace
from monitor.feeds.sources import Source
from monitor.feeds.vectors import Vectors, records
from monitor.kafka.feed import Feed

TOGETHER = 2000
"""Events of one call to the sink: what is in memory beside the source's own batch."""
_NAP = (0.01, 0.2)
"""Shortest and longest wait for the next event, s: how late one may be, so that many go together; and how late a wish
to stop is heard."""


class Sink(Protocol):
    def send(self, vectors: Vectors, /) -> None:
        """Returns when they are safe; that it waits is the back pressure."""


class StandardOutput:
    """NDJSON, one event a line."""

    def send(self, vectors: Vectors, /) -> None:
        sys.stdout.buffer.write(b"".join([(record.value or b"") + b"\n" for record in records(vectors, "")]))
        sys.stdout.buffer.flush()


class InputTopic:
    """Events on the input topic, in the codec that the service reads."""

    def __init__(self, producer: Feed, topic: str, codec: Literal["json", "msgpack"]) -> None:
        self._producer = producer
        self._topic = topic
        self._codec = codec

    def send(self, vectors: Vectors, /) -> None:
        self._producer.send(list(records(vectors, self._topic, self._codec)))


class Passes:
    """The vectors of a source, pass after pass where it is looped, each pass after the one before it in time."""

    def __init__(self, source: Source, *, loop: bool, now: float | None) -> None:
        """With `now` the first event is at that time, s since the Unix epoch; otherwise at its own."""
        self._source = source
        self._loop = loop
        self._now = now

    def __iter__(self) -> Iterator[Vectors]:
        shift: float | None = None if self._now is not None else 0.0
        while True:
            first, last, count = np.inf, -np.inf, 0
            for vectors in self._source.vectors():
                if not len(vectors):
                    continue
                if shift is None:
                    shift = (self._now or 0.0) - float(vectors.time[0])
                first, last = min(first, float(vectors.time.min())), max(last, float(vectors.time.max()))
                count += len(vectors)
                yield replace(vectors, time=vectors.time + shift) if shift else vectors
            if not self._loop or not count:
                return
            # the next pass begins one usual interval after this one's end
            shift = (shift or 0.0) + (last - first) + max((last - first) / max(count - 1, 1), 1e-3)


@dataclass(slots=True)
class Told:
    """What came of it."""

    sent: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def next(self) -> int:
        """The number of the first event that was not sent."""
        return self.skipped + self.sent


def drive(
    vectors: Iterator[Vectors],
    sink: Sink,
    pace: Pace,
    told: Told,
    *,
    begin: int,
    stop: Callable[[], bool],
    progress: Callable[[Told], None],
) -> None:
    """Send all vectors from number `begin` on, each when it is due, until `stop`; `told` is true at any moment."""
    start: float | None = None
    for some in vectors:
        if stop():
            return
        passed = min(begin - told.skipped, len(some))
        told.skipped += passed
        here = some.part(passed, len(some))
        if not len(here):
            progress(told)
            continue
        start = time.monotonic() if start is None else start
        due = start + pace.due(here.time)
        at = 0
        while at < len(here):
            if stop():
                return
            now = time.monotonic()
            ready = int(np.searchsorted(due, now, side="right"))
            if ready <= at:
                progress(told)
                time.sleep(min(max(float(due[at]) - now, _NAP[0]), _NAP[1]))
                continue
            until = min(ready, at + TOGETHER)
            sink.send(here.part(at, until))
            told.sent += until - at
            told.seconds = time.monotonic() - start
            at = until
            progress(told)


class Display(AbstractContextManager["Display"]):
    """Progress on a terminal: how much, how fast, and until when. Elsewhere nothing but the end is told."""

    def __init__(self, source: Source, console: Console | None = None) -> None:
        self._source = source
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = [BarColumn(20), TextColumn("{task.description}")]
            ends = [TimeRemainingColumn()] if self._source.total else []
            self._progress = Progress(*columns, *ends, console=self._console, transient=True)
            self._progress.start()
            self._task = self._progress.add_task("waiting for the first event", total=self._source.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, told: Told) -> None:
        if self._progress is not None:
            text = f"{told.sent:,} events  {rate(told)}" if told.sent else f"passing over {told.skipped:,}"
            done = self._source.position() if self._source.total else None
            self._progress.update(self._task, description=text, completed=done)

    def stopping(self) -> None:
        self._console.print("stopping after these events (once more: end at once)", markup=False)


def rate(told: Told) -> str:
    return f"{told.sent / told.seconds:,.0f} events/s" if told.seconds > 0 else "- events/s"
