"""The performance benchmark's own parts: its load, the peers' network, the page that is written from results alone."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from benchmarks.peers import autoencoder
from benchmarks.performance import guard, page
from benchmarks.performance.__main__ import PARTS, main
from benchmarks.performance.bench import make_model
from benchmarks.performance.parts.profile import _read
from benchmarks.performance.results import Store, middle
from benchmarks.performance.workload import NAMES, PARTITIONS, WINDOW, Load, event, rows
from monitor.model import artefact
from monitor.model.reference import rebuilt

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("bench") / "model", "autoencoder")


def test_every_stream_sends_once_a_turn_in_its_own_partition_and_in_order() -> None:
    load = Load("", "events", streams=1000, first=0, count=3000, begin=100.0)
    times: defaultdict[str, list[float]] = defaultdict(list)
    partitions: defaultdict[str, set[int]] = defaultdict(set)
    for number in range(load.count):
        partition, key, value, when = event(load, number)
        sent = msgspec.json.decode(value)
        assert sent["stream"].encode() == key
        assert tuple(sent["features"]) == NAMES
        assert sent["time"] == when
        times[sent["stream"]].append(when)
        partitions[sent["stream"]].add(partition)
    assert len(times) == 1000
    assert all(found == [100.0, 101.0, 102.0] for found in times.values())
    assert all(len(found) == 1 for found in partitions.values())
    sizes = Counter(next(iter(found)) for found in partitions.values())
    assert set(sizes) == set(range(PARTITIONS))
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_in_the_end_every_stream_has_a_spike() -> None:
    load = Load("", "events", streams=100, first=0, count=0, spike_every=7)
    normal = Load("", "events", streams=100, first=0, count=0)
    spiky = {event(load, n)[1] for n in range(700) if event(load, n)[2] != event(normal, n)[2]}
    assert len(spiky) == 100


def test_the_peers_run_the_network_of_the_artefact(model: Path) -> None:
    theirs, names, threshold = autoencoder.load(model)
    loaded = artefact.load(model)
    ours = rebuilt(loaded)
    windows = torch.from_numpy(np.stack([rows()[start : start + WINDOW] for start in range(0, 200, 10)]))
    with torch.inference_mode():
        z = ours.front(windows)
        expected = (ours.model.reconstruct(z) - z).square().mean(dim=(1, 2))
        assert torch.allclose(theirs(windows), expected, rtol=1e-4)
    assert names == list(loaded.manifest.feature_names)
    assert threshold == loaded.manifest.calibration.threshold


def test_a_sample_belongs_to_the_stage_whose_function_it_is_in(tmp_path: Path) -> None:
    raw = tmp_path / "profile.txt"
    root = "/srv/x/monitor"
    main = f'thread (1): "MainThread";run ({root}/service.py:1)'
    raw.write_text(
        f"{main};KafkaSource.poll ({root}/kafka/source.py:9);wait (/x/threading.py:1) 5\n"
        f"{main};Decoder.decode ({root}/events.py:70) 3\n"
        f"{main};Reporter.report ({root}/reporting.py:70) 2\n"
        f'thread (2): "kafka";poll ({root}/kafka/source.py:9) 100\n'
    )
    stages, active, running = _read(raw)
    assert stages == {"poll": 5, "decode": 3, "between the stages": 2}
    assert active == {"decode": 3, "between the stages": 2, "the client's threads": 100}
    assert running["Decoder.decode (monitor/events.py:70)"] == 3


def result(figures: dict[str, Any], date: str = "2026-01-01") -> dict[str, Any]:
    place = {"cpu": "a processor", "cores": 2, "memory": 2**33, "python": "3.11.0", "versions": {"monitor": "0.1"}}
    about = {"command": "make", "size": "small", "date": date, "seconds": 9, "load": [0.1, 0.9], "digest": "x"}
    return {**about, "machine": place, "figures": figures}


def made_cost(ratio: float) -> dict[str, Any]:
    one = middle([1.0, 2.0, 3.0])
    names = ("consume", "forward", "monitor", "kafka-python loop", "Quix Streams")
    return {
        "workload": {"streams": 1, "events": 2, "bytes": 3, "model": "LSTM", "batch": 64},
        "cost": dict.fromkeys(names, one),
        "rate": dict.fromkeys(names, one),
        "base": one,
        "ratio": middle([ratio]),
        "times": {"kafka-python loop": middle([6.0]), "Quix Streams": middle([6.0])},
        "times by CPU": {"kafka-python loop": middle([7.0]), "Quix Streams": middle([8.0])},
        "times of the linear detector": {"kafka-python loop": middle([30.0]), "Quix Streams": middle([25.0])},
    }


def test_the_page_says_which_goals_are_reached_and_what_is_not_measured() -> None:
    text = page.text_of({"cost": result(made_cost(1.31))}, [], "performance")
    assert "| CPU of an event / (raw consume + raw forward) | <= 1.25 | 1.31 | **not reached** |" in text
    assert "| throughput / kafka-python loop | >= 5.5 | 6.00; by CPU time 7.00 | reached |" in text
    assert "| throughput / Quix Streams | >= 6.5 | 6.00; by CPU time 8.00 | **not reached** |" in text
    assert "| two members / one, broker counted out | >= 1.8 | | not measured |" in text
    assert "2.0 (1.0-3.0)" in text
    assert "{{" not in text


def test_every_part_has_its_place_on_the_page() -> None:
    words = page.WORDS.read_text(encoding="utf-8")
    assert tuple(PARTS) == page.PARTS
    assert all(f"{{{{{name}}}}}" in words for name in PARTS)


def test_the_page_is_written_from_the_results_alone_plots_and_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    spread = middle([10.0, 20.0])
    levels = {"100": spread, "1000": spread}
    sustained = {"streams": 1000, "rate": 16.0, "seconds": 9.0, "settled": 0.5, "core": 0.5, "memory": 2**30}
    sustained |= {"lag of the first half": 1.0, "lag of the second half": 1.0}
    figures = {"rate": levels, "cost": levels, "memory": {"100": 1, "1000": 2}, "ratio": spread, "sustained": sustained}
    store.put("streams", {**figures, "bytes a stream": 2600.0}, {k: v for k, v in result({}).items() if k != "figures"})
    target = tmp_path / "performance.md"
    arguments = ["--page-only", "--results", str(store.folder), "--page", str(target)]
    assert main(arguments) == 0
    text = target.read_text(encoding="utf-8")
    assert "1,000 streams, 16/s: 0.50, lag flat | reached" in text
    assert "![throughput](performance/throughput.svg)" in text
    assert "roofline.svg" not in text
    drawn = ElementTree.fromstring((tmp_path / "performance" / "throughput.svg").read_text(encoding="utf-8"))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    before = target.read_bytes()
    assert main(arguments) == 0
    assert target.read_bytes() == before


def test_a_part_that_there_is_not_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["latncy"])
    assert ended.value.code == 2
    assert "there is no part 'latncy'; they are cost, streams" in capsys.readouterr().err


@pytest.mark.parametrize(("ratio", "code"), [(1.0, 0), (1.31, 0), (1.33, 1)])
def test_the_guard_fails_only_beyond_a_fifth_above_what_is_stored(ratio: float, code: int) -> None:
    assert guard.verdict(ratio, 1.1, 1.2)[1] == code
