"""The notebook runs in a fresh kernel, and its stored outputs are what comes out.

`python -m tests.test_notebook` runs it and stores the outputs.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"
PATH = EXAMPLES / "quick_start.ipynb"
RED = (255, 0, 0)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell: Any) -> str:
    """Return what a cell prints and shows as text, without digits that depend on the machine."""
    texts = [
        output.text if output.output_type == "stream" else output.data["text/plain"]
        for output in cell.outputs
        if output.get("name") != "stderr"  # other packages' warnings
    ]
    return re.sub(r"\d\.\d+", "0.…", "".join(texts))


def images(cell: Any) -> list[Image.Image]:
    """Return the images in the HTML that a cell shows."""
    html = [output.data.get("text/html", "") for output in cell.outputs if "data" in output]
    data = re.findall(r"data:image/png;base64,([\w+/=]+)", "".join(html))
    return [Image.open(io.BytesIO(base64.b64decode(item))).convert("RGB") for item in data]


def shows_box(image: Image.Image) -> bool:
    """Return whether a pure red line is on the image, as boxes are drawn."""
    width, height = image.size
    rows = (image.crop((0, y, width, y + 1)).getcolors(width) or [] for y in range(height))
    return any(count > 20 and colour == RED for row in rows for count, colour in row)


def executed() -> Any:
    """Return the notebook with the outputs of a fresh kernel."""
    notebook = nbformat.read(PATH, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs = []
    folder = {"metadata": {"path": str(EXAMPLES)}}
    return NotebookClient(notebook, timeout=300, resources=folder, record_timing=False).execute()


@pytest.fixture(scope="module")
def stored() -> Any:
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def fresh() -> Any:
    return executed()


def test_stored_outputs_are_current(stored: Any, fresh: Any) -> None:
    pairs = list(zip(code_cells(stored), code_cells(fresh), strict=True))
    assert len(pairs) > 5
    for before, after in pairs:
        assert text_of(before) == text_of(after)
        assert len(images(before)) == len(images(after))


def test_no_cell_writes_warnings(fresh: Any) -> None:
    outputs = [output for cell in code_cells(fresh) for output in cell.outputs]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


def test_answers_are_right(fresh: Any) -> None:
    texts = [text_of(cell) for cell in code_cells(fresh)]
    text = "\n".join(texts)
    for expected in (
        "What colour is the star? -> yellow",
        "What is the colour of the background? -> black",
        "a picture with a diamond -> sea.png page 1",
        "first aid -> signs.pdf page 1",
        "DocumentAnswer('green'",
        "DocumentAnswer('triangle'",
        "call: look What colour is the star?",
    ):
        assert expected in text
    assert "yellow" in texts[-1].splitlines()[-1]


def test_documents_show_their_pages_with_boxes(fresh: Any) -> None:
    answers = [cell for cell in code_cells(fresh) if "DocumentAnswer(" in text_of(cell)]
    assert len(answers) == 2
    for cell in answers:
        cited = images(cell)  # best first; others that gave the same answer may follow
        assert len(cited) == text_of(cell).count(", page ")
        assert shows_box(cited[0])


def test_stored_outputs_name_no_machine(stored: Any) -> None:
    text = PATH.read_text()
    assert not re.search(r"/(home|Users|tmp|root)/", text)
    assert all(output.get("name") != "stderr" for c in code_cells(stored) for output in c.outputs)
    assert len(text) < 500_000


if __name__ == "__main__":
    notebook = executed()
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, PATH)
