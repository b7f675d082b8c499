"""Tuning on a small random LLaVA: it learns, can be killed, and what it writes is a LLaVA again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import get_cosine_schedule_with_warmup

from llava_tools import Llava
from llava_tools.errors import ModelError, RequestError, TrainingError
from llava_tools.finetune import TuneOptions, tune
from llava_tools.finetune.trainer import share
from tests.checkpoints import write_checkpoint
from tests.finetune.llama import tokenizer

QUESTION = "What is in the picture?"
COLOURS = {"red": "A red circle.", "blue": "the blue circle.", "green": "Is it green"}
WORDS = {"What is red?": "the circle.", "What is blue?": "A picture."}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five records, three of them different by their image only, and the model to begin with."""
    folder = tmp_path_factory.mktemp("tune")
    write_checkpoint(folder / "base", tokenizer=tokenizer())
    (folder / "base" / "LICENSE.txt").write_text("terms")
    (folder / "images").mkdir()
    records: list[dict[str, Any]] = []
    for colour, answer in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / "images" / f"{colour}.png")
        turns = _turns(f"<image>\n{QUESTION}", answer)
        records.append({"id": colour, "image": f"{colour}.png", "conversations": turns})
    records += [{"conversations": _turns(asked, told)} for asked, told in WORDS.items()]
    (folder / "data.json").write_text(json.dumps(records))
    return folder


def _turns(asked: str, told: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": asked}, {"from": "gpt", "value": told}]


def options(base: Path, out: Path, **others: Any) -> TuneOptions:
    chosen: dict[str, Any] = {"rank": 16, "alpha": 32, "batch": 3, "rate": 1e-2, "warmup": 0.1}
    return TuneOptions(
        model=str(base / "base"),
        data=base / "data.json",
        images=base / "images",
        out=out,
        device="cpu",
        dtype="float32",
        checkpointing=False,
        **chosen | others,
    )


def losses(out: Path) -> list[float]:
    lines = (out.with_name(out.name + ".work") / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [json.loads(line)["loss"] for line in lines]


def test_lora_learns_by_heart_and_loads_back(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    loss = tune(options(base, out, epochs=30, projector_rate=5e-3, dropout=0.0))
    assert loss < 0.05
    told = capsys.readouterr().err
    assert "5 records, 0 of them cut" in told
    assert "step 60/60" in told
    assert "left 0:00:00" in told
    with Llava(str(out)) as model:
        for colour, answer in COLOURS.items():
            assert model.ask(QUESTION, base / "images" / f"{colour}.png").text == answer
        for asked, answer in WORDS.items():
            assert model.ask(asked).text == answer
    assert Image.open(out / "losses.png").size == (800, 450)
    assert json.loads((out / "tuning.json").read_text())["loss"] == loss
    assert (out / "LICENSE.txt").read_text() == "terms"
    _check_files(base / "base", out, ("_proj.weight", "multi_modal_projector"))


def test_full_tuning_changes_the_language_model_and_never_the_eye(
    base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tune(options(base, out, method="full", epochs=2, rate=1e-3))
    _check_files(base / "base", out, ("language_model", "lm_head", "multi_modal_projector"))
    found = losses(out)
    assert found[-1] < found[0]


def _check_files(before: Path, after: Path, learned: tuple[str, ...]) -> None:
    """The same names, shapes and dtypes; other values where it learned, and nowhere else."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert {k: (v.shape, v.dtype) for k, v in old.items()} == {
        k: (v.shape, v.dtype) for k, v in new.items()
    }
    for name, value in old.items():
        tuned = "vision_tower" not in name and any(part in name for part in learned)
        assert torch.equal(value, new[name]) != tuned, name
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
            options(base, out, epochs=2, batch=5),
            model=str(folder),
            dtype="bfloat16",
            checkpointing=True,
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


DYING = """
import os, signal, sys
from tests.finetune.test_tune import Path, options, tune
from llava_tools.finetune.checkpoint import Memory
add = Memory.add
def die(self, row):
    add(self, row)
    if row.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
Memory.add = die
tune(options(Path(sys.argv[1]), Path(sys.argv[2]), epochs=4, save_every=2))
"""


def test_a_killed_tuning_goes_on_as_if_it_had_not_been(base: Path, tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    tune(options(base, unbroken, epochs=4))
    died = subprocess.run([sys.executable, "-c", DYING, str(base), str(broken)], check=False)
    assert died.returncode == -9
    assert not broken.exists()
    assert losses(broken) == losses(unbroken)[:5]
    assert torch.load(tmp_path / "broken.work" / "state.pt", weights_only=True)["step"] == 4
    (tmp_path / "broken.work" / "state.part").write_bytes(b"killed while it was written")
    with pytest.raises(RequestError, match=r"other options: epochs=4, now 5"):
        tune(options(base, broken, epochs=5))
    tune(options(base, broken, epochs=4, micro_batch=8))
    assert losses(broken) == losses(unbroken)
    assert len(losses(broken)) == 8
    weights = [load_file(out / "model.safetensors") for out in (unbroken, broken)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_micro_batches_do_not_change_what_is_learned(base: Path, tmp_path: Path) -> None:
    found = []
    for micro_batch in (1, 5):
        out = tmp_path / f"out{micro_batch}"
        tune(options(base, out, batch=5, micro_batch=micro_batch, epochs=3, dropout=0.0))
        found.append(losses(out))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_what_cannot_be_done_is_said_before_anything_is_learned(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RequestError, match="max_length=600 is more than the 512 tokens"):
        tune(options(base, out, max_length=600))
    with pytest.raises(RequestError, match="5 records make one step of 128, and the rate begins"):
        tune(options(base, out, batch=128))
    long = tmp_path / "long.json"
    long.write_text(json.dumps([{"id": "x", "conversations": _turns("very " * 300, "long")}]))
    with pytest.raises(RequestError, match=r"record 0 .*'x'.* is too long: its first answer"):
        tune(replace(options(base, out), data=long))
    with pytest.raises(TrainingError, match=r"loss of step \d+ is (nan|inf)"):
        tune(options(base, out, rate=1e30, epochs=3, warmup=0.0))
    assert not out.exists()
    out.mkdir()
    (out / "precious").touch()
    with pytest.raises(RequestError, match="is there already"):
        tune(options(base, out))
    with pytest.raises(ModelError, match="There is no model"):
        tune(replace(options(base, tmp_path / "new"), model="no/such/model"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rank": 0}, "rank=0"),
        ({"batch": 1.5}, "batch=1.5"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"rate": 0.0}, "rate=0.0"),
        ({"rate": float("nan")}, "rate=nan"),
        ({"warmup": -0.1}, "warmup=-0.1"),
        ({"method": "half"}, "method='half'"),
        ({"workers": -1}, "workers=-1"),
        ({"max_length": 8}, "max_length=8"),
    ],
)
def test_bad_options(base: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        options(base, Path("out"), **wrong)


def test_float16_is_refused(base: Path) -> None:
    with pytest.raises(RequestError, match="float16 loses gradients"):
        replace(options(base, Path("out")), dtype="float16")


def test_defaults_are_the_official_ones() -> None:
    lora = TuneOptions("7b", Path("d"), Path("o"))
    assert (lora.method, lora.rank, lora.alpha, lora.dropout) == ("lora", 128, 256, 0.05)
    assert lora.rates == (2e-4, 2e-5)
    assert (lora.epochs, lora.batch, lora.warmup) == (1, 128, 0.03)
    assert replace(lora, method="full").rates == (2e-5, 2e-5)


@pytest.mark.parametrize(("steps", "warmup"), [(80, 0.03), (7, 0.2), (10, 0.0), (1, 0.03)])
def test_the_schedule_is_that_of_the_official_training(steps: int, warmup: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    warm = -int(-steps * warmup // 1)
    schedule = get_cosine_schedule_with_warmup(optimizer, warm, steps)
    for step in range(steps):
        assert share(step, steps, warmup) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
