"""The five data sets as values: CSV in gzip -> rows and labels. Nothing is scaled, filled or left out here."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection.method import Series
from monitor.batch import Float64, Int64
from monitor.errors import UsageError
from monitor.evaluation.values import Bool

VARIABLE = "MONITOR_BENCHMARK_DATA"
MINUTE = 60.0  # s


@dataclass(frozen=True, slots=True)
class SkabRun:
    series: Series
    label: Bool  # (n,)
    changepoint: Bool  # (n,)


@dataclass(frozen=True, slots=True)
class SmdMachine:
    train: Series
    test: Series
    label: Bool  # (n,) of the test rows
    train_rows: int  # of the test file, by the TSB-AD-M protocol
    vus_window: int  # rows, as listed with the published table


@dataclass(frozen=True, slots=True)
class NabFile:
    series: Series
    windows: Int64  # (K, 2) first and last row, both inside


@dataclass(frozen=True, slots=True)
class Batadal:
    train: Series
    test: Series
    label: Bool  # (n,) of the test rows


@dataclass(frozen=True, slots=True)
class Flows:
    """Single network flows as NSL-KDD writes them; the difficulty is left out."""

    values: Float64  # (n, 38) the columns of `features`
    categories: tuple[tuple[str, ...], ...]  # (3, n) protocol, service, flag
    features: tuple[str, ...]
    attack: Bool  # (n,)

    def __getitem__(self, rows: Bool) -> Flows:
        categories = tuple(tuple(compress(column, rows)) for column in self.categories)
        return Flows(self.values[rows], categories, self.features, self.attack[rows])


def skab(folder: Path) -> tuple[SkabRun, ...]:
    """The 34 labelled runs, by the numbers of their files."""
    runs = []
    for part in ("valve1", "valve2", "other"):
        for path in sorted((folder / "skab" / part).glob("*.csv.gz"), key=lambda path: int(path.name.split(".")[0])):
            header, rows = table(path, ";")
            values = np.array([row[1:] for row in rows], np.float64)
            time = moments([row[0] for row in rows])
            name = f"{part}/{path.name.removesuffix('.csv.gz')}"
            series = Series(name, time, values[:, :8], tuple(header[1:9]))
            runs.append(SkabRun(series, values[:, 8] == 1, values[:, 9] == 1))
    return tuple(runs)


@cache
def smd(folder: Path) -> tuple[SmdMachine, ...]:
    """The six machines of the published table; kept, for two protocols run on them."""
    header, rows = table(folder / "smd" / "published_tsb_ad_m_vus_pr.csv")
    machines = []
    for row in rows:
        told = dict(zip(header, row, strict=True))
        name = told["series"]
        train, test = (_minutes(folder / "smd" / f"{name}_{part}.csv.gz", name) for part in ("train", "test"))
        label = matrix(folder / "smd" / f"{name}_label.csv.gz")[:, 0] == 1
        machines.append(SmdMachine(train, test, label, int(told["train_rows"]), int(told["vus_window"])))
    return tuple(machines)


def nab(folder: Path) -> tuple[NabFile, ...]:
    """The 58 files, by name."""
    windows: dict[str, list[list[str]]] = read_json(folder / "nab" / "labels" / "combined_windows.json")
    files = []
    for name, spans in sorted(windows.items()):
        _, rows = table(folder / "nab" / "data" / f"{name}.gz")
        time = moments([row[0] for row in rows])
        values = np.array([row[1:] for row in rows], np.float64)
        edges = moments([moment for span in spans for moment in span]).reshape(-1, 2)
        first = np.searchsorted(time, edges[:, 0], "left")
        last = np.searchsorted(time, edges[:, 1], "right") - 1
        series = Series(name, time, values, ("value",))
        files.append(NabFile(series, np.stack([first, last], axis=1).astype(np.int64)))
    return tuple(files)


def batadal(folder: Path) -> Batadal:
    """A year without attacks, and half a year with seven."""
    train, _ = _hours(folder / "batadal" / "dataset03.csv.gz")
    test, label = _hours(folder / "batadal" / "dataset04.csv.gz")
    return Batadal(train, test, label)


def nsl_kdd(folder: Path) -> tuple[Flows, Flows]:
    """The training file and the test file."""
    return _flows(folder / "nsl_kdd" / "KDDTrain+_20Percent.csv.gz"), _flows(folder / "nsl_kdd" / "KDDTest+.csv.gz")


_FLOW_HEADER = (
    "duration protocol_type service flag src_bytes dst_bytes land wrong_fragment urgent hot num_failed_logins "
    "logged_in num_compromised root_shell su_attempted num_root num_file_creations num_shells num_access_files "
    "num_outbound_cmds is_host_login is_guest_login count srv_count serror_rate srv_serror_rate rerror_rate "
    "srv_rerror_rate same_srv_rate diff_srv_rate srv_diff_host_rate dst_host_count dst_host_srv_count "
    "dst_host_same_srv_rate dst_host_diff_srv_rate dst_host_same_src_port_rate dst_host_srv_diff_host_rate "
    "dst_host_serror_rate dst_host_srv_serror_rate dst_host_rerror_rate dst_host_srv_rerror_rate"
)
FLOW_COLUMNS = tuple(_FLOW_HEADER.split(" "))
FLOW_CATEGORIES = ("protocol_type", "service", "flag")


def _flows(path: Path) -> Flows:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        columns = list(zip(*csv.reader(file), strict=True))
    named = dict(zip(FLOW_COLUMNS, columns, strict=False))  # behind them: the label and the difficulty
    features = tuple(name for name in FLOW_COLUMNS if name not in FLOW_CATEGORIES)
    return Flows(
        values=np.array([named[name] for name in features], np.float64).T,
        categories=tuple(named[name] for name in FLOW_CATEGORIES),
        features=features,
        attack=np.array(columns[41]) != "normal",
    )


def _minutes(path: Path, name: str) -> Series:
    values = matrix(path)
    features = tuple(f"f{number:02d}" for number in range(values.shape[1]))
    return Series(name, MINUTE * np.arange(len(values), dtype=np.float64), values, features)


def _hours(path: Path) -> tuple[Series, Bool]:
    header, rows = table(path)
    values = np.array([row[1:] for row in rows], np.float64)
    time = [datetime.strptime(row[0], "%d/%m/%y %H").replace(tzinfo=UTC).timestamp() for row in rows]
    names = tuple(name.strip() for name in header[1:-1])
    return Series(path.name.removesuffix(".csv.gz"), np.array(time), values[:, :-1], names), values[:, -1] == 1


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def table(path: Path, separator: str = ",") -> tuple[list[str], list[list[str]]]:
    """The header and the other lines of a CSV file."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        lines: Iterator[str] = (line.decode("utf-8") for line in file)
        rows = csv.reader(lines, delimiter=separator)
        return next(rows), list(rows)


def matrix(path: Path) -> Float64:
    """(n, F) numbers of a CSV file with a header."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2)


def moments(texts: list[str]) -> Float64:
    """(n,) s since the Unix epoch from ISO 8601 text, taken for UTC."""
    return np.array(texts, "datetime64[us]").astype(np.int64) / 1e6


def check(folder: Path | None) -> Path:
    """The folder of the data. Raises `UsageError` where it is not named or holds none of the sets."""
    sets = ("skab", "smd", "nab", "batadal", "nsl_kdd")
    hint = f"Name the folder that holds {', '.join(sets)}: --data DIR, or the environment variable {VARIABLE}."
    if folder is None:
        raise UsageError("no folder of benchmark data was named", hint)
    if not any((folder / name).is_dir() for name in sets):
        raise UsageError(f"{folder}: holds no benchmark data", hint)
    return folder
