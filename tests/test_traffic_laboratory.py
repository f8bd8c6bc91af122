"""The laboratory: labels, plans, figures against hand-made captures, and a real run that leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection.method import Fitted, Series
from benchmarks.traffic import network
from benchmarks.traffic.__main__ import main
from benchmarks.traffic.attacks import ATTACKS
from benchmarks.traffic.laboratory import Label, Plan, read_labels, write_labels
from benchmarks.traffic.measuring import ALERTS, Laboratory, alerts
from benchmarks.traffic.vectors import attacked, read
from monitor.batch import Float64
from monitor.demo.packets import ATTACKS as CAPTURE
from monitor.demo.packets import LABELS, attacks

ROOT = Path(__file__).parent.parent
SCAN = Label("port scan", 100.0, 110.0, "10.0.0.7", "10.0.0.9")
SPOOFED = Label("ARP spoofing", 100.0, 110.0, "10.0.0.7", "10.0.0.9")


def series(name: str, times: list[float], values: list[float] | None = None) -> Series:
    rows = np.array(values or [0.0] * len(times)).reshape(-1, 1)
    return Series(name, np.array(times), rows, ("x",))


def test_labels_come_back_and_the_demo_reads_the_same(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.csv", [SCAN])
    assert read_labels(tmp_path / "labels.csv") == (SCAN,)
    [read_by_demo] = attacks(tmp_path / "labels.csv")
    assert (read_by_demo.name, read_by_demo.begin.timestamp(), read_by_demo.attacker) == ("port scan", 100, "10.0.0.7")


def test_a_plan_ends_by_itself_and_every_attack_is_bounded() -> None:
    plan = Plan(10, 20, 5, ATTACKS)
    assert plan.longest > 10 + 20 + sum(5 + attack.longest for attack in ATTACKS)
    assert all(0 < attack.longest <= 60 for attack in ATTACKS)
    assert {attack.victim for attack in ATTACKS} <= set(network.HOSTS)


@pytest.mark.parametrize(
    ("stream", "label", "rows"),
    [
        ("10.0.0.7>10.0.0.9", SCAN, [False, True, True, False]),
        ("10.0.0.9>10.0.0.7", SCAN, [False, True, True, False]),
        ("10.0.0.7>10.0.0.8", SCAN, [False] * 4),
        ("10.0.0.8>10.0.0.9", SPOOFED, [False, True, True, False]),
        ("10.0.0.8>10.0.0.7", SPOOFED, [False] * 4),
    ],
)
def test_an_attack_s_rows_are_those_between_its_ends_while_it_lasts(
    stream: str, label: Label, rows: list[bool]
) -> None:
    [part] = attacked([series(stream, [99.9, 100, 110, 110.1])], [label], "packets")
    assert part.rows[0].tolist() == rows


def test_what_is_told_later_counts_later() -> None:
    flow = series("10.0.0.7>10.0.0.9", [100, 125, 125.1])
    assert attacked([flow], [SCAN], "flows")[0].rows[0].tolist() == [True, True, False]
    hosts = [series("10.0.0.9", [100, 111, 112]), series("10.0.0.8", [105])]
    assert [rows.tolist() for rows in attacked(hosts, [SCAN], "hosts")[0].rows] == [[True, True, False], [False]]


def test_rows_above_the_threshold_that_are_near_are_one_alert() -> None:
    assert [alerts(np.array(times)) for times in ([], [5.0], [5.0, 65.0], [5.0, 65.1], [1.0, 100.0, 200.0])] == [
        0, 1, 1, 2, 3,
    ]  # fmt: skip


class Itself:
    """The value is the score, 1 the threshold; the first row of a series has none."""

    name = "itself"

    def fit(self, _series: object, _seed: int) -> Fitted:
        class Scorer:
            threshold = 1.0

            def score(self, values: Float64, time: Float64) -> Float64:
                return np.where(np.arange(len(values)) == 0, np.nan, values[:, 0])

        return Scorer()


def test_the_figures_are_the_first_row_above_the_threshold_the_auc_and_alerts_of_the_calm() -> None:
    calm = (series("a", [0, 10, 20, 86_400], [9, 0.5, 2, 0.1]),)
    attack = (series("10.0.0.7>10.0.0.9", [90, 101, 104, 106], [9, 0.4, 3, 4]), series("b", [105, 106], [8, 8]))
    figures = Laboratory((), calm, attack, (SCAN,), "packets")(Itself(), 0)
    # the calm rows 0.5, 2 and 0.1 against the attack's 0.4, 3 and 4
    assert figures["port scan: AUC"] == pytest.approx((1 + 3 + 3) / 9)
    assert (figures["port scan: delay"], figures[ALERTS]) == (4.0, 1.0)
    missed = Laboratory((), calm, (series("b", [105], [8]),), (SCAN,), "packets")(Itself(), 0)
    assert np.isnan(missed["port scan: AUC"])
    assert np.isnan(missed["port scan: delay"])


@pytest.mark.parametrize(("kind", "features"), [("packets", 100), ("flows", 24), ("hosts", 18)])
def test_the_shipped_capture_is_read_with_its_attacks(kind: str, features: int) -> None:
    found = read(CAPTURE, kind)  # type: ignore[arg-type]
    assert {one.values.shape[1] for one in found} == {features}
    assert all((np.diff(one.time) > 0).all() for one in found)
    for part in attacked(found, read_labels(LABELS), kind):  # type: ignore[arg-type]
        assert sum(int(rows.sum()) for rows in part.rows) >= 20


def test_an_unknown_attack_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "port scan,ping of death"]) == 2
    assert "no attack is called 'ping of death'" in capsys.readouterr().err


MISSING = [one for one in network.PROGRAMS if shutil.which(one, path=f"{os.environ['PATH']}:/usr/sbin") is None]


@pytest.mark.skipif(
    os.geteuid() != 0 or bool(MISSING),
    reason="needs root and the laboratory's programs (python -m benchmarks.traffic names them)",
)
def test_a_real_run_captures_the_attack_and_leaves_nothing(tmp_path: Path) -> None:
    before = _left()
    command = [sys.executable, "-m", "benchmarks.traffic", "--out", str(tmp_path), "--calm", "0"]
    command += ["--normal", "8", "--gap", "3", "--only", "port scan"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [label] = read_labels(tmp_path / "labels.csv")
    assert (label.attack, label.victim) == ("port scan", network.HOSTS["files"])
    assert read(tmp_path / "normal.pcap", "packets")
    found = read(tmp_path / "attacks.pcap", "hosts")
    scanner = next(one for one in found if one.name == label.attacker)
    ports = np.expm1(scanner.values[:, scanner.features.index("host.target_ports")])
    assert ports.sum() >= 1000
    assert _left() == before


def _left() -> tuple[str, set[str]]:
    names = subprocess.run(["/sbin/ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    links = subprocess.run(["/sbin/ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return names, {line.split(": ")[1] for line in links.splitlines()}
