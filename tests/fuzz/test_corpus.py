"""Hostile input without a fuzzer: the kept corpus and some thousand seeded mutations of it, on every platform."""

from __future__ import annotations

import json
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import config
from monitor.batch import RawRecord
from monitor.events import Decoder
from tests.fuzz import events, oracle
from tests.fuzz.keeping import kept
from tests.fuzz.mutation import mutations
from tests.fuzz.strictjson import Array, NotJsonError, Number, Object, Value, Word, read
from tests.fuzz.target import Target, WrongError
from tests.fuzz.targets import NAMES, targets
from tests.models import tiny_artefact

MUTATIONS = {"events": 10_000, "checkpoint": 10_000, "state": 10_000, "config": 600, "artefact": 400}


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    return targets(tiny_artefact(folder, ("a", "b"), window=2, hidden=2, code=1, epochs=1))


@pytest.mark.parametrize("name", NAMES)
def test_the_kept_corpus_and_mutations_of_it_find_nothing(name: str, every: dict[str, Target]) -> None:
    target = every[name]
    inputs = [*kept(name), *target.seeds()]
    assert kept(name), "the corpus is kept in tests/fuzz/corpus"
    accepted = sum(target.check(data) for data in inputs)
    assert 0 < accepted < len(inputs), "inputs of both kinds, or the check has nothing to say"
    for data in islice(mutations(inputs, target.words, seed=11), MUTATIONS[name]):
        try:
            target.check(data)
        except Exception as error:
            pytest.fail(f"{name}, input {data!r}: {type(error).__name__}: {error}")


# That the checks can fail: a decoder with a fault of each kind is found out.

EVENT = b'\x00\x00{"stream": "s", "time": 1000.5, "features": {"a": 1, "b": 2}}'


def spoiled(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    real = Decoder.decode

    def decode(self: Decoder, records: Any) -> Any:
        decoded = real(self, records)
        change(decoded.batch)
        return decoded

    monkeypatch.setattr(Decoder, "decode", decode)


def last_bit(batch: Any) -> None:
    batch.values.view("u4")[batch.offset == 2, 0] ^= 1


def swapped(batch: Any) -> None:
    batch.values[batch.offset == 2] = batch.values[batch.offset == 2, ::-1]


def neighbour(batch: Any) -> None:
    batch.values[batch.offset == 1] = 0


def later(batch: Any) -> None:
    batch.time[batch.offset == 2] += 1e-9


@pytest.mark.parametrize("change", [last_bit, swapped, neighbour, later])
def test_a_row_that_is_wrong_in_one_bit_is_found(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    assert events.check(EVENT)
    spoiled(monkeypatch, change)
    with pytest.raises(WrongError):
        events.check(EVENT)


def test_a_policy_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = b'\x00\x00{"features": {"a": 1}}'
    assert not events.check(missing)
    monkeypatch.setattr(events, "_decoder", lambda *_: Decoder(("a", "b"), config.Events(missing="impute")))
    with pytest.raises(WrongError, match="accepted, but it is to be refused"):
        events.check(missing)


# That the oracle's reader is one: where Python's json is sure, the two agree.


def plain(value: Value) -> Any:
    if isinstance(value, Object):
        return {key: plain(inner) for key, inner in value.members}
    if isinstance(value, Array):
        return [plain(inner) for inner in value.items]
    if isinstance(value, Number):
        return oracle.number(value)
    return {"true": True, "false": False, "null": None}[value.text] if isinstance(value, Word) else value


def python_s(data: bytes) -> Any:
    """As json reads it; NotJsonError also for half a surrogate pair, which json lets pass."""

    def refuse(_: str) -> Any:
        raise NotJsonError("no JSON")

    def whole(text: str) -> float:
        return oracle.number(Number(text))

    try:
        value = json.loads(data.decode(), parse_constant=refuse, parse_int=whole)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from error
    return value


def outcome(reader: Any, data: bytes) -> Any:
    try:
        return repr(reader(data))
    except NotJsonError:
        return "not JSON"


def test_the_oracle_reads_what_python_reads() -> None:
    inputs = [data[2:] for data in (*kept("events"), *events.seeds())]
    same: set[bool] = set()
    for data in islice(mutations(inputs, events.WORDS, seed=12), 5000):
        mine, theirs = outcome(lambda data: plain(read(data).value), data), outcome(python_s, data)
        assert mine == theirs, data
        same.add(mine == "not JSON")
    assert same == {True, False}


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["stream", "time", "features", "x"]), json_values),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), json_values),
    st.integers(0, 7),
    st.integers(0, 63),
    st.booleans(),
)
def test_the_decoder_and_the_oracle_agree_on_any_object(
    members: dict[str, Any], features: dict[str, Any], rules: int, pick: int, escaped: bool
) -> None:
    value = json.dumps(members | {"features": features}, ensure_ascii=escaped).encode(errors="surrogatepass")
    events.check(bytes([rules, pick]) + value)


def test_the_oracle_rounds_to_float32_as_the_standard_says() -> None:
    """Ties to even, and infinite from half a step above the largest: numbers worked out by hand."""
    rows = {
        b"16777217": 16777216.0,
        b"16777219": 16777220.0,
        b"3.4028235677973362e38": 3.4028234663852886e38,
        b"3.4028235677973366e38": None,
        b"1e-46": 0.0,
        b"-0": 0.0,
    }
    for text, expected in rows.items():
        record = RawRecord("t", 0, 0, 0, b"k", b'{"features": {"a": %s}}' % text)
        row = oracle.event(record, ("a",), config.Events()).row
        assert (None if row is None else memoryview(row.values).cast("f")[0]) == expected
    assert oracle.number(Number("1e999")) == inf


def test_the_corpus_is_small() -> None:
    files = [path for path in (Path(__file__).parent / "corpus").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 250_000
