"""Dead letters on a real broker: set aside, shown, corrected, fed back once, scored."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner
from kafka import KafkaProducer

from monitor import cli, config
from monitor.batch import RawRecord
from monitor.errors import FencedError
from monitor.kafka import history
from monitor.kafka.feed import Feed
from monitor.kafka.reader import wait_for_open_transactions
from tests.brokers import Topics, end
from tests.integration.conftest import MakeDeployment
from tests.integration.running import WINDOW, Deployment, event, rows

STAMP = round(time.time() * 1000) - 3_600_000  # ms; not old enough for the topic's retention to take it
GOOD = event("pump", 0, [10, 20, 30])
NOT_UTF8 = b"\xff\x00\xfe"


@pytest.fixture
def producer(topics: Topics) -> Iterator[KafkaProducer]:
    made = KafkaProducer(bootstrap_servers=topics.bootstrap, acks="all")
    yield made
    made.close()


@pytest.fixture
def pair(deploy: MakeDeployment) -> Deployment:
    """Three partitions of input."""
    made = deploy(partitions=3)
    made.create_topics()
    return made


def set_aside(
    deployment: Deployment,
    producer: KafkaProducer,
    value: bytes | None,
    *,
    reason: str = "not_json",
    key: bytes | None = b"pump",
    own: list[tuple[str, bytes]] | None = None,
    partition: int = 2,
    topic: str = "",
) -> int:
    """A dead letter as the service writes it; its offset."""
    facts = {
        "reason": reason,
        "detail": "the test says so",
        "topic": topic or deployment.topics.input.name,
        "partition": partition,
        "offset": 17,
        "timestamp": STAMP,
    }
    headers = [*(own or []), *((f"monitor-{name}", str(fact).encode()) for name, fact in facts.items())]
    sent = producer.send(deployment.topics.dead_letters.name, value, key, headers)
    return int(sent.get(30).offset)


def command(deployment: Deployment, *arguments: str | Path, code: int = 0) -> str:
    """What `monitor replay --dead-letters` says, on one line."""
    line = ["replay", "--dead-letters", *map(str, arguments), "-c", str(deployment.file)]
    done = CliRunner().invoke(cli.main, line, env={name: None for name in os.environ if name.startswith("MONITOR_")})
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def events_of(deployment: Deployment) -> list[Any]:
    return deployment.read(deployment.topics.input.name)


def committed(kafka: config.Kafka, topic: str) -> list[Any]:
    return [record for batch in history.read(kafka, topic) for record in batch]


def test_the_list_counts_by_reason_and_changes_nothing(pair: Deployment, producer: KafkaProducer) -> None:
    for _ in range(3):
        set_aside(pair, producer, b"{")
    set_aside(pair, producer, b"", reason="empty")
    for _ in range(2):
        shown = command(pair)
        assert f"4 dead letters in {pair.topics.dead_letters.name}" in shown
        assert "not_json 3" in shown
        assert "empty 1" in shown
        assert f"{pair.topics.input.name}/2/17: the test says so" in shown
    assert "not_json" not in command(pair, "--reason", "empty")
    assert f"0 dead letters in {pair.topics.dead_letters.name}" in command(pair, "--since", "2100-01-01")
    assert events_of(pair) == []
    assert len(pair.dead_letters()) == 4


def test_what_is_an_event_now_goes_back_with_its_bytes_key_headers_time_and_partition(
    pair: Deployment, producer: KafkaProducer
) -> None:
    own = [("trace", NOT_UTF8), ("trace", b"2")]
    offset = set_aside(pair, producer, GOOD, key=NOT_UTF8, own=own)
    said = command(pair, "--send")
    assert f"sent back 1 of 1 dead letters to {pair.topics.input.name}" in said
    assert "too late" in said
    (record,) = events_of(pair)
    assert (record.partition, record.timestamp) == (2, STAMP)
    assert (record.key, record.value) == (NOT_UTF8, GOOD)
    place = f"{pair.topics.dead_letters.name}/0/{offset}".encode()
    assert list(record.headers) == [*own, ("monitor-replayed", place)]


def test_sending_twice_sends_once_and_what_comes_later_is_sent_then(pair: Deployment, producer: KafkaProducer) -> None:
    set_aside(pair, producer, GOOD)
    command(pair, "--send")
    assert "sent back 0 of 0 dead letters" in command(pair, "--send")
    assert f"0 dead letters in {pair.topics.dead_letters.name}; 1 more were sent back" in command(pair)
    set_aside(pair, producer, event("pump", 1, [1, 2, 3]))
    assert "sent back 1 of 1 dead letters" in command(pair, "--send")
    assert len(events_of(pair)) == 2


def test_what_is_still_no_event_stays_with_its_present_reason(pair: Deployment, producer: KafkaProducer) -> None:
    set_aside(pair, producer, b'{"features": {"a": 1}}')
    set_aside(pair, producer, GOOD)
    set_aside(pair, producer, GOOD, topic="elsewhere")
    said = command(pair, "--send")
    assert "sent back 1 of 3 dead letters" in said
    assert "missing_feature 1" in said
    assert "another topic 1" in said
    assert len(events_of(pair)) == 1
    said = command(pair, "--send", "--reason", "not_json", code=1)
    assert "error: no dead letter became an event" in said
    assert "--export" in said


def test_corrected_ones_go_back_from_the_edited_file_once(
    pair: Deployment, producer: KafkaProducer, tmp_path: Path
) -> None:
    for value in (b'{"features": nope}', NOT_UTF8, b"{"):
        set_aside(pair, producer, value, own=[("trace", b"1")])
    out = tmp_path / "out.ndjson"
    command(pair, "--export", out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["value"] for line in lines] == ['{"features": nope}', {"base64": "/wD+"}, "{"]
    lines[0]["value"] = lines[1]["value"] = GOOD.decode()
    out.write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0]]))  # one of them stands there twice
    said = command(pair, "--send", "--from", out)
    assert "sent back 2 of 3 dead letters" in said
    assert "1 were sent back before" in said
    assert "not_json 1" in said
    found = [(record.value, record.timestamp, record.headers[0]) for record in events_of(pair)]
    assert found == [(GOOD, STAMP, ("trace", b"1"))] * 2
    assert "3 were sent back before" in command(pair, "--send", "--from", out, code=1)
    assert len(events_of(pair)) == 2
    assert f"1 dead letters in {pair.topics.dead_letters.name}; 2 more" in command(pair)


def test_an_export_does_not_overwrite_corrections(pair: Deployment, producer: KafkaProducer, tmp_path: Path) -> None:
    set_aside(pair, producer, b"{")
    out = tmp_path / "out.ndjson"
    out.write_text("corrected")
    assert "exists already" in command(pair, "--export", out, code=2)
    assert out.read_text() == "corrected"


def test_nothing_is_sent_where_one_line_is_wrong(pair: Deployment, producer: KafkaProducer, tmp_path: Path) -> None:
    for _ in range(2):
        set_aside(pair, producer, GOOD)
    out = tmp_path / "out.ndjson"
    command(pair, "--export", out)
    out.write_text(out.read_text() + "{}\n")
    assert f"{out}:3: not a line of" in command(pair, "--send", "--from", out, code=2)
    assert events_of(pair) == []


def test_one_that_came_from_a_partition_that_is_no_more_goes_where_its_key_says(
    deployment: Deployment, producer: KafkaProducer
) -> None:
    set_aside(deployment, producer, GOOD, partition=2)
    command(deployment, "--send")
    assert [record.partition for record in events_of(deployment)] == [0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--send", "--export", "x"), "--export and --send"),
        (("--from", "x"), "--from without --send"),
        (("--send", "--from", "x", "--reason", "empty"), "--from without --send, or with a choice"),
        (("--reason", "emty"), "--reason emty: no such reason"),
        (("--json",), "--json is for files"),
        (("file.csv",), "--dead-letters and a file"),
        (("--send", "--from", "no-such-file"), "cannot read no-such-file"),
    ],
)
def test_options_that_do_not_go_together_are_bad_usage(
    deployment: Deployment, arguments: tuple[str, ...], said: str
) -> None:
    assert said in command(deployment, *arguments, code=2)


def test_a_second_sender_ends_the_first_and_what_it_had_open(topics: Topics) -> None:
    kafka, name, topic = config.Kafka(bootstrap_servers=topics.bootstrap), topics("sender"), topics.create()
    record = RawRecord(topic, 0, -1, STAMP, b"k", b"v")
    with Feed(kafka, name) as first:
        first.send([record])
        with Feed(kafka, name) as second:
            with pytest.raises(FencedError, match="has taken over"):
                first.send([record])
            second.send([record])
    assert [entry.value for entry in committed(kafka, topic)] == [b"v", b"v"]


def test_a_call_sends_all_of_its_records_or_none(topics: Topics) -> None:
    kafka, topic = config.Kafka(bootstrap_servers=topics.bootstrap), topics.create()
    good = RawRecord(topic, 0, -1, STAMP, b"k", b"v")
    with Feed(kafka, topics("sender")) as feed, pytest.raises(Exception, match=r"(?i)large"):
        feed.send([good, good._replace(value=Random(0).randbytes(2**21))])  # the topic takes 1 MiB
    assert committed(kafka, topic) == []


def test_a_marker_behind_an_open_transaction_is_waited_for(topics: Topics) -> None:
    """Or a letter would go back twice: it can be read already, and the marker behind the open transaction not yet."""
    kafka, topic = config.Kafka(bootstrap_servers=topics.bootstrap), topics.create()
    other = KafkaProducer(bootstrap_servers=topics.bootstrap, transactional_id=topics("t"), transaction_timeout_ms=4000)
    try:
        other.init_transactions()
        other.begin_transaction()
        other.send(topic, b"open", partition=0).get(30)
        with Feed(kafka, topics("sender")) as feed:
            feed.send([RawRecord(topic, 0, -1, STAMP, None, b"marker")])
        assert committed(kafka, topic) == []
        wait_for_open_transactions(kafka, topic)  # the brokers abort it
        assert [record.value for record in committed(kafka, topic)] == [b"marker"]
    finally:
        end(other)


def test_poison_is_set_aside_corrected_fed_back_and_scored(deployment: Deployment, tmp_path: Path) -> None:
    good = [event("pump", number, row) for number, row in enumerate(rows(WINDOW, ()).tolist())]
    service = deployment.serve()
    spoiled = good[-1].replace(b'"features"', b'"featurse"')
    deployment.put([(0, b"pump", value) for value in [*good[:-1], spoiled]])
    service.until(lambda: service.metric("monitor_rejected_total") == 1, "the reject")
    assert service.metric("monitor_windows_scored_total") == 0  # one event short of a window
    (before,) = deployment.dead_letters()
    assert before.value == spoiled

    out = tmp_path / "out.ndjson"
    command(deployment, "--export", out)
    out.write_text(out.read_text().replace("featurse", "features"))
    assert "sent back 1 of 1" in command(deployment, "--send", "--from", out)
    service.until(lambda: service.metric("monitor_windows_scored_total") == 1, "the window's score")
    *_, original, record = events_of(deployment)
    assert (record.key, record.value, record.timestamp) == (b"pump", good[-1], original.timestamp)
    assert len(deployment.dead_letters()) == 2  # the letter, and the marker that it was sent back
