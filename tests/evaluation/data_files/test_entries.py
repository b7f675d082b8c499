"""Entries of data sets' files: what is not as it should be is named with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.data_files.entries import Entry, by_identifier, read_lines, read_list
from llava_tools.evaluation.data_files.splits import Split, find_split

PATH = Path("questions.jsonl")
SPLITS = (Split("test", "test", ("llava.jsonl", "test.json")), Split("val", "val", ("val.json",)))


def _entry(**values: Any) -> Entry:
    return Entry(values, PATH, "line 3")


def test_fields_are_returned() -> None:
    entry = _entry(text="a", number=0, name="n", texts=["a", ""], answers=[{"answer": "x"}])

    assert entry.text("text") == "a"
    assert entry.number("number") == 0
    assert entry.identifier("number") == 0
    assert entry.identifier("name") == "n"
    assert entry.texts("texts") == ("a", "")
    assert entry.annotators() == ("x",)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: _entry(a=1).text("b"), "there is no 'b', but 'a'"),
        (lambda: _entry(a=1).text("a"), "'a' is no text"),
        (lambda: _entry(a=True).identifier("a"), "'a' is neither a number nor a name"),
        (lambda: _entry(a="").identifier("a"), "'a' is neither a number nor a name"),
        (lambda: _entry(a=-1).number("a"), "'a' is no number"),
        (lambda: _entry(a=["x", 1]).texts("a"), "'a' is no list of texts"),
        (lambda: _entry(answers=[]).annotators(), "'answers' is no list of objects"),
        (lambda: _entry(answers="no").annotators(), "'answers' is no list of objects"),
        (lambda: _entry(answers=[{"answer": "x"}, {}]).annotators(), "'answers' is no list"),
    ],
)
def test_wrong_field_is_named_with_file_and_line(read: Callable[[], Any], message: str) -> None:
    with pytest.raises(RequestError, match=r"questions\.jsonl is not possible: line 3: ") as error:
        read()
    assert message in str(error.value)


def test_lines_are_counted_with_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')

    assert [(entry.values["a"], entry.place) for entry in read_lines(path)] == [
        (1, "line 1"),
        (2, "line 3"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ('{"a": 1}\n{"a": ', "line 2 is no JSON"),
        ('{"a": 1}\n\n[2]', "line 3 is no JSON object"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(text)

    with pytest.raises(RequestError, match=message):
        read_lines(path)


@pytest.mark.parametrize(
    ("value", "name", "message"),
    [
        ([], None, "the file is no list of objects"),
        ({"data": []}, None, "the file is no list of objects"),
        ([{}], "data", "'data' is no list of objects"),
        ({"data": {}}, "data", "'data' is no list of objects"),
        ({"data": [{}, 1]}, "data", r"data\[1\] is no object"),
    ],
)
def test_foreign_json_is_refused(
    tmp_path: Path, value: Any, name: str | None, message: str
) -> None:
    path = tmp_path / "q.json"
    path.write_text(json.dumps(value))

    with pytest.raises(RequestError, match=message):
        read_list(path, name)


def test_list_is_read(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text(json.dumps({"data": [{"a": 1}]}))

    assert read_list(path, "data") == [Entry({"a": 1}, path, "data[0]")]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"absent\.json is not possible: no such file"):
        read_list(tmp_path / "absent.json")


def test_repeated_identifier_is_named_with_both_places() -> None:
    entries = [Entry({"id": 5}, PATH, "line 1"), Entry({"id": 5}, PATH, "line 9")]

    with pytest.raises(RequestError, match="line 9: id 5 stands also in line 1"):
        by_identifier(entries, "id")


def test_number_and_its_text_are_the_same_identifier() -> None:
    entries = [Entry({"id": 5}, PATH, "line 1"), Entry({"id": "5"}, PATH, "line 9")]

    with pytest.raises(RequestError, match="line 9: id '5' stands also in line 1"):
        by_identifier(entries, "id")


def test_split_is_that_whose_images_and_questions_are_there(tmp_path: Path) -> None:
    for name in ("llava.jsonl", "test.json", "val.json"):
        (tmp_path / name).touch()
    (tmp_path / "val").mkdir()
    assert find_split(tmp_path, SPLITS) == (SPLITS[1], tmp_path / "val.json")

    (tmp_path / "test").mkdir()
    assert find_split(tmp_path, SPLITS) == (SPLITS[0], tmp_path / "llava.jsonl")

    (tmp_path / "llava.jsonl").unlink()
    assert find_split(tmp_path, SPLITS) == (SPLITS[0], tmp_path / "test.json")


def test_folder_without_a_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.json").touch()

    with pytest.raises(RequestError) as error:
        find_split(tmp_path, SPLITS)
    assert "it must hold llava.jsonl or test.json with test/; or val.json with val/" in str(
        error.value
    )
