"""Files and the past of a topic, as columns and as records."""

from __future__ import annotations

import gzip
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitor import config
from monitor.batch import RawRecord
from monitor.categories import Codes
from monitor.errors import MonitorError, UsageError, install_hint
from monitor.events import Decoder
from monitor.feeds import columns
from monitor.feeds.columns import sniff, stem
from monitor.feeds.files import Mapping, read
from monitor.feeds.history import SAMPLE, feature_names, series_from_records
from monitor.feeds.table import Rows, Table, in_time_order, records

NAN = float("nan")
LOOSE = config.Events(missing="impute", unknown="ignore", max_age=None)


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def columns_of(table: Table) -> dict[str, tuple[list[float], list[list[float]]]]:
    return {rows.stream: (rows.time.tolist(), rows.values.tolist()) for rows in table.series}


# Formats

WANTED = {
    "a": ([1700000000.0, 1700000060.5], [[1.5, 2.0], [3.0, -4.0]]),
    "b": ([1700000000.0], [[5.0, 6.0]]),
}
CSV = "stream,time,x,y\na,1700000000,1.5,2\nb,1700000000,5,6\na,1700000060.5,3,-4\n"


def test_csv_with_streams_and_times(tmp_path: Path) -> None:
    """Columns `stream` and `time` are found by name; the others are the features, in file order."""
    table = read([write(tmp_path, "d.csv", CSV)])
    assert (table.features, columns_of(table), table.notes) == (("x", "y"), WANTED, ())
    assert table.series[0].values.dtype == np.float32
    assert len(table) == 3


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_are_found(tmp_path: Path, separator: str) -> None:
    """The separator is found from the header line, quoted names aside."""
    text = '"stream","time","x","y"\n' + CSV.split("\n", 1)[1]
    assert columns_of(read([write(tmp_path, "d.csv", text.replace(",", separator))])) == WANTED
    assert sniff('"a,b,c";d') == ";"


def test_a_separator_can_be_named(tmp_path: Path) -> None:
    """Any one character separates cells where it is named."""
    assert columns_of(read([write(tmp_path, "d.csv", CSV.replace(",", "|"))], Mapping(separator="|"))) == WANTED


def test_gzip_bom_blank_lines_and_crlf(tmp_path: Path) -> None:
    """What spreadsheets and log shippers do to a CSV file changes nothing."""
    path = tmp_path / "d.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n\r\n").encode()))
    assert columns_of(read([str(path)])) == WANTED


def test_ndjson_events_and_flat_objects(tmp_path: Path) -> None:
    """A line is an event of the contract or a flat object; other members of an event are not read."""
    text = (
        '{"stream":"a","time":1700000000,"features":{"x":1.5,"y":2},"site":7}\n'
        '{"stream":"b","time":1700000000,"x":5,"y":6}\n\n'
        '{"features":{"y":-4,"x":3},"time":1700000060.5,"stream":"a"}\n'
    )
    table = read([write(tmp_path, "d.ndjson", text)])
    assert (table.features, columns_of(table)) == (("x", "y"), WANTED)


def test_parquet(tmp_path: Path) -> None:
    """Parquet gives the same as CSV, timestamps with nanoseconds and dictionaries included."""
    when = pa.array([1700000000_000000001, 1700000000_000000001, 1700000060_500000000], pa.timestamp("ns"))
    columns = {"stream": pa.array(["a", "b", "a"]).dictionary_encode(), "time": when}
    columns |= {"x": pa.array([1.5, 5, 3], pa.float32()), "y": pa.array([2, 6, -4], pa.int8())}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    table = read([str(tmp_path / "d.parquet")])
    assert (table.features, columns_of(table)) == (("x", "y"), WANTED)


def test_one_stream_a_file(tmp_path: Path) -> None:
    """Without a stream column a file is a stream, named like the file; globs are sorted; no file is read twice."""
    write(tmp_path, "b.csv", "x\n3\n")
    write(tmp_path, "a.b.csv", "x\n1\n2\n")
    table = read([str(tmp_path / "*.csv"), str(tmp_path / "b.csv")], Mapping(interval=60, start=1000))
    assert columns_of(table) == {"a.b": ([1000.0, 1060.0], [[1.0], [2.0]]), "b": ([1000.0], [[3.0]])}
    assert table.notes == (
        "no time column: rows are taken to be 60 s apart; a column that holds it is named with --time-column",
    )
    assert stem(Path("x/pump-7.ndjson.gz")) == "pump-7"


def test_a_stream_goes_on_in_the_next_file(tmp_path: Path) -> None:
    """Rows of one stream in several files follow each other, with and without times."""
    first, second = (write(tmp_path, f"{name}.csv", f"stream,x\ns,{name}\n") for name in ("1", "2"))
    assert columns_of(read([first, second])) == {"s": ([0.0, 1.0], [[1.0], [2.0]])}


def test_more_rows_than_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column may be empty, or absent from NDJSON, for longer than a chunk, before and after its numbers."""
    monkeypatch.setattr(columns, "CHUNK_ROWS", 2)
    lines = ['{"x":1}', '{"x":2}', '{"x":3,"y":null}', '{"x":4}', '{"x":5,"y":7}', '{"x":6}', '{"x":7,"t":"q"}']
    table = read([write(tmp_path, "d.ndjson", "\n".join(lines))])
    assert table.features == ("x", "y")
    np.testing.assert_array_equal(table.series[0].values[:, 0], np.arange(1, 8, dtype=np.float32))
    np.testing.assert_array_equal(table.series[0].values[:, 1], np.array([NAN] * 4 + [7, NAN, NAN], np.float32))


@pytest.mark.parametrize(
    ("cells", "seconds"),
    [
        (("1700000000", "1700000000.25"), (1700000000.0, 1700000000.25)),
        (("1700000000000", "1700000000250"), (1700000000.0, 1700000000.25)),
        (("1700000000000000", "1700000000250000"), (1700000000.0, 1700000000.25)),
        (("1700000000000000000", "1700000000250000000"), (1700000000.0, 1700000000.25)),
        (("0", "1.5"), (0.0, 1.5)),
        (("2023-11-14T22:13:20Z", "2023-11-14 23:13:20.25+01:00"), (1700000000.0, 1700000000.25)),
        (("2023-11-14 22:13:20", "2023-11-15"), (1700000000.0, datetime(2023, 11, 15, tzinfo=UTC).timestamp())),
    ],
)
def test_times(tmp_path: Path, cells: tuple[str, str], seconds: tuple[float, float]) -> None:
    """Epoch numbers in any unit, told by their size, and ISO 8601 text, UTC where it names no zone."""
    table = read([write(tmp_path, "d.csv", f"when,x\n{cells[0]},1\n{cells[1]},2\n")], Mapping(time_column="when"))
    assert table.series[0].time.tolist() == pytest.approx(list(seconds), abs=1e-6, rel=0)


def test_missing_cells(tmp_path: Path) -> None:
    """Empty cells and the usual words for nothing are missing: NaN, never zero; text columns are left out and named."""
    table = read([write(tmp_path, "d.csv", "x,y,kind\n,1,pump\nNA,2,pump\n 3 ,null,valve\nnan,4,\n")])
    assert table.features == ("x", "y")
    wanted = np.array([[NAN, 1], [NAN, 2], [3, NAN], [NAN, 4]], np.float32)
    np.testing.assert_array_equal(table.series[0].values, wanted)
    assert (
        "columns with text: left out (kind); to learn one as categories: "
        "training.features: [{match: kind, kind: category}]"
    ) in table.notes


def test_infinite_numbers_are_missing_and_counted(tmp_path: Path) -> None:
    """What float32 cannot hold is missing, and said."""
    path = write(tmp_path, "d.csv", "time,x\n1,1e300\n2,inf\n3,7\n")
    table = read([path])
    np.testing.assert_array_equal(table.series[0].values, np.array([[NAN], [NAN], [7]], np.float32))
    assert table.notes == (f"{path}: column 'x': 2 of 3 numbers are infinite, taken for missing",)


def test_numbers_of_any_kind(tmp_path: Path) -> None:
    """Whole numbers of any length and decimals are numbers; streams may be named by whole numbers."""
    lines = f'{{"stream":7,"x":{10**30}}}\n{{"stream":7,"x":-{10**400}}}\n{{"stream":8,"x":2}}\n'
    table = read([write(tmp_path, "d.ndjson", lines)])
    np.testing.assert_array_equal(table.series[0].values, np.array([[1e30], [NAN]], np.float32))
    assert [rows.stream for rows in table.series] == ["7", "8"]
    pq.write_table(pa.table({"x": [Decimal("1.25"), None]}), tmp_path / "d.parquet")
    table = read([str(tmp_path / "d.parquet")])
    np.testing.assert_array_equal(table.series[0].values, np.array([[1.25], [NAN]], np.float32))


def test_a_second_time_column_is_left_out(tmp_path: Path) -> None:
    """A clock is no feature: of `time` and `timestamp` the first is the time, the other is left out and named."""
    table = read([write(tmp_path, "d.csv", "timestamp,time,x\n5,6,1\n")])
    assert (table.features, table.series[0].time.tolist()) == (("x",), [5.0])
    assert table.notes == ("column 'time': left out, the time is taken from 'timestamp'",)


def test_a_data_frame_index_is_left_out(tmp_path: Path) -> None:
    """A column without a name is a row number, not a feature."""
    table = read([write(tmp_path, "d.csv", ",time,x\n0,5,1\n1,6,2\n")])
    assert (table.features, table.notes) == (("x",), ("a column without a name: left out",))


def test_columns_by_name(tmp_path: Path) -> None:
    """Named features come in the order named, from files in any order of columns; ignored columns stay out."""
    one = write(tmp_path, "1.csv", "x,y,label\n1,2,0\n")
    two = write(tmp_path, "2.csv", "label,y,x\n1,4,3\n")
    assert columns_of(read([one, two], Mapping(features=("y", "x")))) == {
        "1": ([0.0], [[2.0, 1.0]]),
        "2": ([0.0], [[4.0, 3.0]]),
    }
    assert read([one, two], Mapping(ignore=("label",))).features == ("x", "y")
    assert read([one], Mapping(stream_column="label")).series[0].stream == "0"


def test_only_parquet_needs_pyarrow(tmp_path: Path) -> None:
    """CSV and NDJSON are read without pyarrow and torch; for Parquet the message names the extra."""
    write(tmp_path, "d.csv", CSV)
    write(tmp_path, "d.ndjson", '{"x":1}\n')
    write(tmp_path, "d.parquet", "")
    code = (
        "import sys; sys.modules['pyarrow'] = sys.modules['torch'] = None\n"
        "from monitor.feeds.files import read\n"
        "print(len(read(['d.csv'])), len(read(['d.ndjson'])))\n"
        "try: read(['d.parquet'])\n"
        "except Exception as error: print(error)\n"
    )
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"3 1\nd.parquet: Parquet needs pyarrow\n  {install_hint('train')}\n"


# Errors

FAULTS = [
    ("d.csv", "", {}, "{0}: the file is empty\n  The first line must name the columns."),
    ("d.csv", "\nx\n", {}, "{0}: the first line is empty\n  The first line must name the columns."),
    ("d.csv", "x,y\n", {}, "{0}: no rows\n  Leave the file out, or check what wrote it."),
    ("d.ndjson", "", {}, "{0}: no rows\n  Leave the file out, or check what wrote it."),
    (
        "d.csv",
        "0.1,0.2\n0.3,0.4\n",
        {},
        "{0}, line 1: numbers where the column names should be\n  The first line must name the columns.",
    ),
    ("d.csv", "x,x\n1,2\n", {}, "{0}, line 1: column 'x' is there twice\n  Give every column its own name."),
    (
        "d.csv",
        "x,y\n1,2\n\n3\n",
        {},
        "{0}, line 4: 1 cells, but the header has 2\n"
        "  Every line needs as many cells as the header; look for a stray or missing separator.",
    ),
    (
        "d.csv",
        "x,y\n1,2\n3,warm\n",
        {},
        "{0}, line 3, column 'y': 'warm' is not a number\n  Correct the cell, or leave the column out with --ignore y, "
        "or learn it as categories: training.features: [{{match: y, kind: category}}].",
    ),
    (
        "d.csv",
        "x,y\nwarm,2\n",
        {"features": ("x",)},
        "{0}, line 2, column 'x': 'warm' is not a number\n  Correct the cell, or leave the column out with --ignore x, "
        "or learn it as categories: training.features: [{{match: x, kind: category}}].",
    ),
    ("d.csv", "time,x\nsoon,2\n", {}, "{0}, line 2, column 'time': 'soon' is not a time\n  Every row needs one."),
    (
        "d.csv",
        "time,x\n1,2\n,3\n",
        {},
        "{0}, line 3, column 'time': an empty cell is not a time\n  Every row needs one.",
    ),
    (
        "d.csv",
        "stream,x\n a ,2\n ,3\n",
        {},
        "{0}, line 3, column 'stream': the stream has no name\n  Every row needs one.",
    ),
    (
        "d.csv",
        "kind\npump\n",
        {},
        "{0}: no numeric columns\n  It has kind; name the features with --features, or learn text as categories: "
        "training.features: [{{match: kind, kind: category}}].",
    ),
    (
        "d.csv",
        "temperature,y\n1,2\n",
        {"features": ("temprature",)},
        "{0}: no column 'temprature' (feature)\n  Did you mean 'temperature'?",
    ),
    ("d.csv", "x,y\n1,2\n", {"stream_column": "host"}, "{0}: no column 'host' (stream)\n  It has x, y."),
    ("d.csv", "x,y\n1,2\n", {"time_column": "when"}, "{0}: no column 'when' (time)\n  It has x, y."),
    (
        "d.csv",
        "x,label\n1,2\n",
        {"ignore": ("lable",)},
        "--ignore lable: no file has this column\n  Did you mean 'label'?",
    ),
    (
        "d.csv",
        "x\n1\n",
        {"features": ("x",), "ignore": ("x",)},
        "column 'x' is named twice\n  A column is one of stream, time, feature or ignored.",
    ),
    (
        "d.csv",
        "x\n1\n",
        {"features": ()},
        "no features were named\n  Leave --features out to take every numeric column.",
    ),
    ("d.csv", "x\n1\n", {"separator": "||"}, "separator '||' is not one character\n  As in --separator ';'."),
    ("d.csv", 'x,y\n1,"2\n', {}, "{0}, line 2: unexpected end of data\n  Check the quotes on this line."),
    (
        "d.ndjson",
        '{"x":1}\n{"x":\n',
        {},
        "{0}, line 2: not JSON (Input data was truncated)\n  Every line must be one JSON object.",
    ),
    (
        "d.ndjson",
        "[1]\n",
        {},
        "{0}, line 1: not a JSON object\n  Every line must be an event "
        '{{"stream": .., "time": .., "features": {{..}}}} or a flat object.',
    ),
    (
        "d.ndjson",
        '{"x":1}\n{"x":true}\n',
        {},
        "{0}, line 2, column 'x': True is not a number\n  Correct the cell, or leave the column out with --ignore x, "
        "or learn it as categories: training.features: [{{match: x, kind: category}}].",
    ),
    (
        "d.ndjson",
        '{"time":1,"features":{"x":1}}\n{"features":{"x":1}}\n',
        {},
        "{0}, line 2, column 'time': an empty cell is not a time\n  Every row needs one.",
    ),
    (
        "d.ndjson",
        '{"features":7}\n',
        {},
        "{0}, line 1: 'features' is not an object\n  Every line must be an event "
        '{{"stream": .., "time": .., "features": {{..}}}} or a flat object.',
    ),
    (
        "d.ndjson",
        '{"stream":"a","features":{"stream":1}}\n',
        {},
        "{0}, line 1: 'stream' is in the event and in its features\n  Every line must be an event "
        '{{"stream": .., "time": .., "features": {{..}}}} or a flat object.',
    ),
    (
        "d.ndjson",
        '{"stream":7,"x":1}\n{"stream":1.5,"x":1}\n',
        {},
        "{0}, line 2, column 'stream': 1.5 is not a stream name\n  Every row needs one.",
    ),
    (
        "d.xml",
        "<x/>",
        {},
        "{0}: the name does not tell the format\n"
        "  Known endings: .csv, .tsv, .txt, .ndjson, .jsonl, .json, .parquet, .pq; "
        "each also with .gz.",
    ),
    (
        "d.csv.gz",
        "x\n1\n",
        {},
        "{0}: damaged gzip file (Not a gzipped file (b'x\\n'))\n  Fetch or write the file again.",
    ),
]


@pytest.mark.parametrize(("name", "text", "mapping", "message"), FAULTS)
def test_errors_of_one_file(tmp_path: Path, name: str, text: str, mapping: dict[str, object], message: str) -> None:
    """Every fault of a file is told with its file, line and column, and with what to do."""
    path = write(tmp_path, name, text)
    with pytest.raises(MonitorError) as error:
        read([path], Mapping(**mapping))  # type: ignore[arg-type]  # the table above holds the right types
    assert str(error.value) == message.format(path)


FILES_HINT = "Files of one training share their columns; name the features with --features, or read the files apart."


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("time,temprature\n1,1\n", "{1}: no column 'temperature', which {0} has\n  Did you mean 'temprature'?"),
        ("time,temperature,y\n1,1,2\n", "{1}: column 'y', which {0} has not\n  " + FILES_HINT),
        ("temperature\n1\n", "{1}: the time column is missing, but time in {0}\n  " + FILES_HINT),
        (
            "stream,time,temperature\na,1,1\n",
            "{1}: the stream column is stream, but missing in {0}\n  " + FILES_HINT,
        ),
        (
            "time,temperature\n1,hot\n",
            "{1}, line 2, column 'temperature': 'hot' is not a number\n"
            "  Correct the cell, or leave the column out with --ignore temperature, "
            "or learn it as categories: training.features: [{{match: temperature, kind: category}}].",
        ),
    ],
)
def test_files_that_do_not_go_together(tmp_path: Path, second: str, message: str) -> None:
    """Files with different columns are refused; a renamed column is recognised."""
    paths = [write(tmp_path, "1.csv", "time,temperature\n1,20\n"), write(tmp_path, "2.csv", second)]
    with pytest.raises(MonitorError) as error:
        read(paths)
    assert str(error.value) == message.format(*paths)


def test_no_such_file(tmp_path: Path) -> None:
    """A pattern without a file, and no pattern at all, are errors."""
    with pytest.raises(UsageError) as error:
        read([str(tmp_path / "*.csv")])
    assert str(error.value).startswith(f"{tmp_path}/*.csv: no such file\n")
    with pytest.raises(UsageError, match="no files were named"):
        read([])


def test_text_that_is_not_utf8_and_parquet_that_is_none(tmp_path: Path) -> None:
    """Damaged files are named."""
    (tmp_path / "d.csv").write_bytes("x,größe\n1,2\n".encode("latin-1"))
    with pytest.raises(MonitorError) as error:
        read([str(tmp_path / "d.csv")])
    assert str(error.value) == f"{tmp_path}/d.csv: not UTF-8 text (invalid start byte)\n  Convert the file to UTF-8."
    (tmp_path / "d.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(MonitorError, match=r"d\.parquet: not a Parquet file \(.+\)"):
        read([str(tmp_path / "d.parquet")])


@pytest.mark.parametrize("name", ['a""b', "a\\b", "a\tb"])
def test_feature_names_that_events_cannot_carry(tmp_path: Path, name: str) -> None:
    """A name that the decoder of the service would refuse is refused before training."""
    path = write(tmp_path, "d.csv", f'x,"{name}"\n1,2\n')
    with pytest.raises(MonitorError, match="a name must not hold quotes, backslashes or unprintable characters"):
        read([path])


# Order


def test_training_order() -> None:
    """For training a stream's rows are sorted by time, the first row of a time is kept, and the notes count."""
    rows = Rows("s", np.array([3.0, 1.0, 3.0, 2.0]), np.array([[30], [10], [31], [20]], np.float32))
    table = in_time_order(Table(("x",), (rows,), ("before",)))
    assert columns_of(table) == {"s": ([1.0, 2.0, 3.0], [[10.0], [20.0], [30.0]])}
    assert table.notes == (
        "before",
        "rows sorted: 2 of 4 were older than the row before",
        "1 of 4 rows dropped: their stream has a row of the same time",
    )


# Records

floats = st.floats(width=32, allow_infinity=False, allow_nan=True)
clocks = st.floats(0, 4e9, allow_nan=False)

feature = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters='"\\'), min_size=1, max_size=8)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    width = draw(st.integers(1, 4))
    names = draw(st.lists(feature, min_size=width, max_size=width, unique=True))
    streams = draw(st.lists(st.text(min_size=1, max_size=8), max_size=4, unique=True))
    series = []
    for stream in streams:
        n = draw(st.integers(1, 6))
        time = draw(hnp.arrays(np.float64, n, elements=clocks))
        series.append(Rows(stream, time, draw(hnp.arrays(np.float32, (n, width), elements=floats))))
    return Table(tuple(names), tuple(series))


@given(tables())
def test_rows_survive_the_way_through_records(table: Table) -> None:
    """float32 -> JSON -> the service's decoder: the same bits, times and order of every stream; NaN is imputed."""
    made = list(records(table, "events"))
    assert [record.offset for record in made] == list(range(len(table)))
    rules = config.Events(missing="impute", max_age=None, max_ahead=1e10)
    decoded = Decoder(table.features, rules).decode(made)
    assert not decoded.rejects
    batch = decoded.batch
    for rows in table.series:
        mine = np.array([name == rows.stream for name in batch.stream])
        assert batch.time[mine].tolist() == rows.time.tolist()
        np.testing.assert_array_equal(batch.values[mine], rows.values)
        finite = ~np.isnan(rows.values)
        assert np.array_equal(batch.values[mine].view(np.int32)[finite], rows.values.view(np.int32)[finite])


def test_records_are_events(tmp_path: Path) -> None:
    """Streams are merged by time, each in its file's order; a late row follows at once; a missing cell is left out."""
    path = write(tmp_path, "d.csv", "stream,time,x\na,10,1\na,30,2\na,5,3\nb,20,4\nb,30,\n")
    made = list(records(read([path]), "events"))
    assert [(record.key, record.timestamp) for record in made] == [
        (b"a", 10_000),
        (b"b", 20_000),
        (b"a", 30_000),
        (b"a", 5_000),
        (b"b", 30_000),
    ]
    assert made[0] == RawRecord("events", 0, 0, 10_000, b"a", b'{"stream":"a","time":10.0,"features":{"x":1.0}}')
    assert made[4].value == b'{"stream":"b","time":30.0,"features":{}}'
    assert list(records(Table(("x",), ()), "events")) == []


@given(tables())
def test_streams_are_merged_by_time(table: Table) -> None:
    """A record is never before one of another stream that was due earlier."""
    reached: dict[str, float] = {}
    last = -1.0
    for record in records(table, "events"):
        assert record.key is not None
        time = msgspec.json.decode(record.value or b"")["time"]
        due = max(time, reached.get(record.key.decode(), time))
        reached[record.key.decode()] = due
        assert due >= last
        last = due


# The past of a topic


def record(offset: int, value: bytes | None, timestamp: int = 1_700_000_000_000) -> RawRecord:
    return RawRecord("events", 0, offset, timestamp, b"pump", value)


def event(time: float, stream: str = "a", **features: object) -> bytes:
    return msgspec.json.encode({"stream": stream, "time": time, "features": features})


def test_history_infers_features_and_tells_rejects() -> None:
    """Features are those with a number in the first good events, as they first appear; rejects are counted."""
    start = 1_700_000_000.0
    values: list[bytes | None] = [
        b"?",
        event(start, x=1, kind=None),
        event(start + 1, x=1, y=2),
        event(start + 2, "b", y=5, x=4),
    ]
    values += [event(start + 3, x=1), None, event(start + 4, x=7, y=8)]
    batches = [[record(offset, value)] for offset, value in enumerate(values)]
    table = series_from_records(batches, None, config.Events(unknown="ignore"), "topic events")
    assert table.features == ("x", "y")
    assert columns_of(table) == {
        "a": ([start + 1, start + 4], [[1.0, 2.0], [7.0, 8.0]]),
        "b": ([start + 2], [[4.0, 5.0]]),
    }
    assert table.source == "topic events"
    assert table.notes == (
        "2 of 7 records rejected as missing_feature: feature 'y' is missing (partition 0, offset 1)",
        "1 of 7 records rejected as not_json: the value is not JSON: JSON is malformed: invalid character (byte 0) "
        "(partition 0, offset 0)",
        "1 of 7 records rejected as tombstone: the record has no value (partition 0, offset 5)",
    )


def test_history_with_named_features() -> None:
    """Named features are taken in their order; nothing is read ahead to find them."""
    table = series_from_records([[record(0, event(1_700_000_000, x=1, y=2))]], ("y", "x"), config.Events())
    assert columns_of(table) == {"a": ([1_700_000_000.0], [[2.0, 1.0]])}


def test_features_come_from_the_first_events_only() -> None:
    """A feature that first appears after the sample is none of the model's."""
    early = [event(0, x=1)] * SAMPLE
    assert feature_names([*early, event(0, late=1)]) == ("x",)
    assert feature_names([*early[1:], event(0, late=1)]) == ("x", "late")
    assert feature_names([event(0, on=True, name="p", n=None), b"[]", b'{"features": 3}', b"\xff", None]) == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "topic events: no records there\n"),
        ([b"x", b"y"], "topic events: none of its 2 records is an event with numeric features\n"),
    ],
)
def test_history_without_events(values: list[bytes], message: str) -> None:
    """A topic without events cannot be learned from."""
    with pytest.raises(MonitorError) as error:
        series_from_records(
            [[record(i, value) for i, value in enumerate(values)]], None, config.Events(), "topic events"
        )
    assert str(error.value).startswith(message)


def test_history_where_every_record_is_rejected() -> None:
    """When the rules reject everything the message says which."""
    with pytest.raises(MonitorError, match=r"no events: 1 of 1 records rejected as missing_feature: feature 'z'"):
        series_from_records([[record(0, event(1, x=1))]], ("z",), config.Events(), "topic events")


# Categories


def is_protocol(name: str) -> bool:
    return name == "protocol"


def texts(table: Table) -> dict[str, list[str | None]]:
    """The protocol of each row, by stream; None where it is missing."""
    at, names = table.features.index("protocol"), table.categories["protocol"]
    return {
        rows.stream: [None if np.isnan(code) else names[int(code)] for code in rows.values[:, at].tolist()]
        for rows in table.series
    }


def test_a_text_column_is_codes_where_a_rule_says_so(tmp_path: Path) -> None:
    """In order of first appearance, the same in all files; the text of a cell counts as it is, but for empty ones."""
    one = write(tmp_path, "1.csv", "x,protocol\n1, tcp\n2,udp\n3,\n4,None\n5,tcp\n")
    two = write(tmp_path, "2.csv", "protocol,x\n5.0,1\nudp,2\n")
    table = read([one, two], Mapping(category=is_protocol))
    assert table.features == ("x", "protocol")
    assert table.categories == {"protocol": ("tcp", "udp", "None", "5.0")}
    assert texts(table) == {"1": ["tcp", "udp", None, "None", "tcp"], "2": ["5.0", "udp"]}
    assert in_time_order(table).categories == table.categories
    assert "columns with text" not in " ".join(table.notes)


def test_numbers_and_booleans_are_categories_by_their_json_text(tmp_path: Path) -> None:
    """In NDJSON and in Parquet, where 5.0 and 5 are one number."""
    lines = ["5", "5.0", "true", '"5"', "null", '""', "0.25"]
    one = write(tmp_path, "d.ndjson", "".join(f'{{"features": {{"x": 1, "protocol": {text}}}}}\n' for text in lines))
    found = ["5", "5", "true", "5", None, None, "0.25"]
    assert texts(read([one], Mapping(category=is_protocol)))["d"] == found
    columns = {"protocol": pa.array([Decimal("1.50"), None]), "x": [1, 2]}
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    assert texts(read([str(tmp_path / "p.parquet")], Mapping(category=is_protocol)))["p"] == ["1.5", None]
    columns = {"protocol": pa.array(["a", None, "b", "a"]).dictionary_encode(), "x": pa.array([1, 2, 3, 4])}
    pq.write_table(pa.table(columns), tmp_path / "q.parquet")
    assert texts(read([str(tmp_path / "q.parquet")], Mapping(category=is_protocol)))["q"] == ["a", None, "b", "a"]


def test_a_category_that_comes_late_is_missing_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "CHUNK_ROWS", 2)
    lines = ['{"x":1}', '{"x":2}', '{"x":3,"protocol":"b"}', '{"x":4}', '{"x":5,"protocol":"a"}']
    table = read([write(tmp_path, "d.ndjson", "\n".join(lines))], Mapping(category=is_protocol))
    assert texts(table)["d"] == [None, None, "b", None, "a"]


def test_what_is_no_category_is_told_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "d.ndjson", '{"x":1,"protocol":"a"}\n{"x":1,"protocol":["a"]}\n')
    with pytest.raises(MonitorError) as error:
        read([path], Mapping(category=is_protocol))
    assert str(error.value) == (
        f"{path}, line 2, column 'protocol': ['a'] is no category\n"
        "  Correct the cell, or leave the column out with --ignore protocol."
    )


def test_categories_survive_the_way_through_records(tmp_path: Path) -> None:
    """File -> events -> the decoder of a model that knows some of the values, in another order."""
    path = write(tmp_path, "d.csv", "time,x,protocol\n1,1,tcp\n2,2,udp\n3,3,\n4,4,icmp\n5,5,tcp\n")
    table = read([path], Mapping(category=is_protocol))
    rules = config.Events(missing="impute", max_age=None)
    decoded = Decoder(("x", "protocol"), rules, {"protocol": Codes(["icmp", "tcp"])}).decode(
        list(records(table, "events"))
    )
    assert not decoded.rejects
    np.testing.assert_array_equal(decoded.batch.values, np.array([[1, 1], [2, -1], [3, NAN], [4, 0], [5, 1]]))


def test_history_reads_categories_as_a_file_does() -> None:
    """Also where the first events have none; text without a rule is no feature."""
    values = [
        b'{"features": {"x": 1, "host": "h"}}',
        b'{"features": {"x": 2, "protocol": "udp", "host": "h"}}',
        b'{"features": {"x": 3, "protocol": 6}}',
        b'{"features": {"x": 4, "protocol": true}}',
    ]
    batch = [RawRecord("t", 0, i, 1000 * (i + 1), b"s", value) for i, value in enumerate(values)]
    table = series_from_records([batch], None, LOOSE, "topic t", is_protocol)
    assert table.features == ("x", "protocol")
    assert texts(table) == {"s": [None, "udp", "6", "true"]}
    named = series_from_records([batch], ("protocol",), LOOSE, "topic t", is_protocol)
    assert texts(named) == texts(table)
    only_text = [batch[0]._replace(value=b'{"features": {"host": "h"}}')]
    with pytest.raises(MonitorError, match="kind: category"):
        series_from_records([only_text], None, LOOSE, "topic t", is_protocol)


def test_a_time_column_that_was_not_named_is_an_error_and_not_a_guess(tmp_path: Path) -> None:
    """Rows a second apart would train a model whose gaps and budget fit no real stream."""
    (tmp_path / "a.csv").write_text("ts,flow\n2026-03-01T00:00:00Z,1\n2026-03-01T00:01:00Z,2\n")
    with pytest.raises(UsageError, match=r"a\.csv: no time column, but 'ts' holds times"):
        read([str(tmp_path / "a.csv")])
    assert read([str(tmp_path / "a.csv")], Mapping(ignore=("ts",))).series[0].time.tolist() == [0, 1]


def test_a_folder_is_told_from_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        read([str(tmp_path)])


def test_a_file_name_that_is_not_text_makes_a_stream_name_that_is() -> None:
    assert stem(Path("pump-\udcff.csv.gz")) == "pump-?"


def test_hostile_files_get_a_message_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "deep.ndjson").write_text('{"a":' + "[" * 100_000 + "\n")
    with pytest.raises(MonitorError, match="not JSON"):
        read([str(tmp_path / "deep.ndjson")])
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    (tmp_path / "torn.csv.gz").write_bytes(whole[:20] + b"\xff" * 20 + whole[40:])
    with pytest.raises(MonitorError, match="gzip"):
        read([str(tmp_path / "torn.csv.gz")])
