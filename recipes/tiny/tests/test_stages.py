"""The two stages from data to files, the examination's scores, retrieval, and the model cards."""

from __future__ import annotations

import hashlib
import json
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
from recipes.tiny import (
    card,
    clip,
    evaluate,
    exam,
    labelled,
    model,
    records,
    retrieval,
    stages,
    words,
)
from recipes.tiny.sample import sample_scene

TINY = Path(llava_tools.__file__).parent / "tiny"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of two steps a stage, from small new parts."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    language = model.new_language_model(len(tokenizer), width=64, depth=1)
    language.save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    clip.save(model.new_clip(len(tokenizer), width=128, depth=2), TINY, folder / "clip")
    command = [str(folder), "--align-steps=2", "--align-batch=4", "--tune-steps=2"]
    stages.main([*command, "--tune-batch=4"])
    return folder


def test_stages_write_a_model_that_transformers_and_the_embedder_load(run: Path) -> None:
    loaded: Any = LlavaForConditionalGeneration.from_pretrained(run / "model")
    assert loaded.dtype == torch.float16
    digest = hashlib.sha256()
    for name, value in sorted(loaded.model.vision_tower.named_parameters()):
        if not name.startswith(("encoder.layers.1.", "post_layernorm.")):
            digest.update(value.detach().numpy().tobytes())
    config = json.loads((run / "model" / "clip" / "config.json").read_text())
    assert config["vision_tower_sha256"] == digest.hexdigest()
    with Embedder(str(run / "model"), device="cpu") as embedder:
        assert len(embedder.embed_images([Image.new("RGB", (20, 10))])[0]) == 128


def test_finished_stages_are_skipped(run: Path) -> None:
    files = [run / "model" / "model.safetensors", run / "tune" / "data.json"]
    times = [file.stat().st_mtime_ns for file in files]
    stages.main([str(run), "--align-steps=2", "--tune-steps=2"])
    assert times == [file.stat().st_mtime_ns for file in files]


def test_data_are_records_of_both_stages(run: Path) -> None:
    read_captions(run / "align" / "data.json", run / "align" / "images")
    found = read_records(run / "tune" / "data.json", run / "tune" / "images")
    assert [record.image is None for record in found] == [True, False, False, False] * 2
    assert [record.system is None for record in found] == [False, True, True, True] * 2


def test_records_depend_on_their_number_alone(run: Path, tmp_path: Path) -> None:
    for stage, make in records.MAKERS.items():
        written = json.loads((run / stage / "data.json").read_text())
        assert make(3, tmp_path) == written[3]
        image = (tmp_path / "000003.jpg").read_bytes()
        assert image == (run / stage / "images" / "000003.jpg").read_bytes()


def test_exam_items_are_reproducible_and_padded() -> None:
    for draw in (exam.own_items, exam.stranger_items):
        first, second = draw(2, kinds=("box", "count")), draw(2, kinds=("count",))
        assert [item.answer for item in first[2:]] == [item.answer for item in second]
        assert {item.image.size for item in first} == {(112, 112)}


def test_boxes_count_by_overlap() -> None:
    image = Image.new("RGB", (112, 112))
    item = exam.Item("box", image, "where?", "[0.10, 0.10, 0.50, 0.50]")
    for answer, right in (("[0.10, 0.10, 0.50, 0.45]", 1), ("[0.50, 0.50, 0.90, 0.90]", 0)):
        assert exam.score([item], [answer])["box"] == exam.Score(right, 1, 1)


def test_labelled_images_can_be_read(tmp_path: Path) -> None:
    labelled.write(tmp_path, each=1, scenes=2)
    assert len(read_labelled(tmp_path / "data.json")) > len(labelled.CLOSED)


def test_retrieval_of_perfect_vectors() -> None:
    one = retrieval.trial("stranger", size=5)

    def embed(items: Any) -> retrieval.Vectors:
        return np.eye(5, dtype=np.float32)

    assert retrieval.figures(one, embed, embed)["text 1"] == 1
    assert all(text.holds(scene) for text, scene in zip(one.wholes, one.scenes, strict=True))


@pytest.mark.parametrize("respect", retrieval.RESPECTS)
def test_captions_tell_neighbours_apart(respect: str) -> None:
    rng = np.random.default_rng(1)
    scenes = [sample_scene(rng) for _ in range(200)]
    pairs = [(s, o) for s in scenes if (o := retrieval.differing(s, respect, rng)) is not None]
    assert pairs
    for scene, other in pairs:
        assert not retrieval.strange_whole(scene, rng).holds(other)


def test_evaluation_resumes_and_cards_are_written(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = dict.fromkeys(("text 1", "text 5", "image 1", "image 5", "part 1", "part chance"), 0.5)
    measured = {
        "own/colour": {"right": 1, "asked": 2, "commonest": 1}, "tools": {"exact call": (1, 4)},
        "retrieval": {"own": shares}, "neighbours": {"colour": 0.7},
    }  # fmt: skip
    monkeypatch.setattr(evaluate, "plan", lambda *_: {k: lambda k=k: measured[k] for k in measured})
    figures = evaluate.evaluate(run / "model", run / "figures.json", each=2)
    monkeypatch.setattr(evaluate, "plan", lambda *_: {"own/colour": None})
    assert evaluate.evaluate(run / "model", run / "figures.json", each=2).keys() == figures.keys()
    (run / "shipped.json").write_text(json.dumps(figures))
    for name in ("card.md", "clip_card.md"):
        (run / name).write_text((words.DATA / name).read_text())
    for name in ("clip", "language"):
        (run / f"{name}.jsonl").write_text('{"step": 25, "seconds": 60.0, "loss": 1.5}\n')
    monkeypatch.setattr("recipes.tiny.card.DATA", run)
    card.write(run)
    text = (run / "model" / "README.md").read_text()
    assert "| colour | – | 50.0 | – | 50.0 | – | 50.0 |" in text
    assert "| clip | 25 | 1 | 1.500 |" in text
    assert "| exact call | 4 | 25 | 25 |" in text
