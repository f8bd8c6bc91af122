"""The backtest's report: no name becomes markup, the same facts give the same bytes, nothing grows without bound,
and a real browser shows it without a complaint, a request or a sideways scroll.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import config, detector
from monitor.batch import Float64
from monitor.calibration.tail import Tail
from monitor.evaluation import backtest, charts, distributions
from monitor.evaluation.backtest import Backtest, Latent
from monitor.evaluation.charts import Axis
from monitor.evaluation.comparison import compare, rows_of
from monitor.evaluation.compression import compare as compare_codes
from monitor.evaluation.hindsight import look_back
from monitor.evaluation.html import Facts, render
from monitor.evaluation.rarity import among_blocks
from monitor.evaluation.words import lasting, pair
from monitor.feeds.table import Rows, Table, records
from monitor.model.manifest import Blocks, FittedTail
from tests import browser
from tests.models import FEATURES, START, tiny_artefact, waves

HOSTILE = ("</script><b>", '"><img src=x onerror=alert(1)>', "</title></style></svg>", "&lt;b&gt;", "'\u202e\x00")
SECTIONS = ("summary", "timeline", "incidents", "worst", "measures", "scores", "budget", "latent", "model")


@cache
def model() -> detector.Detector:
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_artefact(Path(scratch) / "m")
        return detector.load(folder, config.Model(path=folder))


def faulty(rows: int, seed: int, spans: tuple[tuple[int, int], ...]) -> Float64:
    values = waves(rows, len(FEATURES), seed).astype(np.float64)
    for number, (start, end) in enumerate(spans):
        values[start:end, number % 3] += 0.8 * 2**number
    return values


def facts_of(streams: tuple[str, ...] = ("pump-1", "pump-2"), rows: int = 600, labelled: bool = True) -> Facts:
    spans = ((100, 130), (300, 312), (420, 480))
    series = tuple(
        Rows(name, START + np.arange(rows, dtype=np.float64), faulty(rows, 80 + k, spans[k:]).astype(np.float32))
        for k, name in enumerate(streams)
    )
    settings = config.Settings()
    found = backtest.run(settings, model(), [list(records(Table(FEATURES, series), "events"))])
    rng = np.random.default_rng(0)  # whether or not the detector gives codes
    scored = [(s, r) for s, one in enumerate(found.series) for r in np.flatnonzero(np.isfinite(one.score)).tolist()]
    chosen = np.array(scored[::7])
    score = np.array([found.series[s].score[r] for s, r in chosen.tolist()])
    code = rng.normal(size=(len(chosen), 3)).astype(np.float32)
    found = replace(found, latent=Latent(code, score, chosen[:, 0], chosen[:, 1]))
    judged = rows_of(found)
    labels = None
    if labelled:
        labels = {name: np.zeros(rows, np.bool_) for name in streams}
        for k, name in enumerate(streams):
            for start, end in spans[k + 1 :]:
                labels[name][start:end] = True
    compared = None if labels is None else compare(judged, labels, settings.incidents)
    hindsight = look_back(found, judged, labels)
    z = (found.calm - found.calm.mean(axis=(0, 1))).astype(np.float32)
    kept = compare_codes(z, 0.9 * z, 3, found.manifest.features)
    return Facts(found, judged, hindsight, "pumps/*.csv", ("a note",), labels, compared, kept)


@cache
def example() -> Facts:
    return facts_of()


class Seen(HTMLParser):
    """Elements, ids, attributes that load or run something, and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.open: list[str] = []
        self.ids: list[str] = []
        self.active: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "srcset", "action", "data", "poster") or name.startswith("on"):
                self.active.append(name)
            if name.endswith("href") and not (value or "").startswith("#"):
                self.active.append(f"{name}={value}")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(document: str) -> Seen:
    seen = Seen()
    seen.feed(document)
    seen.close()
    assert seen.open == []
    return seen


def named(name: str) -> Facts:
    """The example, with a name for the first stream, the source, a feature and a note."""
    facts = example()
    found = facts.backtest
    old = found.series[0].stream

    def renamed(text: str) -> str:
        return name if text == old else text

    features = tuple(
        one.model_copy(update={"name": name}) if one.name == "a" else one for one in found.manifest.features
    )
    fired = tuple(
        replace(
            one,
            stream=renamed(one.stream),
            features=tuple(f.model_copy(update={"name": name}) if f.name == "a" else f for f in one.features),
        )
        for one in found.fired
    )
    changed = replace(
        found,
        manifest=found.manifest.model_copy(update={"features": features}),
        series=tuple(replace(one, stream=renamed(one.stream)) for one in found.series),
        fired=fired,
        rejects=((name, 3),),
    )
    assert facts.labels is not None
    assert facts.comparison is not None
    assert facts.compression is not None
    streams = {renamed(stream): reports for stream, reports in facts.comparison.streams.items()}
    return replace(
        facts,
        backtest=changed,
        rows=tuple(replace(one, stream=renamed(one.stream)) for one in facts.rows),
        source=name,
        notes=(name,),
        labels={renamed(stream): label for stream, label in facts.labels.items()},
        comparison=replace(facts.comparison, streams=streams),
        compression=replace(
            facts.compression,
            features=tuple(replace(one, name=name) if one.name == "a" else one for one in facts.compression.features),
        ),
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup(name: str) -> None:
    """The page of a hostile name has the elements of the page of a harmless one, and nothing that loads or runs."""
    hostile, harmless = read(render(named(name))), read(render(named("pump")))
    assert hostile.tags == harmless.tags
    assert hostile.ids == harmless.ids
    assert hostile.active == []
    assert not {"script", "link", "iframe", "img", "object"} & set(hostile.tags)
    if name.isprintable():
        assert hostile.text.count(name) >= 5


def test_the_same_facts_give_the_same_bytes_and_no_clock_is_read() -> None:
    first, second = render(example()), render(facts_of())
    assert first == second
    assert "backtest of" not in first
    assert "backtest of 2026-01-02" in render(replace(example(), created="2026-01-02"))


def test_every_section_is_there_and_every_link_leads_to_one() -> None:
    seen = read(render(example()))
    assert seen.ids == list(SECTIONS)
    links = re.findall(r'href="#(\w+)"', render(example()))
    assert links == list(SECTIONS)
    for fact in ("labelled events", "Oracle threshold", "Flag everything", "as configured", "100 a day", "a note"):
        assert fact in seen.text, fact
    assert example().backtest.manifest.digest[:12] in seen.text


def test_pca_stands_beside_the_network_at_the_size_of_its_code() -> None:
    facts = example()
    assert facts.compression is not None
    text = read(render(facts)).text
    assert "PCA against the code" in text
    assert f"With 3 numbers for a window, PCA keeps {facts.compression.explained[2]:.1%}" in text.replace("\u202f", " ")
    assert f"the network {facts.compression.network:.1%}" in text
    assert "PCA against the code" not in read(render(replace(facts, compression=None))).text


def calibrated(facts: Facts, **parts: FittedTail | Blocks | None) -> Facts:
    manifest = facts.backtest.manifest
    calibration = manifest.calibration.model_copy(update=parts)
    changed = manifest.model_copy(update={"calibration": calibration})
    return replace(facts, backtest=replace(facts.backtest, manifest=changed))


def test_the_tail_of_the_threshold_is_drawn_beside_the_incidents_it_speaks_of() -> None:
    """And where there is none, or it begins beyond all scores, nothing is drawn; the bytes stay the same each time."""
    facts = example()
    line = facts.backtest.threshold
    tail = FittedTail(level=line / 4, shape=0.1, scale=line / 8, peaks=50, rate=500.0)
    document = render(calibrated(facts, tail=tail))
    assert document == render(calibrated(facts_of(), tail=tail))
    assert len(re.findall(r'<path [^>]*class="fit"', document)) == 1
    text = read(document).text
    assert "incidents by the tail fitted in training" in text
    assert "(shape 0.10) that was fitted in training to the peaks of 50 incidents" in text
    for without in (None, tail.model_copy(update={"level": 1e6 * line})):
        assert 'class="fit"' not in render(calibrated(facts, tail=without))
    assert "the tail" not in read(render(calibrated(facts, tail=None))).text


@given(level=st.floats(0.01, 2.0), shape=st.floats(-0.5, 0.9), scale=st.floats(0.01, 1.0), high=st.floats(3.0, 100.0))
def test_the_curve_of_a_tail_falls_from_the_rate_of_its_peaks(
    level: float, shape: float, scale: float, high: float
) -> None:
    tail = Tail(level, shape, scale, 50, 500.0)
    drawn = distributions.curve_of(tail, Axis(0.005, high, log=True))
    assert drawn is not None
    levels, rates = drawn
    assert (levels[0], levels[-1]) == (pytest.approx(level), pytest.approx(high))
    assert rates[0] == pytest.approx(500.0)
    assert (np.diff(rates) <= 0).all()
    assert distributions.curve_of(tail, Axis(0.001, level, log=True)) is None


def test_each_peak_has_its_p_value_among_blocks_of_normal_rows() -> None:
    """The highest peak is above all blocks: the smallest there is. Without blocks there is no such column."""
    facts = example()
    fired = facts.backtest.anomalies
    peaks = sorted(one.score * facts.backtest.threshold for one in fired)
    blocks = Blocks(windows=16, largest=tuple(peaks[:-1]))
    found = among_blocks(calibrated(facts, blocks=blocks).backtest)
    assert found is not None
    assert set(found.p) == {one.incident for one in fired}
    assert found.p[max(fired, key=lambda one: one.score).incident] == pytest.approx(1 / len(fired))
    assert found.p[min(fired, key=lambda one: one.score).incident] == 1.0
    document = render(calibrated(facts, blocks=blocks))
    assert document == render(calibrated(facts_of(), blocks=blocks))
    assert document.count('data-head="p"') == len(fired)
    text = read(document).text.replace("\u202f", " ")
    assert "p is how likely 16 events in a row of normal data (16 s) have a peak at least as high" in text
    assert f"So it is never below {1 / len(fired):.2g}." in text
    assert 'data-head="p"' not in render(calibrated(facts, blocks=None))


def test_the_incidents_that_each_level_would_have_made_include_those_of_the_alert_line() -> None:
    """The curve at score 1 is the count that is configured, counted anew."""
    found = example().hindsight
    assert found is not None
    assert found.passed is not None
    here = found.passed.level >= 1.0
    assert found.passed.per_day[here][-1] * found.stream_days == pytest.approx(found.choices[0].incidents, abs=1)


def test_without_labels_nothing_is_measured_and_nothing_is_called_false() -> None:
    seen = read(render(facts_of(labelled=False)))
    assert "measures" not in seen.ids
    assert "false alarm" not in seen.text


def test_a_quiet_backtest_says_so() -> None:
    facts = example()
    found = replace(facts.backtest, fired=(), excerpts={})
    rows = tuple(replace(one, incidents=np.empty((0, 2), np.int64)) for one in facts.rows)
    seen = read(render(replace(facts, backtest=found, rows=rows, hindsight=look_back(found, rows), comparison=None)))
    assert "Nothing fired" in seen.text
    assert "0 incidents" in seen.text


def test_the_document_does_not_grow_with_the_rows() -> None:
    """Ten times the rows and streams beyond those that are shown: hardly more bytes."""
    facts = example()
    rng = np.random.default_rng(1)

    def larger(rows: int, streams: int) -> int:
        time = START + np.arange(rows, dtype=np.float64)
        one = facts.backtest.series[0]
        series, judged = [], []
        for k in range(streams):
            score = np.exp(rng.normal(-1, 1, rows))
            zero = np.zeros(rows, np.int64)
            series.append(
                replace(one, stream=f"s{k}", offset=np.arange(rows), time=time, score=score, z=score, life=zero)
            )
            none = np.empty((0, 2), np.int64)
            judged.append(
                replace(facts.rows[0], stream=f"s{k}", time=time, score=score, z=score, life=zero, incidents=none)
            )
        found: Backtest = replace(facts.backtest, series=tuple(series), fired=(), excerpts={}, latent=None)
        return len(render(replace(facts, backtest=found, rows=tuple(judged), labels=None, comparison=None)))

    assert larger(50_000, 20) < 1.1 * larger(5_000, 9)


@given(
    values=st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(np.nan)), max_size=300),
    columns=st.integers(1, 40),
)
def test_an_envelope_is_bounded_and_loses_no_extreme(values: list[float], columns: int) -> None:
    time = np.arange(len(values), dtype=np.float64)
    value = np.array(values, np.float64)
    shape = charts.envelope(time, value, Axis(0, max(1.0, len(values) - 1.0)), columns)
    known = value[np.isfinite(value)]
    assert len(shape.x) <= columns
    assert (np.diff(shape.x) > 0).all()
    assert (shape.low <= shape.high).all()
    if len(known):
        assert (shape.low.min(), shape.high.max()) == (known.min(), known.max())
    else:
        assert not len(shape.x)


@given(
    starts=st.lists(st.integers(0, 500), min_size=1, max_size=60, unique=True),
    most=st.integers(1, 20),
)
def test_joined_spans_are_bounded_and_cover_the_same_rows_at_least(starts: list[int], most: int) -> None:
    spans = np.array([[start, start + 3] for start in sorted(starts)], np.int64)
    joined = charts.joined(spans, most)
    assert len(joined) <= max(most, 1)
    covered = {row for start, end in joined.tolist() for row in range(start, end)}
    assert {row for start, end in spans.tolist() for row in range(start, end)} <= covered
    assert (joined[0, 0], joined[-1, 1]) == (spans[0, 0], spans[-1, 1])


@given(low=st.floats(-1e9, 1e9), span=st.floats(1e-3, 4e9), most=st.integers(2, 8))
def test_ticks_are_few_in_order_and_within(low: float, span: float, most: int) -> None:
    axis = Axis(low, low + span)
    ticks = axis.ticks(most)
    assert len(ticks) <= most + 1
    assert ticks == sorted(ticks)
    times = charts.times(Axis(low, low + max(span, 2.0)), most)
    assert len(times) <= most + 1
    assert all(0 <= share <= 1 for share, _ in times)


@given(st.integers(0, 2**32 - 1))
def test_principal_components_are_those_of_the_covariance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(50, 4)) * [5, 3, 1, 0.5] @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    plane, (first, second) = distributions.principal(codes)
    values, vectors = np.linalg.eigh(np.cov(codes.T))
    expected = (codes - codes.mean(axis=0)) @ vectors[:, :-3:-1]
    np.testing.assert_allclose(np.abs(plane), np.abs(expected), atol=1e-8)
    assert (first, second) == pytest.approx((values[-1] / values.sum(), values[-2] / values.sum()))
    np.testing.assert_allclose(distributions.principal(codes.copy())[0], plane)


def test_codes_of_one_number_have_one_axis() -> None:
    plane, explained = distributions.principal(np.arange(5.0)[:, None])
    np.testing.assert_allclose(plane, [[-2, 0], [-1, 0], [0, 0], [1, 0], [2, 0]])
    assert explained == (1.0, 0.0)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (pair(1.0, -4.7e-07), ("1", "0")),
        (pair(20.123456, 13.2), ("20.12", "13.2")),
        (pair(0.0, 0.0), ("0", "0")),
        (lasting(2460), "41\u202fmin"),
        (lasting(0.5), "0.5\u202fs"),
        (lasting(7200), "2\u202fh"),
        (lasting(4140), "1\u202fh 9\u202fmin"),
    ],
)
def test_words_leave_out_what_says_nothing(shown: object, expected: object) -> None:
    assert shown == expected


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    if browser.chromium() is None:
        pytest.skip(f"no browser: none of {', '.join(browser.NAMES)} is on the path")
    with browser.started() as running:
        yield running


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_complaint_request_or_sideways_scroll(
    chromium: browser.Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    place = tmp_path / "report.html"
    place.write_text(render(named("a-rather-long-stream-name/" * 4 + HOSTILE[0])), encoding="utf-8")
    with chromium.page(place, width) as page:
        page.prefer(scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        headings = page.evaluate("[...document.querySelectorAll('h2')].map(h => h.firstChild.textContent)")
        for heading in (
            "Timeline",
            "Incidents",
            "Explanations",
            "Measures",
            "Scores",
            "Budget",
            "Latent space",
            "PCA against the code",
            "Model",
        ):
            assert heading in headings
        drawn = page.evaluate(
            "[...document.querySelectorAll('svg.plot')].filter(s => s.getBoundingClientRect().width > 100"
            " && s.getAttribute('aria-label') && s.querySelector('path, rect, circle')).length"
        )
        assert drawn == page.evaluate("document.querySelectorAll('svg.plot').length") >= 8
        cut = page.evaluate(
            "[...document.querySelectorAll('section, .scroll')].filter(s => s.scrollWidth > s.clientWidth + 1).length"
        )
        assert cut == 0
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
        assert page.problems == []
        assert page.requests == [place.resolve().as_uri()]


def test_it_prints_on_paper(chromium: browser.Browser, tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    place.write_text(render(example()), encoding="utf-8")
    with chromium.page(place) as page:
        assert page.pdf().startswith(b"%PDF")
        page.prefer("dark", "print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
