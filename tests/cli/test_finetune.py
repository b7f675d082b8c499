"""`llava-tools train`: what it hands on, and that wrong use is one line and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_tools import Llava, finetune
from llava_tools.cli.main import main
from recipes.tiny_llava.tokenizer import save_tokenizer, train_tokenizer


def test_what_is_not_given_stays_the_official_default(monkeypatch: pytest.MonkeyPatch) -> None:
    tuned: list[finetune.TuneOptions] = []
    monkeypatch.setattr(finetune, "tune", tuned.append)
    required = ["train", "--model", "7b", "--data", "d.json", "--out", "o"]
    assert main(required) == 0
    assert main([*required, "--full", "--rate", "1e-5", "--no-checkpointing"]) == 0
    base: dict[str, Any] = {"model": "7b", "data": Path("d.json"), "out": Path("o")}
    assert tuned == [
        finetune.TuneOptions(**base),
        finetune.TuneOptions(**base, method="full", rate=1e-5, checkpointing=False),
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--model is missing"),
        (["--model", "7b"], "--data is missing"),
        (["--model", "7b", "--data", "d"], "--out is missing"),
        (
            ["--model", "7b", "--data", "nowhere.json", "--out", "o"],
            "'nowhere.json' cannot be read",
        ),
        (["--model", "7b", "--data", "d", "--out", "o", "--rank", "0"], "rank=0"),
        (["--lora", "--full"], "not allowed with argument"),
        (["huge"], "huge"),
        (["tiny", "--minute", "x"], "--minute"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(["train", *arguments])
    except SystemExit as exit_:
        code = exit_.code
    err = capsys.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    assert says in err


def test_a_short_training_of_the_embedded_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, work = tmp_path / "tiny", tmp_path / "tiny.work"
    work.mkdir()
    save_tokenizer(train_tokenizer(vocabulary=500, questions=200), work)
    assert main(["train", "tiny", "--minutes", "0.05", "--each", "1", "--out", str(out)]) == 0
    assert "colour" in capsys.readouterr().out
    with Llava(str(out)) as model:
        assert model.ask("What colour is the star?", "examples/pictures/night.png").usage
    assert json.loads((out / "config.json").read_text())["model_type"] == "llava"
