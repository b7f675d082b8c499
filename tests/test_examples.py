"""The examples, run as their readers run them, on the embedded model."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.retrieval.documents import write_pdf

EXAMPLES = Path(__file__).parent.parent / "examples"


def _run(*arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / arguments[0]), *arguments[1:]]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.parametrize(
    ("find", "ask", "image", "answer"),
    [
        ("Is there a star in the picture?", "What colour is the star?", "night.png", "yellow"),
        ("Do you see a diamond?", "What is the background colour?", "sea.png", "blue"),
        ("Is there a cross?", "What colour is the cross?", "paper.png", "red"),
    ],
)
def test_find_and_ask(find: str, ask: str, image: str, answer: str) -> None:
    match, answered, times = _run("find_and_ask.py", "--find", find, "--ask", ask).splitlines()
    assert match == f"{find}  ->  {image}"
    assert answered == f"{ask}  ->  {answer}"
    assert "llava-tools/tiny" in times


@pytest.mark.parametrize(
    ("image", "ask", "answer"),
    [
        ("night.png", "What colour is the star?", "yellow"),
        ("sea.png", "What is the background colour?", "blue"),
    ],
)
def test_llama_index_agent(image: str, ask: str, answer: str) -> None:
    path = str(EXAMPLES / "images" / image)
    lines = _run("llama_index_agent.py", "--image", path, "--ask", ask).splitlines()
    assert [line.split(":")[0] for line in lines] == ["FunctionAgent", "AgentWorkflow"]
    for line in lines:
        assert "open_picture(img_" in line
        assert line.endswith(f"  ->  {answer}")


@pytest.mark.parametrize(
    ("ask", "answer", "image"),
    [
        ("What colour is the star?", "yellow", "night.png"),
        ("What colour is the cross?", "red", "paper.png"),
    ],
)
def test_llama_index_pages(ask: str, answer: str, image: str) -> None:
    assert _run("llama_index_pages.py", "--ask", ask) == f"{ask}  ->  {answer}  ({image})\n"


def test_ask_documents(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_pdf(tmp_path / "in" / "manual.pdf", ["Cover", "Descale it every month", "Warranty"])
    arguments = ["--folder", str(tmp_path / "in"), "--index", str(tmp_path / "index")]
    output = _run("ask_documents.py", *arguments, "--ask", "When to descale it?")
    assert "1 documents, 3 pages added" in output
    assert "When to descale it?  ->  " in output
    assert "manual.pdf, page " in output


def test_langgraph_documents() -> None:
    result = ast.literal_eval(_run("langgraph_documents.py"))
    assert result == {"answer": "yellow", "page": 1, "document": "night.png"}


def test_evidence(tmp_path: Path) -> None:
    drawing = tmp_path / "evidence.png"
    found, shown, zoomed = _run("evidence.py", "--out", str(drawing)).splitlines()
    assert found.startswith("'yellow' depends on the box [")
    assert shown.startswith('show_evidence: {"answer":"yellow","box":[')
    assert '"answer":"yellow"' in zoomed
    with Image.open(drawing) as image:
        assert image.size == (480, 480)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
