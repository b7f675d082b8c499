"""Searching for words loads no model; a search that is warm takes a tenth of a second at most."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_long_pdf, write_pdf

COMMAND = """
import json, sys
from llava_tools.cli.main import main
code = main(["search", sys.argv[1], "descaling", "--mode", "text"])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_pdf(folder / "a.pdf", ["Invoice total 42", "Descaling the machine"])
    write_long_pdf(folder / "long.pdf", 300)
    PageIndex(folder / "index", ScriptedEmbedder()).update([folder])
    return folder / "index"


def test_search_for_words_loads_no_model(where: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", COMMAND, str(where)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    *lines, last = run.stdout.splitlines()
    code, modules = json.loads(last)
    assert code == 0
    assert "a.pdf, page 2" in lines[0]
    assert {"lancedb", "llava_tools"} <= set(modules)
    assert not {"torch", "transformers", "tokenizers", "pypdfium2", "onnxruntime"} & set(modules)


@pytest.mark.parametrize("mode", ["text", "image", "hybrid"])
def test_warm_search_takes_a_tenth_of_a_second(where: Path, mode: str) -> None:
    index = PageIndex(where, ScriptedEmbedder())
    index.search("descaling", mode=mode)
    seconds = []
    for _ in range(10):
        start = time.process_time()
        index.search("descaling", mode=mode)
        seconds.append(time.process_time() - start)
    assert statistics.median(seconds) < 0.1
