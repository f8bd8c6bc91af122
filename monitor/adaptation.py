"""Slow change, learned while it flows: which windows may enter a stream's level, and when a shift becomes the level.

Once in each span of T usual intervals a stream's window may enter: the first one whose closing event is in the span, so
that at the usual pace windows do not share events. Spans are counted in event time and begin at another moment for each
stream, as those of `windows.stride`; whether a window is due follows from its event and the one before it, and nothing
is known of a span that is not over. So there is nothing to lose in a crash but what the state topic holds.

    quiet stream     the window's errors enter its level, unless the window must not
    open anomaly     they enter the anomaly's course; a steady one that is old enough is absorbed: it becomes the level
    anything else    nothing

What is learned from a window counts for the windows behind it, whatever the batch: `parts` cuts one where a stream
would meet what it has just learned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor import config
from monitor.batch import Batch, Float64, Int64, Scores, Windows
from monitor.drift import Drifts
from monitor.incident_state import Incident, Point
from monitor.incidents import Incidents, Told
from monitor.level import Course, ratios
from monitor.level_state import Level, Shift
from monitor.levels import Key, Levels, Prior
from monitor.windows import Step

Bools = NDArray[np.bool_]

SETTLED = 3
"""Windows in a row that must be normal at a level before it is taken: each is compared with those before it alone."""
STEADY = 0.5
"""And for so much of the time after which a shift is absorbed: longer than what only looks steady for a while."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a step within which no stream meets what it learns in it."""

    step: Step
    scores: Scores
    due: Sequence[int]  # places among the part's windows


@dataclass(frozen=True, slots=True)
class Pace:
    """When windows are due; T window length in events."""

    window: int  # T
    interval: float  # usual s between two events
    stride: int  # events from one window to the next

    def span(self, time: Float64, phase: Float64) -> Float64:
        """(N,) number of the span that each time is in; `phase` (N,) is the streams', 0 to 1."""
        unit = self.stride * self.interval  # windows come on these: a span is made of whole ones
        most = -(-self.window // self.stride)
        place = np.floor((time + phase * unit) / unit)
        return np.asarray(np.floor((place + np.floor(phase * most)) / most), np.float64)


class Adaptation:
    """The rules; what is learned is in the levels."""

    def __init__(
        self,
        rules: config.Adaptation,
        prior: Prior,
        levels: Levels,
        incidents: Incidents,
        pace: Pace,
        threshold: float,
        lowest: Float64,
        highest: Float64,
        update_every: float,
    ) -> None:
        """What is outside of `lowest` to `highest` (F,), source units, never enters a level."""
        self._absorb_after = rules.absorb_after
        self._half_life = rules.half_life
        self._prior = prior
        self._levels = levels
        self._incidents = incidents
        self._pace = pace
        self._whole = pace.window * pace.interval  # s that a window is long
        self._threshold = threshold
        self._lowest, self._highest = lowest, highest
        self._drifts = Drifts(incidents.teller, rules.drift_factor, update_every)

    def parts(self, batch: Batch, step: Step, scores: Scores, phase: Float64) -> Iterator[Part]:
        """Cuts a step, as said above; `phase` is by slot. The first part has the departures."""
        windows = step.windows
        for gone in step.departures:
            self._levels.leave((gone.partition, gone.stream), int(batch.offset[gone.row]))
        self._levels.meet(batch, windows)
        due = self._due(batch, windows, phase)
        start, returns = 0, step.returns
        ends = _ends(windows.slot, due)
        for end in ends:
            rows = slice(start, end)
            part = windows[rows]
            last = end == ends[-1]
            mine = returns if last else tuple(back for back in returns if back.row <= int(part.row[-1]))
            returns = returns[len(mine) :]
            departures = step.departures if start == 0 else ()
            yield Part(
                replace(step, windows=part, departures=departures, returns=mine),
                scores[rows],
                np.flatnonzero(due[rows]).tolist(),
            )
            start = end

    def learn(self, batch: Batch, part: Part, barred: Collection[int]) -> list[Told]:
        """What the due windows of a part, once they are judged, lead to. Those at the places `barred` do not enter."""
        told: list[Told] = []
        windows, errors = part.step.windows, part.scores.feature_error
        for i in part.due:
            row = int(windows.row[i])
            key = (int(batch.partition[row]), batch.stream[row])
            point = Point(row, float(batch.time[row]), int(batch.offset[row]))
            level, heard = self._levels.get(key), self._incidents.heard(key)
            known = -1 if level is None else level.changed.offset
            if i in barred or point.offset <= known or point.offset < heard.offset:
                continue  # or it was learned from before: at least once, state may be newer than the offsets
            ratio = ratios(errors[i], self._prior.typical)
            incident = self._incidents.anomaly(key)
            slot = int(windows.slot[i])
            if incident is not None:
                told += self._follow(key, slot, point, incident, ratio, windows, i, part.scores)
            elif self._incidents.quiet(key):
                told += self._enter(key, slot, point, ratio, windows, i, part.scores)
        return told

    def _due(self, batch: Batch, windows: Windows, phase: Float64) -> Bools:
        """(W,) whether a window is the first of its stream in a span."""
        if windows.timing is None:
            raise ValueError("windows that do not know their timing cannot be adapted to")
        time, shifted = batch.time[windows.row], phase[windows.slot]
        before = time - windows.timing.interval
        return np.asarray(self._pace.span(time, shifted) > self._pace.span(before, shifted), np.bool_)

    def _enter(
        self, key: Key, slot: int, point: Point, ratio: Float64, windows: Windows, i: int, scores: Scores
    ) -> list[Told]:
        """A window of a quiet stream."""
        known = self._levels.get(key)
        now = np.zeros(len(ratio)) if known is None else self._levels.log(known)
        if known is not None and point.time - known.stirred < self._whole:
            return []  # it still has events of a time that was not quiet
        if self._levels.error_at(scores.feature_error[i], now) > self._threshold:
            return []  # a gate made it normal
        enters = self._inside(windows, i)
        if not enters.any():
            return []
        level = self._levels.made(key)
        level.course = None
        keep = 0.5 ** ((point.time - level.learned) / self._half_life)
        (level.own if level.shift is None else level.shift.errors).learn(ratio, enters, keep)
        level.learned = point.time
        if level.shift is not None:
            own = level.own.shrunk(self._prior.windows, self._prior.limit)
            back = self._levels.error_at(scores.feature_error[i], own) <= self._threshold
            level.home = level.home + 1 if back else 0
            if level.home >= SETTLED:
                level.shift, level.home = None, 0
        return self._change(key, slot, level, point)

    def _follow(
        self,
        key: Key,
        slot: int,
        point: Point,
        incident: Incident,
        ratio: Float64,
        windows: Windows,
        i: int,
        scores: Scores,
    ) -> list[Told]:
        """A window of an open anomaly."""
        if self._absorb_after is None or (windows.missing is not None and windows.missing[i].any()):
            return []
        level = self._levels.made(key)
        course = level.course
        if course is None or course.began != incident.started.offset:
            course = level.course = Course.empty(incident.started.offset, len(ratio))
            keep = 0.0
        else:
            now = course.errors.mean.astype(np.float64) + course.margin(self._prior.spread)
            fits = self._levels.error_at(scores.feature_error[i], now) <= self._threshold
            course.settled = course.settled + 1 if fits else 0
            course.since = point.time if course.settled <= 1 else course.since
            keep = 0.5 ** ((point.time - level.changed.time) / self._absorb_after)
        course.follow(ratio, keep)
        told: list[Told] = []
        old = point.time - incident.started.time >= self._absorb_after
        steady = course.settled >= SETTLED and point.time - course.since >= STEADY * self._absorb_after
        if old and steady:
            told.append(Told(self._incidents.absorb(key, point), point.row))
            level.shift, level.course, level.home = Shift(course.errors, course.margin(self._prior.spread)), None, 0
            level.learned = point.time
        return told + self._change(key, slot, level, point)

    def _change(self, key: Key, slot: int, level: Level, point: Point) -> list[Told]:
        level.changed = point
        self._levels.put(key, slot)
        now = np.where(self._prior.counts, self._levels.log(level), 0.0)
        return [Told(alert, point.row) for alert in self._drifts.step(key, level, now, point)]

    def _inside(self, windows: Windows, i: int) -> Bools:
        """(F,) whose values in the window were all measured, and all in range."""
        values = windows.values[i]  # (T, F)
        found = ((values >= self._lowest) & (values <= self._highest)).all(axis=0)
        if windows.missing is not None:
            found &= windows.missing[i] == 0
        return np.asarray(found, np.bool_)


def _ends(slot: Int64, due: Bools) -> list[int]:
    """Where W windows are cut, the end included: no slot is behind one of its own that is due in the same part."""
    count = len(slot)
    places = np.flatnonzero(due).tolist()
    if not places:
        return [count]
    order = np.argsort(slot, kind="stable")
    same = slot[order][1:] == slot[order][:-1]
    following = np.full(count, count)
    following[order[:-1][same]] = order[1:][same]
    ends: list[int] = []
    end = count
    for place in places:
        if place >= end:
            ends.append(end)
            end = count
        end = min(end, int(following[place]))
    return [*ends, end] if end == count else [*ends, end, count]
