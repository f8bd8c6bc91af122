"""Records through the service's pipeline to the codes of their windows, and codes back to rows and what that lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor import config
from monitor.batch import Float32, Float64, Int64, Outcome, Record
from monitor.detector import Detector
from monitor.evaluation.watching import Watched
from monitor.feeds.codes import Card, Coded, CodesWriter
from monitor.feeds.table import Rows, Table
from monitor.imputation import impute
from monitor.model.manifest import Manifest


class Encoding:
    """One pass over records of one partition; what the pipeline says is passed on as it is."""

    def __init__(self, settings: config.Settings, detector: Detector) -> None:
        self._watched = Watched(settings, detector)
        self._newest: dict[str, float] = {}
        manifest = detector.manifest
        size = detector.score(np.zeros((1, manifest.architecture.window, manifest.columns), np.float32)).code.shape[1]
        self.card = Card(manifest.digest, manifest.architecture.window, size)

    def process(self, records: Sequence[Record], out: CodesWriter) -> Outcome:
        """The events that entered their windows are written, with a code where they closed one."""
        seen = self._watched.process(records)
        batch = seen.batch
        score = np.full(len(batch), np.nan)
        score[seen.row] = seen.score
        code = np.full((len(batch), self.card.code), np.nan, np.float32)
        if len(seen.row):
            code[seen.row] = seen.code
        departed = deque(sorted((offset, stream) for _, stream, offset in seen.departed))
        entered: list[int] = []
        for row, (stream, time, offset) in enumerate(
            zip(batch.stream, batch.time.tolist(), batch.offset.tolist(), strict=True)
        ):
            while departed and departed[0][0] <= offset:
                self._newest.pop(departed.popleft()[1], None)
            if time > self._newest.get(stream, -np.inf):
                self._newest[stream] = time
                entered.append(row)
        if entered:
            out.add([batch.stream[row] for row in entered], batch.time[entered], score[entered], code[entered])
        return seen.outcome


@dataclass(frozen=True, slots=True)
class Tiles:
    """Windows that do not overlap, of one stream after the other; n of them."""

    code: Float32  # (n, C)
    stream: tuple[str, ...]  # (n,)
    end: Int64  # (n,) row of its stream
    time: Float64  # (n, T) of their events, s since the Unix epoch
    events: int  # of all streams, whether in a tile or not


def tiles(coded: Sequence[Coded], card: Card) -> Tiles:
    """As few codes as it takes to have back every event that is in a whole window."""
    ends = [one.tiles(card.window) for one in coded]
    ago = np.arange(1 - card.window, 1)
    return Tiles(
        np.concatenate(
            [np.empty((0, card.code), np.float32), *(one.code[at] for one, at in zip(coded, ends, strict=True))]
        ),
        tuple(one.stream for one, at in zip(coded, ends, strict=True) for _ in at),
        np.concatenate([np.empty(0, np.int64), *ends]),
        np.concatenate(
            [np.empty((0, card.window)), *(one.time[at[:, None] + ago] for one, at in zip(coded, ends, strict=True))]
        ),
        sum(len(one.time) for one in coded),
    )


def as_table(tiles: Tiles, values: Float32, manifest: Manifest) -> Table:
    """Events (n, T, F) of the tiles as rows of their streams."""
    names = np.array(tiles.stream, object)
    series = []
    for stream in dict.fromkeys(tiles.stream):
        own = names == stream
        series.append(Rows(stream, tiles.time[own].reshape(-1), values[own].reshape(-1, values.shape[2])))
    return Table(manifest.feature_names, tuple(series), categories=manifest.values)


def originals(tiles: Tiles, table: Table, manifest: Manifest) -> tuple[Int64, Float32]:
    """Of those tiles (m,) whose events are all in `table`: which, and their windows (m, T, columns) as the model saw.

    Missing values are imputed as in serving. Codes of categories are those of the manifest, -1 for others.
    """
    mean = np.array([feature.mean for feature in manifest.features], np.float32)
    found: list[int] = []
    windows = [np.empty((0, tiles.time.shape[1], len(mean)), np.float32)]
    by_name = {rows.stream: rows for rows in table.series}
    for place, stream in enumerate(tiles.stream):
        rows = by_name.get(stream)
        if rows is None:
            continue
        order = np.argsort(rows.time, kind="stable")
        at = np.searchsorted(rows.time[order], tiles.time[place])
        at = order[np.minimum(at, len(order) - 1)]
        if (rows.time[at] == tiles.time[place]).all():
            found.append(place)
            windows.append(rows.values[at][None])
    values = _recoded(np.concatenate(windows), table, manifest)
    values = impute(values, mean)
    if manifest.columns > len(mean):
        seconds = np.diff(tiles.time[found], axis=1, prepend=tiles.time[found][:, :1])
        values = np.concatenate([values, seconds[..., None].astype(np.float32)], axis=2)
    return np.array(found, np.int64), values


def _recoded(values: Float32, table: Table, manifest: Manifest) -> Float32:
    for place, feature in enumerate(manifest.features):
        if feature.categories:
            known = {name: code for code, name in enumerate(feature.categories)}
            given = [known.get(name, -1) for name in table.categories.get(feature.name, ())]
            column = values[..., place]
            present = ~np.isnan(column)
            column[present] = np.array([*given, -1], np.float32)[column[present].astype(np.int64)]
    return values
