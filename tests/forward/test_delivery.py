"""`monitor forward` as a process, on a real Kafka, to a real HTTP server: nothing lost, nothing overtaken."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from monitor.alerts import Alert
from tests.brokers import end
from tests.forward.hook import Hook, Posted
from tests.forward.made import alert, courses
from tests.integration.conftest import MakeDeployment, deploy, deployment, model  # noqa: F401  fixtures
from tests.integration.running import Deployment, Monitor, until

STREAMS = [f"s{number}" for number in range(12)]
QUICK = {"session_timeout": 6}  # s, the least that brokers allow: a member that was killed holds its partitions so long


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as listening:
        yield listening


def publish(where: Deployment, told: Iterable[Alert], *values: bytes, then: str = "commit") -> None:
    """In one transaction, keyed by stream, as the service does; `then` is commit or abort."""
    producer = KafkaProducer(bootstrap_servers=where.bootstrap, transactional_id=f"{where.kafka.group}.test")
    try:
        producer.init_transactions()
        producer.begin_transaction()
        for each in told:
            producer.send(where.topics.alerts.name, each.to_bytes(), each.stream.encode(), headers=each.headers())
        for value in values:
            producer.send(where.topics.alerts.name, value, b"x")
        producer.flush()
        if then == "commit":
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    finally:
        end(producer)


def forward(where: Deployment, hook: Hook, **environment: str) -> Monitor:
    where.write(forward={"to": "webhook", "url": hook.url, "timeout": 2, "longest_wait": 1})
    return where.start("forward", environment=environment)


def streams(posted: Iterable[Posted]) -> dict[str, list[str]]:
    """The ids of the alerts of each stream, in the order they came, without repeats."""
    found: dict[str, list[str]] = {}
    for each in posted:
        ids = found.setdefault(each.json["stream"], [])
        if each.json["id"] not in ids:
            ids.append(each.json["id"])
    return found


def expected(told: Iterable[Alert]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in told:
        found.setdefault(each.stream, []).append(each.id)
    return found


def committed(where: Deployment) -> dict[int, Any]:
    consumer = KafkaConsumer(bootstrap_servers=where.bootstrap, group_id=f"{where.kafka.group}.forward")
    try:
        places = [TopicPartition(where.topics.alerts.name, p) for p in range(where.topics.alerts.partitions)]
        found = {place.partition: consumer.committed(place, metadata=True) for place in places}
        return {partition: place for partition, place in found.items() if place is not None}
    finally:
        consumer.close(autocommit=False)


def test_each_alert_is_posted_once_as_published_in_order_per_stream(deploy: MakeDeployment, hook: Hook) -> None:  # noqa: F811
    where = deploy(partitions=3)
    where.create_topics()
    told = list(courses(STREAMS, incidents=2))
    publish(where, told)
    member = forward(where, hook)
    member.until(lambda: len(hook.taken) == len(told), "all alerts")
    assert streams(hook.taken) == expected(told)
    by_id = {each.id: each for each in told}
    for posted in hook.taken:
        assert posted.path == "/hook?key=5"
        assert posted.body == by_id[posted.headers["ce-id"]].to_bytes()
        assert posted.headers["content-type"] == "application/json"
    assert member.ready()
    member.until(lambda: member.metric("monitor_forward_alerts_total", result="delivered") == len(told), "the count")
    member.until(lambda: sum(place.offset for place in committed(where).values()) >= len(told), "the commit")
    member.signal(signal.SIGTERM)
    assert member.ends() == 0
    again = forward(where, hook)
    again.until(again.ready, "readiness")
    publish(where, [alert("s0", 9)])
    again.until(lambda: len(hook.taken) > len(told), "the next alert")
    assert [posted.headers["ce-id"] for posted in hook.taken[len(told) :]] == [alert("s0", 9).id]


def test_what_was_aborted_is_not_forwarded(deployment: Deployment, hook: Hook) -> None:  # noqa: F811
    publish(deployment, [alert("a", 0)], then="abort")
    publish(deployment, [alert("a", 1)])
    member = forward(deployment, hook)
    member.until(lambda: hook.taken, "the alert")
    assert hook.ids() == [alert("a", 1).id]


@pytest.mark.parametrize("trouble", ["503", "429", "silent", "closed", "404"])
def test_while_the_receiver_is_away_nothing_is_lost_or_overtaken(
    deployment: Deployment,  # noqa: F811
    hook: Hook,
    trouble: str,
) -> None:
    told = list(courses(STREAMS[:3]))

    def answer(_: Posted) -> int:
        return 200 if len(hook.taken) < 4 or well else int(trouble) if trouble.isdigit() else 0

    well = False
    hook.answer = answer
    if trouble == "closed":
        hook.after = lambda _: hook._server.socket.close() if len(hook.taken) == 4 else None
    publish(deployment, told)
    member = forward(deployment, hook)
    member.until(lambda: len(hook.taken) == 4 and not member.ready(), "readiness lost")
    code, said = member.get("/readyz")
    assert code == 503
    assert hook.url.partition("?")[0] in said
    assert "key=5" not in said  # an address may hold a token
    assert member.get("/livez")[0] == 200
    assert member.metric("monitor_forward_receiver_up") == 0
    publish(deployment, [alert("later")])
    well = True
    if trouble == "closed":
        hook.after = lambda _: None
        hook.close()
        hook.open()
    member.until(lambda: len(hook.taken) == len(told) + 1, "all alerts")
    assert streams(hook.taken) == expected([*told, alert("later")])
    assert len(hook.ids()) == len(set(hook.ids()))
    member.until(member.ready, "readiness")
    assert member.lines("the receiver is back")


def test_retry_after_is_heeded_up_to_the_longest_wait(deployment: Deployment, hook: Hook) -> None:  # noqa: F811
    hook.answer = lambda _: 503
    hook.headers = {"Retry-After": "3600"}
    publish(deployment, [alert("a")])
    member = forward(deployment, hook, MONITOR_FORWARD__LONGEST_WAIT="600")
    member.until(lambda: not member.ready() and hook.posted, "readiness lost")
    hook.answer = lambda _: 200
    until(lambda: member.metric("monitor_forward_ready") == 0, member.tail, "the gauge")
    assert len(hook.posted) == 1
    member.signal(signal.SIGTERM)  # which does not wait for an hour
    assert member.ends() == 0
    assert not committed(deployment)[0].offset
    again = forward(deployment, hook)
    again.until(lambda: hook.taken, "the alert")


def test_killed_between_the_answer_and_the_commit_it_sends_again_and_loses_nothing(
    deployment: Deployment,  # noqa: F811
    hook: Hook,
) -> None:
    told = list(courses(STREAMS[:4], incidents=3))
    publish(deployment, told)
    deployment.write(kafka=QUICK)
    member: Monitor | None = None

    def kill(_: Posted) -> None:
        if len(hook.taken) == 7 and member is not None:
            os.kill(member.process.pid, signal.SIGKILL)

    hook.after = kill
    hook.answer = lambda _: 200 if member is not None else 503
    member = forward(deployment, hook)
    member.ends()
    first = hook.ids()
    places = committed(deployment)
    place = places[0].offset if places else 0
    assert place < 7  # what it killed lies between an answer and its commit
    again = forward(deployment, hook)
    again.until(lambda: len(set(hook.ids())) == len(told), "all alerts")
    assert streams(hook.taken) == expected(told)
    assert hook.ids()[len(first) :] == [each.id for each in told[place:]]


def test_an_alert_that_is_refused_alone_is_left_out_told_and_holds_up_nothing(
    deployment: Deployment,  # noqa: F811
    hook: Hook,
) -> None:
    bad = alert("a", 1)
    hook.answer = lambda posted: 422 if posted.json["id"] == bad.id else 200
    publish(deployment, [alert("a", 0), bad, alert("a", 2)], b"no alert")
    member = forward(deployment, hook)
    member.until(lambda: len(hook.taken) == 2, "the others")
    (line,) = member.lines("the receiver refuses an alert; left out")
    assert line["id"] == bad.id
    assert line["place"] == f"{deployment.topics.alerts.name} 0:1"
    assert "422" in line["why"]
    assert "as the test says" in line["why"]
    member.until(lambda: member.lines("not an alert of this version; left out"), "the other line")
    member.until(member.ready, "readiness")
    assert member.metric("monitor_forward_alerts_total", result="refused") == 1
    assert member.metric("monitor_forward_alerts_total", result="unreadable") == 1


def test_of_a_request_with_many_alerts_only_the_one_that_is_refused_is_left_out(
    deployment: Deployment,  # noqa: F811
    hook: Hook,
) -> None:
    """Alertmanager's answer does not say which it was."""
    hook.answer = lambda posted: 400 if b'"s1"' in posted.body else 200
    publish(deployment, [alert(stream) for stream in STREAMS[:4]])
    deployment.write(forward={"resend_every": 300, "keep_open": 900})
    member = forward(deployment, hook, MONITOR_FORWARD__TO="alertmanager")
    member.until(lambda: member.metric("monitor_forward_alerts_total", result="delivered") == 3, "the others")
    assert [len(posted.json) for posted in hook.posted[:5]] == [4, 1, 1, 1, 1]
    taken = [told["labels"]["stream"] for posted in hook.taken for told in posted.json]
    assert sorted(set(taken)) == ["s0", "s2", "s3"]
    assert member.metric("monitor_forward_alerts_total", result="refused") == 1
    (line,) = member.lines("the receiver refuses an alert; left out")
    assert line["stream"] == "s1"


def test_a_repeat_and_what_is_below_the_least_severity_are_not_sent(deployment: Deployment, hook: Hook) -> None:  # noqa: F811
    opened, updated, closed = courses(["a"])  # it becomes major with the update
    publish(deployment, [opened, updated, updated, closed])
    member = forward(deployment, hook, MONITOR_FORWARD__MIN_SEVERITY="major")
    member.until(lambda: len(hook.taken) == 2, "two messages")
    assert hook.ids() == [updated.id, closed.id]
    assert member.metric("monitor_forward_alerts_total", result="repeated") == 1
    assert member.metric("monitor_forward_alerts_total", result="below_severity") == 1


def test_a_member_takes_over_from_one_that_was_killed(deploy: MakeDeployment, hook: Hook) -> None:  # noqa: F811
    where = deploy(partitions=4)
    where.write(kafka=QUICK)
    where.create_topics()
    members = [forward(where, hook) for _ in range(2)]
    for member in members:
        member.until(member.ready, "readiness")
    told = list(courses(STREAMS, incidents=3))
    publish(where, told[:40])
    until(lambda: len(set(hook.ids())) > 20, members[0].tail, "some alerts")
    members[0].signal(signal.SIGKILL)
    publish(where, told[40:])
    members[1].until(lambda: len(set(hook.ids())) == len(told), "all alerts")
    assert streams(hook.taken) == expected(told)


def test_latest_begins_with_the_next_alert_and_stays_there(deployment: Deployment, hook: Hook) -> None:  # noqa: F811
    publish(deployment, [alert("a", 0)])
    member = forward(deployment, hook, MONITOR_FORWARD__START_AT="latest")
    member.until(member.ready, "readiness")
    member.signal(signal.SIGTERM)
    assert member.ends() == 0
    publish(deployment, [alert("a", 1)])  # while nobody is there
    again = forward(deployment, hook, MONITOR_FORWARD__START_AT="latest")
    again.until(lambda: hook.taken, "the alert")
    assert hook.ids() == [alert("a", 1).id]


def test_credentials_are_sent_and_read_again_when_they_are_refused(deployment: Deployment, hook: Hook) -> None:  # noqa: F811
    token = deployment.folder / "token"
    token.write_text("old\n")
    hook.answer = lambda posted: 200 if posted.headers["authorization"] == "Bearer new" else 401
    publish(deployment, [alert("a")])
    member = forward(deployment, hook, MONITOR_FORWARD__BEARER_TOKEN_FILE=str(token))
    member.until(lambda: hook.posted and not member.ready(), "readiness lost")
    assert "forward.bearer_token_file" in member.get("/readyz")[1]
    token.write_text("new\n")
    member.until(lambda: hook.taken, "the alert")
    assert "Bearer" not in member.log


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({"MONITOR_FORWARD__URL": "null"}, 2, "forward.url is not set: there is nowhere to forward alerts to"),
        ({"MONITOR_TOPICS__ALERTS__NAME": "nowhere"}, 1, "topic 'nowhere' (topics.alerts) does not exist on"),
        ({"MONITOR_FORWARD__PASSWORD_FILE": "/none", "MONITOR_FORWARD__USERNAME": "me"}, 2, "/none does not exist"),
        ({"MONITOR_FORWARD__CA_FILE": "/none", "MONITOR_FORWARD__URL": "https://x"}, 2, "/none cannot be loaded"),
    ],
)
def test_what_cannot_work_ends_with_one_clear_line(
    deployment: Deployment,  # noqa: F811
    hook: Hook,
    environment: dict[str, str],
    code: int,
    said: str,
) -> None:
    member = forward(deployment, hook, **environment)
    assert member.ends() == code
    last = json.loads(member.log.splitlines()[-1])
    assert last["event"] == "failed"
    assert said in last["reason"]
