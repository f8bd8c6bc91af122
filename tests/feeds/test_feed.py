"""`monitor feed`: what goes in comes out as events, each once; what cannot is told."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from monitor import config
from monitor.batch import RawRecord
from monitor.cli import main
from monitor.cli.feeding import Passes
from monitor.config import loading
from monitor.errors import UsageError
from monitor.events import Decoder
from monitor.feeds import descriptions, sources
from monitor.feeds.damped import Damped
from monitor.feeds.files import Mapping
from monitor.feeds.pacing import Pace
from monitor.feeds.vectors import Ascending, Vectors, records
from monitor.model import artefact
from tests.feeds.made import enhanced, ethernet, interface, ipv4, pcap, section, tcp
from tests.integration.conftest import deploy, model  # noqa: F401  fixtures
from tests.integration.running import Deployment

ROOT = Path(__file__).parents[2]
T = 1_700_000_000 * 10**9


def conversation(count: int = 300, seed: int = 1) -> list[tuple[int, bytes]]:
    """Frames of three hosts, some with equal times."""
    chance = random.Random(seed)
    found, now = [], T
    for _ in range(count):
        now += chance.choice((0, 1000, 10**6, 10**8))
        a, b = chance.sample(range(1, 4), 2)
        payload = bytes(chance.randrange(0, 900))
        packet = ipv4(6, tcp(40_000 + a, 40_000 + b, 16, payload), f"10.0.0.{a}", f"10.0.0.{b}")
        found.append((now, ethernet(0x0800, packet, a, b)))
    return found


def feed(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["feed", *map(str, arguments)], prog_name="monitor")


def events(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    path = tmp_path / "lan.pcap"
    path.write_bytes(pcap(conversation()))
    return path


def test_a_packet_is_an_event_with_the_features_that_are_described(captured: Path) -> None:
    result = feed(captured, "--stdout")
    found = events(result)
    described = json.loads(feed("--describe", "--json").stdout)
    names = [one["name"] for one in described]
    decoder = Decoder(names, config.Events(unknown="reject", missing="reject", max_age=None))
    lines = [line.encode() for line in result.stdout.splitlines()]
    batch = decoder.decode(_records(lines))
    assert not batch.rejects
    assert len(found) == 300
    assert {one["stream"] for one in found} == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    newest: dict[object, float] = {}
    for one in found:
        assert one["time"] > newest.get(one["stream"], 0)  # type: ignore[operator]  # none is taken for a repetition
        newest[one["stream"]] = one["time"]  # type: ignore[assignment]
    assert "sent 300 events to standard output" in result.stderr


def _records(values: Sequence[bytes]) -> list[RawRecord]:
    return [RawRecord("t", 0, n, -1, None, value) for n, value in enumerate(values)]


def test_every_format_of_a_capture_and_a_pipe_give_the_same_bytes(captured: Path, tmp_path: Path) -> None:
    expected = feed(captured, "--stdout").stdout
    packed, modern = tmp_path / "a.pcap.gz", tmp_path / "b.pcapng"
    packed.write_bytes(gzip.compress(captured.read_bytes()))
    modern.write_bytes(section() + interface(1, 9) + b"".join(enhanced(t, frame) for t, frame in conversation()))
    assert feed(packed, "--stdout").stdout == expected
    assert feed(modern, "--stdout").stdout == expected
    for data in (captured.read_bytes(), packed.read_bytes(), modern.read_bytes()):
        piped = subprocess.run(
            [sys.executable, "-m", "monitor", "feed", "-", "--stdout"],
            cwd=ROOT,
            input=data,
            capture_output=True,
            check=True,
        )
        assert piped.stdout.decode() == expected


@pytest.mark.parametrize("kind", ["packets", "flows"])
@pytest.mark.parametrize("begin", [0, 1, 37])
def test_from_n_goes_on_to_the_byte(captured: Path, kind: str, begin: int) -> None:
    whole = feed(captured, "--stdout", "--vectors", kind, "--stream", "channel").stdout.splitlines()
    rest = feed(captured, "--stdout", "--vectors", kind, "--stream", "channel", "--from", begin)
    assert len(whole) > 0
    if begin < len(whole):
        assert rest.stdout.splitlines() == whole[begin:]


def test_ctrl_c_says_where_to_go_on_and_nothing_is_lost_there(captured: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monitor", "feed", str(captured), "--stdout", "--pace", "recorded"]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out").stat().st_size:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    sent = (tmp_path / "out").read_text().splitlines(keepends=True)
    assert f"--from {len(sent)}\n" in err
    rest = feed(captured, "--stdout", "--from", len(sent)).stdout
    assert "".join(sent) + rest == feed(captured, "--stdout").stdout


def test_passes_of_a_loop_are_the_same_vectors_later(captured: Path) -> None:
    source = sources.of_files([captured], Mapping(), config.Feed())
    once = list(Passes(source, loop=False, now=None))
    twice = list(islice(Passes(source, loop=True, now=None), 2 * len(once)))
    assert [v.values.tobytes() for v in twice] == [v.values.tobytes() for v in once] * 2
    assert twice[len(once)].time[0] > once[-1].time.max()


def test_now_moves_the_first_event_and_keeps_the_distances(captured: Path) -> None:
    before = time.time()
    moved = np.array([one["time"] for one in events(feed(captured, "--stdout", "--now"))])
    there = np.array([one["time"] for one in events(feed(captured, "--stdout"))])
    assert before <= moved[0] <= time.time()
    assert np.diff(moved) == pytest.approx(np.diff(there), abs=1e-6)


def test_an_event_is_due_when_its_time_has_passed_at_that_pace() -> None:
    pace = Pace.parse("10x")
    assert pace.due(np.array([100.0, 110.0, 105.0])).tolist() == [0, 1, 1]
    assert pace.due(np.array([90.0, 130.0])).tolist() == [1, 3]
    assert Pace.parse("max").due(np.array([100.0, 110.0])).tolist() == [0, 0]
    for wrong in ("0", "-1", "inf", "nan", "fast"):
        with pytest.raises(UsageError, match="no pace"):
            Pace.parse(wrong)


def test_events_of_one_stream_never_have_equal_times_and_others_keep_theirs() -> None:
    ascending = Ascending()
    assert ascending.times(["a", "a", "b", "a"], np.array([5000, 5000, 5000, 5500])) == pytest.approx(
        [5e-6, 6e-6, 5e-6, 7e-6]
    )
    assert ascending.times(["a", "b"], np.array([10_000, 5999])) == pytest.approx([10e-6, 6e-6])


def test_the_digits_of_an_event_are_the_same_float32() -> None:
    chance = np.random.default_rng(1)
    values = chance.standard_normal((2000, 3)).astype(np.float32) * 10.0 ** chance.integers(-37, 37, (2000, 3))
    values = values.astype(np.float32)
    vectors = Vectors(("a", "b", "c"), ["s"] * 2000, np.arange(2000.0), values)
    read = [json.loads(record.value or b"")["features"] for record in records(vectors, "t")]
    assert np.array([[row["a"], row["b"], row["c"]] for row in read], np.float32).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.pcap", b"", "a.pcap: the file is empty"),
        ("a.pcap", b"what is this", "a.pcap: not a capture"),
        ("a.pcap", pcap(conversation(5), link=147), "5 x unknown_link"),
        ("a.pcap", pcap(conversation(5))[:-1], "1 x truncated_file"),
        ("a.pcap", pcap([(0, frame) for _, frame in conversation(5)]), "5 x no_time"),
        ("a.pcap", pcap(conversation(5)[::-1]), "packets were older than one before them"),
        ("a.csv", b"", "a.csv: the file is empty"),
        ("a.csv", b"time,a\n", "a.csv: no rows"),
        ("a.csv", b"time,a\n1,2\n2,x\n3,4\n", "line 3, column 'a': 'x' is not a number"),
        ("a.csv", b"time,a\n1,2\nnever,3\n", "1 x bad_cell"),
        ("a.csv", b"a,when\n1,2026-01-01\n", "no time column, but 'when' holds times"),
        ("a.ndjson", b'{"time": 1, "a": 1}\n[]\n', "line 2: not a JSON object"),
        ("a.bin", b"x", "the name does not tell the format"),
    ],
)
def test_bad_input_is_told_in_words(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    result = feed(tmp_path / name, "--stdout")
    assert says in result.stderr
    assert "unexpected" not in result.stderr
    assert (result.exit_code == 0) == (result.stdout != "")


def test_a_time_far_ahead_is_set_aside_unless_it_stays_there(tmp_path: Path) -> None:
    frames = conversation(6)
    frames[2] = (frames[2][0] + 10**18, frames[2][1])
    (tmp_path / "a.pcap").write_bytes(pcap(frames))
    result = feed(tmp_path / "a.pcap", "--stdout")
    assert len(events(result)) == 5
    assert "1 x time_jump" in result.stderr
    moved = [(t + (10**17 if n > 2 else 0), frame) for n, (t, frame) in enumerate(conversation(6))]
    (tmp_path / "a.pcap").write_bytes(pcap(moved))
    assert len(events(feed(tmp_path / "a.pcap", "--stdout"))) == 5  # the first one that jumps is doubted


def test_a_renamed_column_is_told_with_its_new_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,flow,pressure\n1,2,3\n")
    (tmp_path / "b.csv").write_text("time,flow_1,pressure\n2,2,3\n")
    result = feed(tmp_path / "a.csv", tmp_path / "b.csv", "--stdout")
    assert result.exit_code == 1
    assert "b.csv: no column 'flow', which" in result.stderr
    assert "Did you mean 'flow_1'?" in result.stderr
    assert "--from 1" in result.stderr or "sent 1 events" in result.stderr
    wanted = feed(tmp_path / "b.csv", "--features", "flow", "--stdout")
    assert "no column 'flow' (feature)" in wanted.stderr


def test_tables_become_the_events_they_hold(tmp_path: Path) -> None:
    rows = [("p", 1.5, 2.0, "a"), ("q", 2.5, None, "b"), ("p", 3.5, 1e-3, "")]
    (tmp_path / "t.csv").write_text("stream,time,x,note\n" + "".join(f"{s},{t},{x or ''},{n}\n" for s, t, x, n in rows))
    (tmp_path / "t.ndjson").write_text(
        "".join(json.dumps({"stream": s, "time": t, "features": {"x": x}}) + "\n" for s, t, x, _ in rows)
    )
    expected = [
        {"stream": "p", "time": 1.5, "features": {"x": 2.0}},
        {"stream": "q", "time": 2.5, "features": {}},
        {"stream": "p", "time": 3.5, "features": {"x": 0.001}},
    ]
    assert events(feed(tmp_path / "t.csv", "--stdout")) == expected
    assert events(feed(tmp_path / "t.ndjson", "--stdout")) == expected
    for name in ("t.csv", "t.ndjson"):
        piped = subprocess.run(
            [sys.executable, "-m", "monitor", "feed", "-", "--stdout"],
            cwd=ROOT, input=(tmp_path / name).read_bytes(), capture_output=True, check=True,
        )  # fmt: skip
        assert [json.loads(line) for line in piped.stdout.splitlines()] == expected


def test_a_row_on_a_pipe_is_an_event_at_once() -> None:
    command = [sys.executable, "-m", "monitor", "feed", "-", "--stdout"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    for number in (1, 2):
        process.stdin.write(json.dumps({"time": number, "x": number}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["time"] == number
    process.send_signal(signal.SIGINT)
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


def test_sensors_are_joined_as_the_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "feed: {join: {interval: 10, stream: plant, sensors: [{name: a, take: [mean]}, {name: b}, {name: c}]}}\n"
    )
    (tmp_path / "t.csv").write_text("stream,time,a,b\nx,101,1,\ny,103,,7\nx,105,3,\nx,111,5,\n")
    result = feed(tmp_path / "t.csv", "--stdout", "-c", tmp_path / "c.yaml")
    assert events(result) == [
        {"stream": "plant", "time": 110.0, "features": {"a.mean": 2.0, "b.last": 7.0}},
        {"stream": "plant", "time": 120.0, "features": {"a.mean": 5.0, "b.last": 7.0}},
    ]
    assert "sensors without any value: c" in result.stderr
    described = feed("--describe", "-c", tmp_path / "c.yaml").stdout
    assert "mean within 10 s: a" in described


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to feed"),
        (["-", "a.csv"], "standard input and files"),
        (["--interface", "lo", "a.csv"], "--interface and a file"),
        (["-", "--loop"], "--loop is for files"),
        (["-", "--from", "3"], "--from is for files"),
        (["a.csv", "--json"], "--json is for --describe"),
        (["--interface", "no-such-0", "--stdout"], "there is none of this name"),
    ],
)
def test_bad_usage_is_told(arguments: list[str], says: str) -> None:
    if "no-such-0" in arguments and os.geteuid() != 0:
        pytest.skip("listening needs a right that this user does not have")
    result = feed(*arguments)
    assert says in result.stderr
    assert result.exit_code == 2


def test_names_units_and_meanings_of_all_features_are_known_to_training() -> None:
    feed_settings = config.Feed()
    for kind in ("packets", "flows", "hosts"):
        found = descriptions.of_capture(config.Feed.model_validate({"vectors": kind}))
        names = [one.name for one in found]
        assert descriptions.units(names) == {one.name: one.unit for one in found if one.unit}
        assert all(one.meaning for one in found)
        assert descriptions.meanings(names) == {one.name: one.meaning for one in found}
        assert descriptions.units([*names, "temperature"]) == descriptions.meanings([*names, "temperature"]) == {}
        assert len({one.meaning for one in found}) == len(found)
    assert descriptions.units(["host.weight@0"]) == descriptions.units(["host.weight@often"]) == {}
    assert Damped(feed_settings.decays, 1).names == tuple(
        one.name for one in descriptions.of_packets(feed_settings.decays)
    )


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_on_the_topic_each_event_is_in_the_partition_of_its_stream(
    deploy: object,  # noqa: F811
    captured: Path,
    codec: str,
) -> None:
    deployment: Deployment = deploy(partitions=3)  # type: ignore[operator]
    deployment.write(events={"codec": codec})
    deployment.create_topics()
    result = feed(captured, "-c", deployment.file)
    assert result.exit_code == 0, result.stderr
    found = sorted(deployment.read(deployment.topics.input.name), key=lambda record: (record.partition, record.offset))
    names = [one.name for one in descriptions.of_packets(config.Feed().decays)]
    on_topic = Decoder(names, loading.load(deployment.file).events).decode(found)
    lines = feed(captured, "--stdout").stdout.splitlines()
    printed = Decoder(names, config.Events()).decode(_records([line.encode() for line in lines]))
    assert (len(on_topic.batch), on_topic.rejects) == (300, [])
    places: dict[str, set[int]] = {}
    for record in found:
        places.setdefault(record.key.decode(), set()).add(record.partition)
    assert all(len(partitions) == 1 for partitions in places.values())
    for stream in places:  # each stream whole, and in its order
        here, there = (np.array([name == stream for name in batch.stream]) for batch in (on_topic.batch, printed.batch))
        assert on_topic.batch.time[here].tolist() == printed.batch.time[there].tolist()
        assert on_topic.batch.values[here].tobytes() == printed.batch.values[there].tobytes()


def test_a_codec_whose_times_are_too_coarse_is_refused(captured: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("events: {codec: float32}\n")
    result = feed(captured, "-c", tmp_path / "c.yaml")
    assert "float32, which has times of whole milliseconds" in result.stderr
    assert result.exit_code == 2


def test_what_was_fed_is_learned_with_its_units_and_meanings(captured: Path, tmp_path: Path) -> None:
    settings = tmp_path / "c.yaml"
    settings.write_text('training: {features: [{match: "flow.*_port", kind: category}]}\n')
    for kind in ("packets", "flows", "hosts"):
        rows, out = tmp_path / f"{kind}.ndjson", tmp_path / kind
        rows.write_text(feed(captured, "--stdout", "--vectors", kind, "--stream", "channel").stdout)
        if kind != "packets":  # few flows in so short a capture: what is asked here is what they are called
            lines = [json.loads(line) for line in rows.read_text().splitlines()]
            many = [line | {"time": line["time"] + 1000 * turn} for turn in range(60) for line in lines]
            rows.write_text("".join(json.dumps(line) + "\n" for line in many))
        options = ["--window", 4, "--epochs", 1, "--hidden", 4, "-c", settings]
        result = CliRunner().invoke(main, ["train", *map(str, (rows, "--out", out, *options))])
        assert result.exit_code == 0, result.output
        learned = {one.name: (one.unit, one.meaning) for one in artefact.load(out).manifest.features}
        described = descriptions.of_capture(config.Feed.model_validate({"vectors": kind}))
        assert learned == {one.name: (one.unit, one.meaning) for one in described if one.name in learned}
        assert "B" in {unit for unit, _ in learned.values()}


def test_a_topic_that_is_missing_is_told_before_anything_is_read(deploy: object, captured: Path) -> None:  # noqa: F811
    deployment: Deployment = deploy()  # type: ignore[operator]
    result = feed(captured, "-c", deployment.file)
    assert result.exit_code == 1
    assert "does not exist" in result.stderr


LISTEN = """
    import fcntl, socket, struct, threading, time
    from monitor.errors import MonitorError
    from monitor.feeds.frames import Tally
    from monitor.feeds.interface import Interface
    from monitor.feeds.packets import decode

    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    def up(yes):
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x49 if yes else 0x48))
    try:
        Interface("lo")
    except MonitorError as error:
        print(error.message)
    up(True)
    interface = Interface("lo")
    def talk():
        for n in range(5):
            control.sendto(bytes(n), ("127.0.0.1", 5555))
        time.sleep(0.5)
        up(False)
    threading.Thread(target=talk).start()
    seen, begun = [], time.time_ns()
    try:
        for frames in interface.read(lambda: time.time_ns() - begun > 20e9):
            packets = decode(frames, 0, Tally())
            assert (abs(packets.time - begun) < 60e9).all()
            seen += [(p, int(s)) for p, t, s in zip(packets.channels(), packets.target_port, packets.size) if t == 5555]
        print("it went on")
    except MonitorError as error:
        print(seen, error.message)
"""


def _isolated(*options: str, code: str) -> subprocess.CompletedProcess[str]:
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", *options, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no namespaces for users here")
    command = ["unshare", *options, sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_an_interface_gives_each_packet_once_and_says_when_it_goes_down() -> None:
    done = _isolated("-rn", code=LISTEN)
    last = done.stdout.splitlines()[-1] if done.stdout else done.stderr
    assert last == f"{[('127.0.0.1>127.0.0.1', 42 + n) for n in range(5)]} interface lo is down", done


def test_without_the_right_to_listen_it_says_what_is_needed() -> None:
    code = 'from monitor.cli import main; main(["feed", "--interface", "lo", "--stdout"])'
    done = _isolated("-U", code=code)
    assert "no right to listen to packets" in done.stderr
    assert "CAP_NET_RAW" in done.stderr
    assert done.returncode == 2
