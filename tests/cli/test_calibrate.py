"""`llava-tools calibrate`: fits, writes, prints; wrong use exits with 2 before anything loads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from llava_tools import model_cache
from llava_tools.cli.main import main
from llava_tools.core.calibration import read_calibration
from llava_tools.core.requests import Request
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend


def _scores(request: Request, label: str) -> float:
    return math.log(0.9 if label in ("red", "Yes", "yes") else 0.1)


@pytest.fixture
def data(image: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    backend = ScriptedBackend(scores=_scores)

    def load(options: EngineOptions) -> ScriptedBackend:
        return backend

    monkeypatch.setattr(model_cache, "engines", model_cache.ModelCache(load))
    question = {"image": image, "question": "Which?", "labels": ["red", "blue"]}
    records = [question | {"answer": answer} for answer in ("red", "red", "blue", "blue")]
    shown = [{"image": image, "shows": "a ball", "answer": answer} for answer in ("yes", "no")]
    path = Path(image).with_name("labelled.json")
    path.write_text(json.dumps([*records, *shown] * 10))
    return path


def test_it_writes_a_calibration_and_prints_what_it_changes(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = data.with_name("c.json"), data.with_name("p.svg")
    assert main(["calibrate", "--data", str(data), "--out", str(out), "--plot", str(plot)]) == 0
    calibration = read_calibration(out)
    assert calibration.data == "60 of labelled.json"
    assert (calibration.choice.count, calibration.yes_no.count) == (40, 20)
    assert calibration.choice.temperature > 10  # 0.9 sure and right in half
    assert "<svg" in plot.read_text()
    printed = capsys.readouterr()
    assert "60 records are few" in printed.err
    lines = printed.out.splitlines()
    assert lines[0].startswith("choices: 40 answers, 50.0% right; calibration error 0.400 before")
    assert lines[1].startswith("yes or no: 20 answers")
    result = json.loads(lines[-1])
    assert result["choice"]["ece_after"] < 0.05
    assert result["yes_no"]["coverage"] == 0.8
    assert result["model"] == "scripted"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--out", "nowhere/c.json"], "--out nowhere/c.json cannot be written"),
        (["--coverage", "1.5"], "--coverage 1.5 is not possible"),
        (["--plot", "p.txt"], "--plot p.txt is not possible"),
        (["--data", "none.json"], "none.json cannot be read"),
    ],
)
def test_wrong_use_is_refused(
    data: Path, flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = data.with_name("c.json")
    assert main(["calibrate", "--data", str(data), "--out", str(out), *flags]) == 2
    assert reason in capsys.readouterr().err
    assert not out.exists()
