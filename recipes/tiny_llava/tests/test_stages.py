"""The two stages by `run.sh`, from data to files and cards; the examination's scores; retrieval."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, LlavaForConditionalGeneration

import llava_tools
from llava_tools import Embedder
from llava_tools.evaluation.trust.labelled import read_labelled
from llava_tools.finetune.records import read_captions, read_records
from recipes.tiny_llava import clip, evaluate, exam, labelled, model, records, retrieval
from recipes.tiny_llava.sample import sample_scene

TINY, ROOT = Path(llava_tools.__file__).parent / "tiny", Path(__file__).parents[3]
SHARES = ("text 1", "text 5", "image 1", "image 5", "part 1", "part chance")
FIGURES: dict[str, Any] = {
    "each": 2, "own/colour": {"right": 1, "total": 2, "commonest": 1},
    "tools": {"exact call": (1, 4)}, "neighbours": {"colour": 0.7},
    "retrieval": {"own": dict.fromkeys(SHARES, 0.5)},
}  # fmt: skip


def returncode(folder: Path, **environment: str) -> int:
    environment = {"ALIGN_STEPS": "2", "TUNE_STEPS": "2", "PYTHONPATH": str(ROOT), **environment}
    command = ["bash", str(ROOT / "recipes" / "tiny_llava" / "run.sh"), str(folder)]
    return subprocess.run(command, env=os.environ | environment, timeout=300).returncode


def test_run_sh_fails_as_a_whole_and_resumes(tmp_path: Path) -> None:
    python = tmp_path / "python"  # stands for the real one
    python.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n'
        'case "$*" in *$FAIL*) exit 3;; *$HANG*) sleep 600;; esac\n'
    )
    python.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert returncode(tmp_path, PATH=path, FAIL="tiny_llava.clip", HANG="tiny_llava.language") == 3
    assert returncode(tmp_path, PATH=path, FAIL="nothing", HANG="nothing") == 0
    calls = (tmp_path / "calls").read_text()
    for part, count in {
        "tiny_llava.tokenizer": 1,
        "tiny_llava.clip": 2,
        "train tune": 2,
        "tiny_llava.card": 1,
    }.items():
        assert calls.count(part) == count


def prepare(folder: Path) -> None:
    """Write small new parts, given figures, and the marks of the parts that make them."""
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    language = model.new_language_model(len(tokenizer), width=64, depth=1)
    language.save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    clip.save(model.new_clip(len(tokenizer), width=128, depth=2), TINY, folder / "clip")
    (folder / "done").mkdir()
    for part in ("tokenizer", "clip", "language", "labelled", "calibration", "evaluate"):
        (folder / "done" / part).touch()
        (folder / f"{part}.jsonl").write_text('{"step": 25, "seconds": 60.0, "loss": 1.5}\n')
    (folder / "figures.json").write_text(json.dumps(FIGURES))


@pytest.mark.slow
def test_run_sh_writes_a_model_and_its_card(tmp_path: Path) -> None:
    prepare(tmp_path)
    assert returncode(tmp_path) == 0
    loaded: Any = LlavaForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert loaded.dtype == torch.float16
    digest = hashlib.sha256()
    for name, value in sorted(loaded.model.vision_tower.named_parameters()):
        if not name.startswith(("encoder.layers.1.", "post_layernorm.")):
            digest.update(value.detach().numpy().tobytes())
    config = json.loads((tmp_path / "model" / "clip" / "config.json").read_text())
    assert config["vision_tower_sha256"] == digest.hexdigest()
    with Embedder(str(tmp_path / "model"), device="cpu") as embedder:
        assert len(embedder.embed_images([Image.new("RGB", (20, 10))])[0]) == 128
    text = (tmp_path / "model" / "README.md").read_text()
    for row in ("colour | – | 50.0 | – | 50.0 ", "clip | 25 | 1 | 1.500 ", "exact call | 4 | 25 "):
        assert f"| {row}|" in text


def test_records_resume_and_depend_on_their_number_alone(tmp_path: Path) -> None:
    for stage, read in (("align", read_captions), ("tune", read_records)):
        whole, resumed = tmp_path / f"{stage} whole", tmp_path / stage
        records.write(whole, stage, 9)
        records.write(resumed, stage, 2)
        with (resumed / "records.jsonl").open("a") as file:
            file.write('{"cut')
        records.write(resumed, stage, 9)
        assert (whole / "data.json").read_text() == (resumed / "data.json").read_text()
        found = read(resumed / "data.json", resumed / "images")
    assert [record.image is None for record in found] == [True, *[False] * 7, True]
    assert [record.system is None for record in found] == [False, *[True] * 7, False]


def test_boxes_count_by_overlap() -> None:
    item = exam.Item("box", Image.new("RGB", (112, 112)), "where?", "[0.10, 0.10, 0.50, 0.50]")
    for answer, right in (("[0.10, 0.10, 0.50, 0.45]", 1), ("[0.50, 0.50, 0.90, 0.90]", 0)):
        assert exam.score([item], [answer])["box"] == exam.Score(right, 1, 1)


def test_exam_items_and_labelled_images_are_reproducible(tmp_path: Path) -> None:
    for draw in (exam.own_items, exam.stranger_items):
        first, second = draw(2, kinds=("box", "count")), draw(2, kinds=("count",))
        assert [item.answer for item in first[2:]] == [item.answer for item in second]
    labelled.write(tmp_path, each=1, scenes=2)
    found = read_labelled(tmp_path / "data.json")
    labelled.write(tmp_path, each=1, scenes=2)
    assert found == read_labelled(tmp_path / "data.json")


def test_retrieval_of_perfect_vectors() -> None:
    one = retrieval.trial("stranger", size=5)
    assert retrieval.figures(one, lambda _: np.eye(5), lambda _: np.eye(5))["text 1"] == 1
    assert all(text.holds(scene) for text, scene in zip(one.wholes, one.scenes, strict=True))


@pytest.mark.parametrize("respect", retrieval.RESPECTS)
def test_captions_tell_neighbours_apart(respect: str) -> None:
    rng = np.random.default_rng(1)
    scenes = [sample_scene(rng) for _ in range(200)]
    pairs = [(s, o) for s in scenes if (o := retrieval.differing(s, respect, rng)) is not None]
    assert pairs
    assert not any(retrieval.strange_whole(one, rng).holds(other) for one, other in pairs)


def test_evaluation_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    monkeypatch.setattr(evaluate, "Examinee", str)
    monkeypatch.setattr(evaluate, "measure", lambda name, *_: measured.append(name))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    for names in (("tools",), ("tools", "retrieval")):
        monkeypatch.setattr(evaluate, "MEASURES", names)
        evaluate.evaluate(tmp_path, tmp_path / "figures.json", each=2)
    assert measured == ["tools", "retrieval"]
