from __future__ import annotations

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llava_tools.evaluation.data_files.spreadsheet import Cell, write_spreadsheet

NAMES = {"s": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def _cells(path: Path) -> list[list[Cell]]:
    with zipfile.ZipFile(path) as archive:
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    rows: list[list[Cell]] = []
    for row in sheet.iterfind("s:sheetData/s:row", NAMES):
        cells: list[Cell] = []
        for cell in row:
            number, text = cell.find("s:v", NAMES), cell.find("s:is/s:t", NAMES)
            if number is not None:
                cells.append(int(number.text or ""))
            else:
                cells.append(None if text is None else text.text or "")
        rows.append(cells)
    return rows


def test_numbers_texts_and_empty_cells_are_written(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["index", "question"], [3000241, ' <a> & "b"\n字\t'], [2, None]]

    write_spreadsheet(tmp_path / "a.xlsx", rows)

    assert _cells(tmp_path / "a.xlsx") == rows


@pytest.mark.parametrize(
    ("text", "written"),
    [("a\x00b\x1b[0m", "a\ufffdb\ufffd[0m"), ("\ud800", "\ufffd"), ("a\rb", "a\rb"), ("😀", "😀")],
)
def test_characters_that_xml_cannot_have_are_replaced(
    tmp_path: Path, text: str, written: str
) -> None:
    write_spreadsheet(tmp_path / "a.xlsx", [[text]])

    assert _cells(tmp_path / "a.xlsx") == [[written]]


def test_package_names_each_of_its_parts(tmp_path: Path) -> None:
    write_spreadsheet(tmp_path / "a.xlsx", [["x"]])

    with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
        assert archive.testzip() is None
        parts = {f"/{name}" for name in archive.namelist() if name.startswith("xl/work")}
        types = ElementTree.fromstring(archive.read("[Content_Types].xml"))
    assert {part.get("PartName") for part in types if "PartName" in part.attrib} == parts
