"""HTTP over a real loopback socket: routes, codes, forms, and clients that mean no good."""

from __future__ import annotations

import gzip
import http.client
import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser

from monitor import config
from monitor.errors import MonitorError
from monitor.metrics import Metrics
from monitor.status import OpenIncident, PartitionStatus, SeenReject, SharedName, Status, StreamScore, WarmingStream
from monitor.web import markup, page, panels
from monitor.web import server as web
from tests import status_example as example


class Service:
    """What the web asks: a status and whether the loop turns, both to be changed by a test."""

    def __init__(self) -> None:
        self.status: Status | None = example.busy()
        self.stuck: str | None = None
        self.port = 0

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def raw(self, sent: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            received = b""
            while part := client.recv(65536):
                received += part
        return received


@contextmanager
def serving(registry: CollectorRegistry | None = None) -> Iterator[Service]:
    service = Service()
    if registry is None:
        registry = CollectorRegistry()
        Metrics(registry, example.manifest(), config.Settings()).refresh(example.busy())
    server = web.Web("127.0.0.1", 0, registry, lambda: service.status, lambda: service.stuck)
    server.start()
    service.port = server.port
    try:
        yield service
    finally:
        server.close()
        server.close()  # twice does no harm


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


def test_ready_and_alive_answer_200_with_json(service: Service) -> None:
    response, body = service.get("/readyz")
    assert (response.status, json.loads(body)) == (200, {"ready": True, "state": "running", "reasons": []})
    response, body = service.get("/livez")
    assert (response.status, json.loads(body)) == (200, {"alive": True, "reason": None})


def test_before_the_first_status_it_is_alive_and_not_ready(service: Service) -> None:
    service.status = None
    response, body = service.get("/readyz")
    assert response.status == 503
    assert json.loads(body) == {"ready": False, "state": "starting", "reasons": [page.NO_STATUS]}
    assert service.get("/livez")[0].status == 200
    assert service.get("/status.json")[0].status == 503
    response, body = service.get("/")
    assert response.status == 503
    assert page.NO_STATUS in body.decode()


def test_not_ready_says_why(service: Service) -> None:
    service.status = example.starting()
    response, body = service.get("/readyz")
    assert response.status == 503
    assert json.loads(body)["reasons"] == ["No partitions are assigned to this member yet."]
    service.status = replace(example.busy(), state="stopping")
    response, body = service.get("/readyz")
    assert response.status == 503
    assert json.loads(body) == {"ready": False, "state": "stopping", "reasons": ["The service is stopping."]}


def test_a_stuck_loop_is_neither_alive_nor_ready(service: Service) -> None:
    service.stuck = "the loop has not turned for 130 s"
    response, body = service.get("/livez")
    assert (response.status, json.loads(body)) == (503, {"alive": False, "reason": service.stuck})
    response, body = service.get("/readyz")
    assert (response.status, json.loads(body)["reasons"]) == (503, [service.stuck])
    assert service.stuck in service.get("/")[1].decode()


def test_metrics_come_as_text_or_openmetrics_by_accept_and_gzip_when_asked(service: Service) -> None:
    response, body = service.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"monitor_open_incidents 3.0" in body
    asked = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3"
    response, body = service.get("/metrics", Accept=asked, Accept_Encoding="gzip, deflate")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert response.headers["Content-Encoding"] == "gzip"
    families = parser.text_string_to_metric_families(gzip.decompress(body).decode())  # type: ignore[no-untyped-call]
    assert any(family.name == "monitor_score" for family in families)
    response, _ = service.get("/metrics?name=x", Accept="application/openmetrics-text;q=0", Accept_Encoding="gzip;q=0")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.headers["Content-Encoding"] is None


@pytest.mark.parametrize("path", web.PATHS)
def test_head_has_the_headers_of_get_and_no_body(service: Service, path: str) -> None:
    got, body = service.get(path)
    head, nothing = service.get(path, method="HEAD")
    assert nothing == b""
    assert head.status == got.status == 200
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    length = int(head.headers["Content-Length"])
    assert length == len(body) or (path == "/metrics" and length > 0)  # process_* changes from scrape to scrape


@pytest.mark.parametrize("path", [*web.PATHS, "/nowhere"])
def test_every_answer_forbids_scripts_sniffing_and_storing(service: Service, path: str) -> None:
    headers = service.get(path)[0].headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "monitor"


@pytest.mark.parametrize("path", ["/nowhere", "/metrics/", "/../etc/passwd", "/%00", "/livez/../readyz", "*"])
def test_an_unknown_path_is_404_and_is_not_echoed(service: Service, path: str) -> None:
    response, body = service.get(path)
    assert response.status == 404
    assert json.loads(body) == {"error": "no such path", "paths": list(web.PATHS)}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_only_get_and_head_are_allowed(service: Service, method: str) -> None:
    response, body = service.get("/", method=method)
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert json.loads(body) == {"error": "only GET and HEAD"}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / oops\r\n\r\n", 400),
        (b"\xff\xfe \x00 HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=x\r\n y: 1\r\n\r\n", 200),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", 404),
    ],
)
def test_a_malformed_request_gets_its_code_and_the_next_one_its_answer(
    service: Service, sent: bytes, code: int
) -> None:
    assert service.raw(sent).split(b"\r\n")[0].split()[1] == str(code).encode()
    assert service.get("/livez")[0].status == 200


@given(sent=st.binary(max_size=200))
def test_no_bytes_stop_the_server(sent: bytes) -> None:
    server = shared()
    server.raw(sent + b"\r\n\r\n")
    assert server.get("/livez")[0].status == 200


_SHARED: list[Service] = []


def shared() -> Service:
    return _SHARED[0]


@pytest.fixture(scope="module", autouse=True)
def _shared_service() -> Iterator[None]:
    with serving() as running:
        _SHARED.append(running)
        yield
        _SHARED.clear()


def test_a_client_that_drips_is_cut_off_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "DEADLINE_SECONDS", 0.3)
    with serving() as service, socket.create_connection(("127.0.0.1", service.port), timeout=5) as client:
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            drip(client, seconds=5)
        assert time.monotonic() - began < 3


def test_connections_over_the_cap_are_closed_and_slots_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "CONNECTIONS", 4)
    monkeypatch.setattr(web, "DEADLINE_SECONDS", 1.0)
    with serving() as service:
        idle = [socket.create_connection(("127.0.0.1", service.port), timeout=5) for _ in range(4)]
        try:
            assert eventually(lambda: refused(service))
            assert eventually(lambda: not refused(service))  # their deadline has passed
        finally:
            for client in idle:
                client.close()


def drip(client: socket.socket, seconds: float) -> None:
    """A request of which each byte comes in time and the end never does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.sendall(b"G")
        time.sleep(0.02)


def refused(service: Service) -> bool:
    try:
        return service.get("/livez")[0].status != 200
    except (http.client.HTTPException, OSError):
        return True


def eventually(law: Callable[[], bool], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if law():
            return True
        time.sleep(0.05)
    return False


def test_many_requests_at_once_are_all_answered(service: Service) -> None:
    paths = [*web.PATHS] * 20
    with ThreadPoolExecutor(16) as pool:
        assert {response.status for response, _ in pool.map(service.get, paths)} == {200}


def test_an_error_inside_is_a_500_that_is_logged_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(CollectorRegistry):
        def collect(self) -> Iterator[None]:  # type: ignore[override]  # never gets as far as a value
            raise RuntimeError("secret")

    with serving(Broken()) as service:
        response, body = service.get("/metrics")
        assert response.status == 500
        assert b"secret" not in body
        assert service.get("/livez")[0].status == 200
    assert "no answer to a request" in caplog.text


def test_a_port_in_use_says_which_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MonitorError) as caught:
            web.Web("127.0.0.1", port, CollectorRegistry(), lambda: None, lambda: None)
    assert f"127.0.0.1:{port}" in caught.value.message
    assert "the port is in use" in caught.value.message
    assert caught.value.hint == "set web.port to a free port, or to 0 for any"


def test_an_address_of_another_machine_says_which_setting_to_change() -> None:
    with pytest.raises(MonitorError, match=r"cannot listen on 192\.0\.2\.1:0") as caught:
        web.Web("192.0.2.1", 0, CollectorRegistry(), lambda: None, lambda: None)
    assert "web.host" in caught.value.hint


class Seen(HTMLParser):
    """Tags and text of a page, as a browser would read them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        assert all(name in ALLOWED for name, _ in attrs), attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


ALLOWED = {
    *("class", "title", "href", "charset", "name", "content", "http-equiv", "lang"),
    *("width", "height", "rx", "x", "viewbox", "preserveaspectratio", "aria-hidden"),
}
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=y>', "</title></style></td>", "&lt;b&gt;", "'\u202e\x00")


def named(name: str) -> Status:
    return replace(
        example.busy(),
        group=name,
        not_ready=(name,),
        topics=(name, name, name, name),
        recovery=f"{name} is being recovered",
        stopped=f"{name} stopped it",
        open_incidents=(OpenIncident(name, 0, name, "major", math.inf, math.nan),),
        last_rejects=(SeenReject(name, name, name, 0, 1),),
        worst=(StreamScore(name, math.inf),),
        warming=(WarmingStream(name, 1, 2),),
        shared=(SharedName(name, (0, 2)),),
    )


def read(document: str) -> Seen:
    seen = Seen()
    seen.feed(document)
    seen.close()
    assert seen.open == []
    return seen


@given(
    name=st.one_of(
        st.sampled_from(HOSTILE), st.text("<>\"'&;/=! abc\x00\ud800\u202e", max_size=40), st.text(max_size=40)
    )
)
def test_no_name_becomes_markup(name: str) -> None:
    """The page of any names has the very elements of the page of a harmless one."""
    assert read(page.render(named(name))).tags == read(page.render(named("pump"))).tags


@given(name=st.text("<>\"'& abc", min_size=1, max_size=20).map(str.strip).filter(bool))
def test_a_name_is_read_back_as_it_was(name: str) -> None:
    assert read(page.render(named(name))).text.count(name) >= 11


@pytest.mark.parametrize("name", [*HOSTILE, "\ud800"])
def test_hostile_names_are_served_on_every_path(service: Service, name: str) -> None:
    service.status = named(name)
    assert service.get("/")[0].status == 200
    reasons = [f"{name} stopped it", name, f"{name} is being recovered"]
    assert json.loads(service.get("/readyz")[1])["reasons"] == reasons
    facts = json.loads(service.get("/status.json")[1], parse_constant=pytest.fail)
    assert facts["group"] == name
    assert facts["worst"][0]["score"] is None  # infinity is not JSON


def test_the_page_shows_the_facts_of_the_status(service: Service) -> None:
    text = read(service.get("/")[1].decode()).text
    for fact in (
        *("Ready", "pumps", "4\u202f183", "855", "plant-2/pump-7", "critical", "9.86", "missing_feature"),
        *("LSTM autoencoder", "32 events", "temperature, vibration", "0.874", example.manifest().digest[:12]),
        *("ab12cd34ef56", "events.dead", "27 of 32 events", "all other streams", "up 2\u202fd 4\u202fh"),
    ):
        assert fact in text, fact


def test_the_page_tells_of_each_partition_whether_it_is_read_recovered_or_stuck(service: Service) -> None:
    service.status = example.recovering()
    page_of_it = read(service.get("/")[1].decode())
    assert page_of_it.text.count("reading") == 4
    assert "recovering 79\u202f%" in page_of_it.text
    assert page_of_it.text.count("stuck") == 1
    assert "recovering 1 of 6 partitions: 120,000 records to go, 85,000/s" in page_of_it.text
    facts = json.loads(service.get("/status.json")[1])
    assert [partition["state"] for partition in facts["partitions"]] == [
        *("reading", "reading", "recovering", "stuck", "reading", "reading")
    ]
    assert facts["partitions"][2]["recovering_until"] == facts["partitions"][2]["position"] + 120_000
    assert (facts["recovery"], facts["ready"]) == (example.recovering().recovery, False)


def test_a_recovery_is_never_shown_as_done_while_it_goes_on() -> None:
    partition = PartitionStatus(0, 100, 100, 0, 0, recovering_from=0, recovering_until=100)
    assert "recovering 99\u202f%" in read(page.render(replace(example.busy(), partitions=(partition,)))).text
    partition = replace(partition, recovering_from=None)
    assert "recovering<" in page.render(replace(example.busy(), partitions=(partition,)))


def test_a_partition_that_is_stuck_is_among_those_shown_however_small_its_lag() -> None:
    partitions = tuple(PartitionStatus(i, 0, 1000 + i, 1, 0) for i in range(100))
    stuck = PartitionStatus(100, 0, 1, 1, 0, stuck=True)
    text = read(page.render(replace(example.busy(), partitions=(*partitions, stuck)))).text
    assert f"Assignment{panels.ROWS} of 101" in text
    assert "stuck" in text


def test_a_service_that_stopped_reading_is_alive_and_unready_and_says_why(service: Service) -> None:
    why = "60 % of the last 10,000 records were rejected, 50 % are allowed (dead_letters.max_ratio)"
    service.status = replace(example.busy(), stopped=why, not_ready=("the brokers are away",))
    response, body = service.get("/readyz")
    assert (response.status, json.loads(body)["reasons"]) == (503, [why, "the brokers are away"])
    assert service.get("/livez")[0].status == 200
    text = read(service.get("/")[1].decode()).text
    assert text.count(why) == 1
    assert "It has stopped reading." in text
    assert "Stopped" in text
    assert "It has stopped reading." not in page.render(example.busy())


def test_the_page_names_the_delivery_and_records_that_were_lost_before_they_were_read() -> None:
    text = read(page.render(example.busy())).text
    assert "exactly once" in text
    assert "Data lost" not in text
    lost = replace(example.busy(), delivery="at_least_once", data_lost=12_345)
    text = read(page.render(lost)).text
    assert "at least once" in text
    assert "12\u202f345 records gone before they were read" in text


def test_a_threshold_from_the_configuration_is_shown_beside_the_calibrated_one() -> None:
    text = read(page.render(replace(example.busy(), threshold=1.5))).text
    assert "1.50 (set in the configuration; calibrated 0.874)" in text
    assert "set in the configuration" not in read(page.render(example.busy())).text


def test_a_name_in_two_partitions_is_shown_only_where_there_is_one(service: Service) -> None:
    assert "key the input by stream" not in page.render(example.busy())
    assert "0, 2" in page.render(replace(example.busy(), shared=(SharedName("pump-7", (0, 2)),)))


def test_an_empty_page_says_what_to_expect(service: Service) -> None:
    service.status = example.starting()
    text = read(service.get("/")[1].decode()).text
    for expectation in (
        "No open incidents.",
        "No scores yet.",
        "Nothing rejected.",
        "No partitions yet",
        "No stream is",
    ):
        assert expectation in text


def test_a_long_table_is_cut_and_the_rest_is_counted(service: Service) -> None:
    many = tuple(StreamScore(f"s{i}", 1.0 - i / 2000) for i in range(1000))
    warming = tuple(WarmingStream(f"w{i}", i % 32, 32) for i in range(50))
    service.status = replace(example.busy(), worst=many, other_worst=None, warming=warming)
    seen = read(service.get("/")[1].decode())
    assert seen.tags["tr"] < 120
    assert "all other streams, at most0.988" in seen.text
    assert f"Warming up{panels.ROWS} of 50" in seen.text


def test_the_page_needs_nothing_from_elsewhere(service: Service) -> None:
    body = service.get("/")[1].decode()
    assert "//" not in body.replace("<!doctype html>", "")
    assert "url(" not in body
    assert "script" not in read(body).tags


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (markup.number(0), "0"),
        (markup.number(12.34), "12.3"),
        (markup.number(1234567), "1\u202f234\u202f567"),
        (markup.number(math.nan), "\u2013"),
        (markup.significant(0.0), "0.00"),
        (markup.significant(0.01234), "0.0123"),
        (markup.significant(0.9999), "1.00"),
        (markup.significant(123.4), "123"),
        (markup.significant(1e-7), "1.00e-07"),
        (markup.percent(0, 0), "0\u202f%"),
        (markup.percent(1, 1_000_000), "< 0.01\u202f%"),
        (markup.percent(1, 80), "1.25\u202f%"),
        (markup.percent(4, 4), "100\u202f%"),
        (markup.duration(59.9), "59\u202fs"),
        (markup.duration(725), "12\u202fmin 5\u202fs"),
        (markup.duration(-5), "0\u202fs"),
        (markup.duration(90_000), "1\u202fd 1\u202fh"),
        (markup.moment(0), "1970-01-01 00:00:00"),
        (markup.moment(1e18), "1e+18"),
        (markup.plural(1, "window"), "1 window"),
    ],
)
def test_numbers_are_written_for_people(shown: str, expected: str) -> None:
    assert shown == expected
