"""Files of data sets, which strangers wrote: each is read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.data_files.files import image_path, number_json_lines, read_json

_DEEP = "[" * 200_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_DEEP, "maximum recursion depth"),
        ('{"a": 1', "it is no JSON"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ('{"\\uDFFF": 1}', "surrogates not allowed"),
    ],
    ids=["deep", "cut", "half a character", "half a character as a name"],
)
def test_json_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "q.json"
    path.write_text(text)
    with pytest.raises(RequestError, match=message):
        read_json(path)
    path.write_text(f'{{"a": 1}}\n{text}\n')
    with pytest.raises(RequestError, match="line 2 is no JSON"):
        list(number_json_lines(path))


def test_escaped_characters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text('["\\ud83d\\ude00", "\\\\ud800"]')
    assert read_json(path) == ["😀", "\\ud800"]


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.png", "a/../../secret.png", "/etc/passwd", "", ".", "..", None, 5),
        *("absent.png", "a\0b.png", "\udcff.png", "x" * 300, "x/" * 3000),
    ],
)
def test_a_name_that_leads_to_no_image_of_the_folder_is_refused(
    tmp_path: Path, name: object
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (tmp_path / "secret.png").touch()
    with pytest.raises(RequestError) as caught:
        image_path(folder, name)
    assert "\n" not in str(caught.value)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "a.png").touch()
    (tmp_path / "images").symlink_to(tmp_path / "coco")
    assert image_path(tmp_path / "images", "a.png").is_file()
