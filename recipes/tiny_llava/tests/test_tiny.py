"""The command that trains the embedded model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llava_tools import Llava
from recipes.tiny_llava.tokenizer import save_tokenizer, train_tokenizer

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_short_training_writes_a_model_that_loads(tmp_path: Path) -> None:
    out, work = tmp_path / "tiny", tmp_path / "tiny.work"
    work.mkdir()
    save_tokenizer(train_tokenizer(vocabulary=500, questions=200), work)
    command = [sys.executable, "-m", "recipes.tiny_llava.tiny", "--out", str(out)]
    options = ["--minutes", "0.05", "--each", "1"]
    process = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "colour" in process.stdout
    with Llava(str(out)) as model:
        image = ROOT / "examples" / "images" / "night.png"
        assert model.ask("What colour is the star?", image).usage
    assert json.loads((out / "config.json").read_text())["model_type"] == "llava"
