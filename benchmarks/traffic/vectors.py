"""Captures of the laboratory as rows with labels, for any kind of vector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.method import Series
from benchmarks.traffic.laboratory import Label
from monitor import config
from monitor.feeds import sources
from monitor.feeds.files import Mapping

Kind = Literal["packets", "flows", "hosts"]
KINDS: tuple[Kind, ...] = ("packets", "flows", "hosts")
_SPREAD = ("weight", "radius", "covariance")
"""Statistics of packets that span powers of ten."""


def read(path: Path, kind: Kind) -> tuple[Series, ...]:
    """The vectors of a capture, a series for each stream: a channel's for packets and flows, a host's for hosts.

    Categories are left out: the trivial methods and KitNET know none.
    """
    feed = config.Feed.model_validate({"vectors": kind, "stream": "channel"})
    found: dict[str, list[tuple[float, NDArray[np.float32]]]] = defaultdict(list)
    names: tuple[str, ...] = ()
    for vectors in sources.of_files([path], Mapping(), feed).vectors():
        names = vectors.names if len(vectors) else names
        for stream, time, values in zip(vectors.stream, vectors.time.tolist(), vectors.values, strict=True):
            found[stream].append((time, values))
    return tuple(
        Series(
            stream,
            np.array([time for time, _ in rows]),
            _spread(np.array([values for _, values in rows], np.float64), names),
            names,
        )
        for stream, rows in found.items()
    )


def _spread(values: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """As docs/feeding.md says to train: the logarithm of what spans powers of ten, with its sign."""
    wide = np.array([any(part in name for part in _SPREAD) or "@" not in name for name in names])
    return np.where(wide, np.sign(values) * np.log1p(np.abs(values)), values)


@dataclass(frozen=True, slots=True)
class Part:
    """Which rows of which series are of an attack."""

    label: Label
    rows: tuple[NDArray[np.bool_], ...]  # of each series


def attacked(series: Sequence[Series], labels: Sequence[Label], kind: Kind) -> tuple[Part, ...]:
    """The rows from an attack's begin to its end that are between attacker and victim, or of one of them for hosts.

    A spoofed address speaks for the victim: then they are all rows of the victim's channels. A flow is told after it
    has ended, so its rows count until an idle time-out later; a host's second is told at its end.
    """
    late = {"packets": 0.0, "flows": config.Feed().flows.idle, "hosts": config.Feed().hosts.interval}[kind]
    return tuple(
        Part(
            label,
            tuple(
                (one.time >= label.begin) & (one.time <= label.end + late) & _concerned(one.name, label)
                for one in series
            ),
        )
        for label in labels
    )


def _concerned(stream: str, label: Label) -> bool:
    ends = set(stream.split(">"))
    if len(ends) == 1:
        return bool(ends & {label.attacker, label.victim})
    return label.victim in ends if label.attack == "ARP spoofing" else ends == {label.attacker, label.victim}
