"""Tuning a small random LLaVA: it learns, resumes after a kill, and its checkpoint loads."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import DistributedType
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from llava_tools import Llava
from llava_tools.errors import ImageError, ModelError, RequestError, TrainingError
from llava_tools.finetune import TuneOptions, main, tune
from tests.checkpoints import write_checkpoint
from tests.finetune.llama_tokenizer import make_tokenizer

QUESTION = "What is in the picture?"
ANSWERS_BY_COLOUR = {"red": "A red circle.", "blue": "the blue circle.", "green": "Is it green"}
ANSWERS_BY_QUESTION = {"What is red?": "the circle.", "What is blue?": "A picture."}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the original model and five records, three of which differ only by image."""
    folder = tmp_path_factory.mktemp("tune")
    write_checkpoint(folder / "base", tokenizer=make_tokenizer())
    (folder / "base" / "LICENSE.txt").write_text("terms")
    (folder / "images").mkdir()
    records: list[dict[str, Any]] = []
    for colour, answer in ANSWERS_BY_COLOUR.items():
        Image.new("RGB", (40, 30), colour).save(folder / "images" / f"{colour}.png")
        turns = _turns(f"<image>\n{QUESTION}", answer)
        records.append({"id": colour, "image": f"{colour}.png", "conversations": turns})
    records += [
        {"conversations": _turns(question, answer)}
        for question, answer in ANSWERS_BY_QUESTION.items()
    ]
    (folder / "data.json").write_text(json.dumps(records))
    return folder


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def options(base: Path, out: Path, **changes: Any) -> TuneOptions:
    defaults: dict[str, Any] = {
        "rank": 16,
        "alpha": 32,
        "batch_size": 3,
        "learning_rate": 1e-2,
        "warmup_ratio": 0.1,
    }
    return TuneOptions(
        model=str(base / "base"),
        data=base / "data.json",
        images=base / "images",
        out=out,
        device="cpu",
        dtype="float32",
        gradient_checkpointing=False,
        **defaults | changes,
    )


def losses(out: Path) -> list[float]:
    lines = (out.with_name(out.name + ".work") / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.slow
def test_lora_memorizes_answers_and_its_checkpoint_loads(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    loss = tune(options(base, out, epochs=30, projector_learning_rate=5e-3, dropout=0.0))
    assert loss < 0.05
    log = capsys.readouterr().err
    assert "5 records, 0 of them truncated" in log
    assert "step 60/60" in log
    assert "left 0:00:00" in log
    with Llava(str(out)) as model:
        for colour, answer in ANSWERS_BY_COLOUR.items():
            assert model.ask(QUESTION, base / "images" / f"{colour}.png").text == answer
        for question, answer in ANSWERS_BY_QUESTION.items():
            assert model.ask(question).text == answer
    assert Image.open(out / "losses.png").size == (800, 450)
    assert json.loads((out / "tuning.json").read_text())["loss"] == loss
    assert (out / "LICENSE.txt").read_text() == "terms"
    _check_files(base / "base", out, ("_proj.weight", "multi_modal_projector"))


def test_full_tuning_changes_the_language_model_and_not_the_vision_tower(
    base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tune(options(base, out, method="full", epochs=2, learning_rate=1e-3))
    _check_files(base / "base", out, ("language_model", "lm_head", "multi_modal_projector"))
    first, *_, last = losses(out)
    assert last < first


def _check_files(before: Path, after: Path, trained: tuple[str, ...]) -> None:
    """Names, shapes, dtypes and other files are equal; values differ only in trained weights."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert {k: (v.shape, v.dtype) for k, v in old.items()} == {
        k: (v.shape, v.dtype) for k, v in new.items()
    }
    for name, value in old.items():
        is_trained = "vision_tower" not in name and any(part in name for part in trained)
        assert torch.equal(value, new[name]) != is_trained, name
    for file in before.iterdir():
        if file.suffix != ".safetensors":
            assert (after / file.name).read_bytes() == file.read_bytes()


def test_shards_keep_their_names_and_dtypes(base: Path, tmp_path: Path) -> None:
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(base / "base", dtype=torch.bfloat16)
    folder = tmp_path / "sharded"
    model.save_pretrained(folder, max_shard_size="200KB")
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((base / "base" / name).read_bytes())
    out = tmp_path / "out"
    tune(
        replace(
            options(base, out, epochs=2, batch_size=5),
            model=str(folder),
            dtype="bfloat16",
            gradient_checkpointing=True,
        )
    )
    names = sorted(file.name for file in folder.glob("*.safetensors*"))
    assert len(names) > 2
    assert sorted(file.name for file in out.glob("*.safetensors*")) == names
    for name in names[:-1]:
        with safe_open(folder / name, "pt") as old, safe_open(out / name, "pt") as new:
            assert list(old.keys()) == list(new.keys())
            assert {new.get_slice(key).get_dtype() for key in new.keys()} == {"BF16"}  # noqa: SIM118
    with Llava(str(out)) as tuned:
        assert tuned.ask("What is red?", max_tokens=3).usage.completion_tokens


KILLED_RUN = """
import os, signal, sys
from tests.finetune.test_main import Path, options, tune
from llava_tools.finetune.checkpoint import CheckpointStore
append = CheckpointStore.append_metrics
def append_and_die(self, metrics):
    append(self, metrics)
    if metrics.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
CheckpointStore.append_metrics = append_and_die
tune(options(Path(sys.argv[1]), Path(sys.argv[2]), epochs=4, save_every=2))
"""


@pytest.mark.slow
def test_a_killed_run_resumes_with_equal_losses_and_weights(base: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    tune(options(base, whole, epochs=4))
    process = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, str(base), str(killed)], check=False
    )
    assert process.returncode == -9
    assert not killed.exists()
    assert losses(killed) == losses(whole)[:5]
    assert torch.load(tmp_path / "killed.work" / "state.pt", weights_only=True)["step"] == 4
    (tmp_path / "killed.work" / "state.part").write_bytes(b"incomplete")
    with pytest.raises(RequestError, match=r"other options: epochs=4, now 5"):
        tune(options(base, killed, epochs=5))
    tune(options(base, killed, epochs=4, micro_batch_size=8))
    assert losses(killed) == losses(whole)
    assert len(losses(killed)) == 8
    weights, resumed = (load_file(out / "model.safetensors") for out in (whole, killed))
    assert all(torch.equal(value, resumed[name]) for name, value in weights.items())


def test_micro_batches_do_not_change_losses(base: Path, tmp_path: Path) -> None:
    runs = []
    for micro_batch_size in (1, 5):
        out = tmp_path / f"out{micro_batch_size}"
        tune(
            options(
                base, out, batch_size=5, micro_batch_size=micro_batch_size, epochs=3, dropout=0.0
            )
        )
        runs.append(losses(out))
    assert runs[0] == pytest.approx(runs[1], rel=1e-3)


def test_impossible_runs_are_refused_before_training(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RequestError, match="max_length=600 is more than the 512 tokens"):
        tune(options(base, out, max_length=600))
    with pytest.raises(RequestError, match="5 records make one step of 128, and the rate begins"):
        tune(options(base, out, batch_size=128))
    long = tmp_path / "long.json"
    long.write_text(json.dumps([{"id": "x", "conversations": _turns("very " * 300, "long")}]))
    with pytest.raises(RequestError, match=r"record 0 .*'x'.* is too long: its first answer"):
        tune(replace(options(base, out), data=long))
    with pytest.raises(TrainingError, match=r"loss of step \d+ is (nan|inf)"):
        tune(options(base, out, learning_rate=1e30, epochs=3, warmup_ratio=0.0))
    assert not out.exists()
    out.mkdir()
    (out / "precious").touch()
    with pytest.raises(RequestError, match="already exists"):
        tune(options(base, out))
    with pytest.raises(ModelError, match=r"no <\|im_start\|>.* format 'chatml'"):
        tune(options(base, tmp_path / "new", conversation="chatml"))
    with pytest.raises(ModelError, match="There is no model"):
        tune(replace(options(base, tmp_path / "new"), model="no/such/model"))


def test_deepspeed_is_refused_rather_than_ignored(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deepspeed = SimpleNamespace(distributed_type=DistributedType.DEEPSPEED)
    monkeypatch.setattr(main, "Accelerator", lambda **_: deepspeed)
    with pytest.raises(RequestError, match="not split by DEEPSPEED"):
        tune(options(base, tmp_path / "out"))


def test_an_error_of_an_image_names_its_record(base: Path, tmp_path: Path) -> None:
    (base / "images" / "broken.png").write_bytes(b"\x89PNG no picture")
    data = tmp_path / "data.json"
    turns = _turns(f"<image>\n{QUESTION}", "A red circle.")
    data.write_text(json.dumps([{"id": 5, "image": "broken.png", "conversations": turns}]))
    with pytest.raises(ImageError, match=r"record 0 \(id '5'\).*broken\.png"):
        tune(replace(options(base, tmp_path / "out", batch_size=1, warmup_ratio=0.0), data=data))


def test_held_out_records_are_evaluated_and_not_trained_on(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tune(options(base, out, epochs=3, batch_size=2, held_out=0.4, evaluate_every=2))
    lines = (tmp_path / "out.work" / "losses.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    assert [s["step"] for s in steps if s["held_out_loss"] is not None] == [2, 4, 6]
    assert all(s["held_out_loss"] > 0 for s in steps if s["held_out_loss"] is not None)
    assert len(steps) == 6  # three records in steps of two
    assert Image.open(out / "losses.png").size == (800, 900)
    plain = tmp_path / "plain"
    tune(options(base, plain, epochs=3, batch_size=2, held_out=0.4, evaluate_every=100))
    assert [s["loss"] for s in steps] == losses(plain)  # evaluations change nothing


def test_the_card_names_base_data_and_options(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tune(options(base, out, epochs=2, held_out=0.2))
    card = (out / "README.md").read_text()
    assert f"- {base / 'base'}" in card
    assert "| rank | 16 |" in card
    assert hashlib.sha256((base / "data.json").read_bytes()).hexdigest() in card
    assert "On held-out records:" in card


def test_losses_are_written_for_tensorboard(base: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tune(options(base, tmp_path / "out", epochs=2, tensorboard=True))
    events = EventAccumulator(str(tmp_path / "out.work" / "tensorboard")).Reload()
    logged = [event.value for event in events.Scalars("loss")]
    assert logged == pytest.approx(losses(tmp_path / "out"))
