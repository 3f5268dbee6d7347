import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdscope.data.readers import read_records
from kdscope.errors import DataError

ROWS = [{"instruction": 'a, "b"\nc', "output": "1"}, {"instruction": "d", "output": "2"}]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_four_formats_hold_the_same_records(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    write(tmp_path / "a.json", json.dumps(ROWS, indent=2))
    write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n\n")
    write(tmp_path / "a.csv", 'instruction,output\n"a, ""b""\nc",1\nd,2\n')
    for suffix in ("parquet", "json", "jsonl", "csv"):
        assert [record.fields for record in read_records(tmp_path / f"a.{suffix}")] == ROWS


def test_records_know_their_line(tmp_path):
    path = write(tmp_path / "a.json", json.dumps(ROWS, indent=2))
    assert [record.where for record in read_records(path)] == [f"{path}:2", f"{path}:6"]
    path = write(tmp_path / "a.jsonl", "\n" + "\n\n".join(map(json.dumps, ROWS)))
    assert [record.where for record in read_records(path)] == [f"{path}:2", f"{path}:4"]
    path = write(tmp_path / "one.json", "\n".join(map(json.dumps, ROWS)))
    assert len(read_records(path)) == 2, "JSON Lines under the suffix .json"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '[{"a": 1},\n{"a" 2}]', r"a\.json:2: not valid JSON"),
        ("a.json", '[{"a": 1}\n{"a": 2}]', r"a\.json:2: not valid JSON: a comma"),
        ("a.json", '[{"a": 1},\n\n', r"a\.json:3: not valid JSON"),
        ("a.json", '[{"a": 1},\n3]', r"a\.json:2: a record must be an object"),
        ("a.json", '"text"', r"a\.json:1: a JSON data file must be a list"),
        ("a.json", "[]", "holds no records"),
        ("a.json", "", "a JSON data file must be a list"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', r"a\.jsonl:2: not valid JSON"),
        ("a.jsonl", "\n\n", "holds no records"),
        ("a.csv", "a,b\n1,2\n3\n", r"a\.csv:3: a row must have 2 cells"),
        ("a.csv", "a,b\n1,2,3\n", r"a\.csv:2: a row must have 2 cells"),
        ("a.csv", "a,b\n", "holds no records"),
        ("a.txt", "x", r"cannot read \.txt"),
        ("a.parquet", "nonsense", "not a readable Parquet file"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read_records(write(tmp_path / name, text))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_invalid_utf8_is_named_with_its_line(tmp_path, name):
    (tmp_path / name).write_bytes(b'{"a": 1}\n{"a": "caf\xe9"}\n')
    with pytest.raises(DataError, match=rf"{name}:2: byte 0xe9 is not valid UTF-8"):
        read_records(tmp_path / name)


def test_a_byte_order_mark_and_an_absent_file(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf[{"a": 1}]')
    assert read_records(tmp_path / "a.json")[0].fields == {"a": 1}
    with pytest.raises(DataError, match="there is no data file"):
        read_records(tmp_path / "b.json")
