from __future__ import annotations

import base64
from pathlib import Path

import pytest

from llava_tools.errors import ImageError, RequestError
from llava_tools.evaluation.data_files.embedded_image import EmbeddedImage
from llava_tools.evaluation.data_files.entries import Entry
from llava_tools.evaluation.data_files.table import read_table

HEADER = "index\tquestion\timage\tanswer\n"


def _base64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def _write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.tsv"
    path.write_bytes(text.encode(encoding))
    return path


def _read(path: Path) -> list[tuple[Entry, EmbeddedImage]]:
    return list(read_table(path, "image"))


def test_rows_have_their_fields_and_places_without_the_image(tmp_path: Path) -> None:
    path = _write(tmp_path, f"{HEADER}1\tWhat is it?\t{_base64(b'one')}\tA\n")

    (row, image) = _read(path)[0]

    assert row.values == {"index": "1", "question": "What is it?", "answer": "A"}
    assert row.place == "row 2"
    assert image.read() == b"one"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_images_are_found_behind_fields_of_several_lines(
    tmp_path: Path, end: str, encoding: str
) -> None:
    first = f'1\t"Ein ""Bär"",{end}\tzwei 猫"\t{_base64(b"one" * 50)}\tA'
    second = f"2\t\t{_base64(b'two')}\tB"
    text = f"{HEADER.rstrip()}{end}{first}{end}{end}{second}"

    rows = _read(_write(tmp_path, text, encoding))

    assert [image.read() for _, image in rows] == [b"one" * 50, b"two"]
    assert rows[0][0].values["question"] == f'Ein "Bär",{end}\tzwei 猫'
    assert rows[1][0].values["index"] == "2"


def test_rows_with_the_same_image_share_its_place(tmp_path: Path) -> None:
    same, other = _base64(b"same"), _base64(b"other")
    text = f"{HEADER}1\tx\t{same}\tA\n2\tx\t{other}\tA\n3\ty\t{same}\tB\n"

    images = [image for _, image in _read(_write(tmp_path, text))]

    assert images[0] == images[2] != images[1]


def test_images_may_be_larger_than_the_csv_module_allows_by_itself(tmp_path: Path) -> None:
    large = bytes(range(256)) * 2000

    (_, image) = _read(_write(tmp_path, f"{HEADER}1\tx\t{_base64(large)}\tA\n"))[0]

    assert image.read() == large


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", None),
        ("index\tquestion\n1\tx\n", "it has no column 'image', but ['index', 'question']"),
        (f"{HEADER}1\tx\tAAAA\tA\n2\tx\tAAAA\n", "row 3: it has 3 fields, not 4"),
        (f"{HEADER}1\tx\tnone!\tA\n", "row 2: 'image' is no base64"),
        (f"{HEADER}1\tx\t\tA\n", "row 2: 'image' is no base64"),
        (f"{HEADER}1\tx\tAAA\tA\n", "row 2: 'image' is no base64"),
        (f'{HEADER}1\t"x\tAAAA\tA\n', "row 2: it is no tab-separated text"),
        (f'{HEADER}1\t"x"y\tAAAA\tA\n', "row 2: it is no tab-separated text"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, text: str, message: str | None) -> None:
    path = _write(tmp_path, text)
    if message is None:
        assert _read(path) == []
        return

    with pytest.raises(RequestError) as error:
        _read(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_bytes(HEADER.encode() + b"1\t\xff\tAAAA\tA\n")

    with pytest.raises(RequestError, match="row 2: it is no tab-separated text"):
        _read(path)


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"table\.tsv is not possible: no such file"):
        _read(tmp_path / "table.tsv")


def test_table_that_changes_during_a_run_is_an_error(tmp_path: Path) -> None:
    path = _write(tmp_path, f"{HEADER}1\tx\t{_base64(b'one' * 9)}\tA\n")
    (_, image) = _read(path)[0]

    path.write_text(f"{HEADER}1\tanother question\tAAAA\tA\n")
    with pytest.raises(ImageError, match="cannot be read"):
        image.read()
    path.unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        image.read()
