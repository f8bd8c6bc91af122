"""Codes of a file's windows as a Parquet file: one row an event, with the code of the window that it closes.

A code stands for the last T rows of its stream, its own among them: so the file tells the times of all events, and
codes of windows that do not overlap are all it takes to have the values back, as far as the code holds them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np

from monitor.batch import Float32, Float64, Int64
from monitor.errors import MonitorError, UsageError, install_hint

_KEY = b"monitor"  # of the file's metadata


@dataclass(frozen=True, slots=True)
class Card:
    """What the codes are of."""

    model: str  # digest of the artefact
    window: int  # T
    code: int  # C


@dataclass(frozen=True, slots=True)
class Coded:
    """The n events of one stream that entered its windows, in their order."""

    stream: str
    time: Float64  # (n,) s since the Unix epoch
    score: Float64  # (n,) error / threshold, NaN where no window was scored
    code: Float32  # (n, C), NaN as above

    def tiles(self, window: int) -> Int64:
        """Ends (m,) of scored windows that do not overlap: from the first on, each as soon as it can follow."""
        ends: list[int] = []
        for end in np.flatnonzero(~np.isnan(self.score)).tolist():
            if not ends or end - window >= ends[-1]:
                ends.append(end)
        return np.array(ends, np.int64)


class CodesWriter:
    """Writes the file part by part; what is not closed in order is no Parquet file."""

    def __init__(self, path: Path, card: Card) -> None:
        """Raises `UsageError` without pyarrow, `MonitorError` where the place cannot be written."""
        self._pa, pq = _pyarrow(path)
        pa = self._pa
        card_text = json.dumps({"model": card.model, "window": card.window, "code": card.code})
        columns = {
            "stream": pa.string(),
            "time": pa.float64(),
            "score": pa.float64(),
            "code": pa.list_(pa.float32(), card.code),
        }
        self._schema = pa.schema(list(columns.items()), metadata={_KEY: card_text.encode()})
        self._size = card.code
        try:
            self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        except OSError as error:
            raise MonitorError(
                f"{path}: cannot be written ({error.strerror or error})", "Check path and rights."
            ) from error

    def add(self, streams: Sequence[str], time: Float64, score: Float64, code: Float32) -> None:
        """N events in any mix of streams: (n,), (n,), (n,) and (n, C); where `score` is NaN there is no code."""
        pa, none = self._pa, np.isnan(score)
        flat = pa.array(np.ascontiguousarray(code).reshape(-1))
        codes = pa.FixedSizeListArray.from_arrays(flat, self._size, mask=pa.array(none))
        columns = [pa.array(list(streams)), pa.array(time), pa.array(score, mask=none), codes]
        self._file.write_table(pa.table(columns, schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_codes(path: Path) -> tuple[Card, tuple[Coded, ...]]:
    """Streams in order of first appearance. Raises `UsageError` or `MonitorError` with what to do."""
    pa, pq = _pyarrow(path)
    try:
        table = pq.read_table(path)
        card = Card(**json.loads((table.schema.metadata or {})[_KEY]))
    except (pa.ArrowInvalid, KeyError, ValueError, TypeError) as error:
        raise MonitorError(
            f"{path}: no codes of monitor's ({error})", "Write them with: monitor replay FILES --latent FILE"
        ) from error
    except OSError as error:
        raise MonitorError(f"{path}: cannot be read ({error.strerror or error})", "Check path and rights.") from error
    time, score = (table[name].to_numpy() for name in ("time", "score"))
    code = np.full((len(table), card.code), np.nan, np.float32)
    known = ~np.isnan(score)
    held: Any = table["code"].combine_chunks()
    code[known] = held.drop_null().flatten().to_numpy().reshape(-1, card.code)
    streams = table["stream"].to_pylist()
    places: dict[str, list[int]] = {}
    for row, stream in enumerate(streams):
        places.setdefault(stream, []).append(row)
    return card, tuple(Coded(stream, time[rows], score[rows], code[rows]) for stream, rows in places.items())


def _pyarrow(path: Path) -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra, and slow to import
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"{path}: Parquet needs pyarrow", install_hint("train")) from error
    return pa, pq
