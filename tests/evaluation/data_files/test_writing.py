"""Writing to an output folder: whole lines or none, and errors of one line."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.data_files.writing import append_line, writing


class _FullDisk(FileIO):
    """A file of which only the first half of a write fits on the disk."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return super().write(data[: len(data) // 2])


def test_a_failure_names_what_was_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "file"
    with (
        pytest.raises(RequestError, match=r"absent/file cannot be written: No such file"),
        writing(path),
    ):
        path.write_text("text")


def test_of_a_line_that_does_not_fit_nothing_stays(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"first\n")
    with _FullDisk(path, "ab") as file, pytest.raises(OSError, match="No space left"):
        append_line(file, b"second\n")
    with FileIO(path, "ab") as file:
        append_line(file, b"third\n")
    assert path.read_bytes() == b"first\nthird\n"
