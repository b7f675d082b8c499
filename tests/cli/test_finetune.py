"""`llava-tools train` passes on its flags; wrong use prints one line and exits with 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llava_tools.cli import finetune
from llava_tools.cli.main import main
from llava_tools.finetune import AlignOptions, TuneOptions

REQUIRED = ["--model", "7b", "--data", "d.json", "--out", "o"]


def test_flags_set_options_and_the_others_keep_their_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[TuneOptions] = []
    monkeypatch.setattr(finetune, "tune", lambda options, show: calls.append(options))
    assert main(["train", "tune", *REQUIRED]) == 0
    assert (
        main(
            [
                "train",
                "tune",
                *REQUIRED,
                "--full",
                "--learning-rate",
                "1e-5",
                "--no-gradient-checkpointing",
            ]
        )
        == 0
    )
    assert main(["train", "tune", *REQUIRED, "--conversation", "llama3"]) == 0
    assert main(["train", "tune", *REQUIRED, "--qlora"]) == 0
    base: dict[str, Any] = {"model": "7b", "data": Path("d.json"), "out": Path("o")}
    assert calls == [
        TuneOptions(**base),
        TuneOptions(**base, method="full", learning_rate=1e-5, gradient_checkpointing=False),
        TuneOptions(**base, conversation="llama3"),
        TuneOptions(**base, method="qlora"),
    ]


def test_align_takes_the_language_model_by_its_own_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[AlignOptions] = []
    monkeypatch.setattr(finetune, "align", lambda options, show: calls.append(options))
    words = ["--vision", "clip/", "--language", "vicuna/", "--data", "d.json", "--out", "o"]
    assert main(["train", "align", *words, "--learning-rate", "0.002"]) == 0
    expected = AlignOptions(
        vision="clip/", model="vicuna/", data=Path("d.json"), out=Path("o"), learning_rate=0.002
    )
    assert calls == [expected]


@pytest.mark.parametrize("flags", [[], ["--quiet"]])
def test_quiet_shows_no_progress(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tune(options: TuneOptions, show: Callable[[str], None]) -> float:
        show("step 1/2")
        return 0.0

    monkeypatch.setattr(finetune, "tune", tune)
    assert main(["train", "tune", *REQUIRED, *flags]) == 0
    assert capsys.readouterr().err == ("" if flags else "step 1/2\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: --model, --data, --out"),
        (["--model", "7b"], "required: --data, --out"),
        (["--model", "7b", "--data", "d"], "required: --out"),
        (
            ["--model", "7b", "--data", "nowhere.json", "--out", "o"],
            "'nowhere.json' cannot be read",
        ),
        ([*REQUIRED, "--rank", "0"], "rank=0"),
        ([*REQUIRED, "--lora", "--full"], "not allowed with argument"),
        ([*REQUIRED, "huge"], "huge"),
        ([*REQUIRED, "--minute", "x"], "--minute"),
    ],
)
def test_wrong_use_prints_one_line_and_exits_with_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(["train", "tune", *arguments])
    except SystemExit as error:
        code = error.code
    err = capsys.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    assert reason in err
