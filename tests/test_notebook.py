"""The notebook in a fresh kernel: every cell runs, and says what its kept outputs say.

`python -m tests.test_notebook` runs it and keeps the outputs.
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


def said(cell: Any) -> str:
    """What a cell printed or showed as words, without digits that machines may round otherwise."""
    words = [
        output.text if output.output_type == "stream" else output.data["text/plain"]
        for output in cell.outputs
        if output.get("name") != "stderr"  # other packages' warnings
    ]
    return re.sub(r"\d\.\d+", "0.…", "".join(words))


def images(cell: Any) -> list[Image.Image]:
    """What a cell showed as images, those inside of its HTML."""
    shown = [output.data.get("text/html", "") for output in cell.outputs if "data" in output]
    data = re.findall(r"data:image/png;base64,([\w+/=]+)", "".join(shown))
    return [Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB") for one in data]


def boxed(image: Image.Image) -> bool:
    """Whether there is a pure red line on it, framed by white, as boxes are drawn."""
    width, height = image.size
    rows = (image.crop((0, y, width, y + 1)).getcolors(width) or [] for y in range(height))
    return any(count > 20 and colour == RED for row in rows for count, colour in row)


def executed() -> Any:
    """The notebook with what comes out of it in a fresh kernel."""
    notebook = nbformat.read(PATH, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs = []
    folder = {"metadata": {"path": str(EXAMPLES)}}
    return NotebookClient(notebook, timeout=300, resources=folder, record_timing=False).execute()


@pytest.fixture(scope="module")
def kept() -> Any:
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def fresh() -> Any:
    return executed()


def test_what_is_kept_is_what_comes_out(kept: Any, fresh: Any) -> None:
    pairs = list(zip(code_cells(kept), code_cells(fresh), strict=True))
    assert len(pairs) > 5
    for before, now in pairs:
        assert said(before) == said(now)
        assert len(images(before)) == len(images(now))


def test_the_answers_are_right(fresh: Any) -> None:
    words = [said(cell) for cell in code_cells(fresh)]
    told = "\n".join(words)
    for right in (
        "What colour is the star? -> yellow",
        "What is the colour of the background? -> black",
        "a picture with a diamond -> sea.png page 1",
        "first aid -> signs.pdf page 1",
        "DocumentAnswer('green'",
        "DocumentAnswer('triangle'",
        "call: look What colour is the star?",
    ):
        assert right in told
    assert "yellow" in words[-1].splitlines()[-1]


def test_documents_show_their_pages_with_boxes(fresh: Any) -> None:
    answers = [cell for cell in code_cells(fresh) if "DocumentAnswer(" in said(cell)]
    assert len(answers) == 2
    for cell in answers:
        cited = images(cell)  # best first; others that gave the same answer may follow
        assert len(cited) == said(cell).count(", page ")
        assert boxed(cited[0])


def test_nothing_of_the_machine_is_kept(kept: Any) -> None:
    text = PATH.read_text()
    assert not re.search(r"/(home|Users|tmp|root)/", text)
    assert all(output.get("name") != "stderr" for c in code_cells(kept) for output in c.outputs)
    assert len(text) < 500_000


if __name__ == "__main__":
    notebook = executed()
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, PATH)
