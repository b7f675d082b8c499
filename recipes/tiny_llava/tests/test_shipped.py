"""The shipped weights answer, call and find above floors, on what no training shows."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

import llava_tools
from llava_tools import Embedder
from recipes.tiny_llava import exam, retrieval, tool_exam
from recipes.tiny_llava.evaluate import Examinee
from recipes.tiny_llava.questions import ask
from recipes.tiny_llava.sample import sample

TINY = Path(llava_tools.__file__).parent / "tiny"
ITEMS = {"own": exam.own_items, "stranger": exam.stranger_items}
#: Shares of right answers to 60 questions, below the card's by more than chance makes of 60.
FLOORS = {
    "own": dict.fromkeys(("colour", "shape", "exist", "background", "stamp"), 0.85)
    | {"count": 0.7, "relation": 0.8, "position": 0.7, "number": 0.7, "word": 0.45, "title": 0.6},
    "stranger": dict.fromkeys(("colour", "shape", "count", "exist", "background", "stamp"), 0.85)
    | {"relation": 0.85, "position": 0.85, "number": 0.75, "word": 0.45, "letters": 0.3},
}


@pytest.fixture(scope="module")
def examinee() -> Examinee:
    return Examinee(TINY)


def share(examinee: Examinee, items: list[exam.Item]) -> float:
    (found,) = exam.score(items, examinee.answers(items)).values()
    return found.right / found.total


@pytest.mark.parametrize(("trial", "kind"), [(t, kind) for t in ITEMS for kind in FLOORS[t]])
def test_questions_are_answered(examinee: Examinee, trial: str, kind: str) -> None:
    assert share(examinee, ITEMS[trial](60, 77, [kind])) >= FLOORS[trial][kind]


@pytest.mark.slow
def test_answers_need_the_image(examinee: Examinee) -> None:
    assert share(examinee, exam.blinded(exam.stranger_items(60, 78, ["colour"]))) < 0.5


@pytest.mark.slow
def test_tools_are_called_and_words_written(examinee: Examinee) -> None:
    items = [i for i in tool_exam.items() if i.kind.startswith(("1 tools", "words", "none fits"))]
    counts = tool_exam.by_part(items, examinee.calls(items))
    for part, floor in {"exact call": 0.65, "words": 0.9, "none fits": 0.8}.items():
        assert counts[part][0] >= floor * counts[part][1], part


@pytest.mark.parametrize("trial", ["own", "stranger"])
def test_texts_find_images_and_images_texts(trial: str) -> None:
    with Embedder() as embedder:
        found = retrieval.figures(
            retrieval.trial(trial, seed=77),
            lambda texts: np.array(embedder.embed_texts(texts), np.float32),
            lambda images: np.array(embedder.embed_images(images), np.float32),
        )
    floors = {"text 1": 0.85, "image 1": 0.85, "text 5": 0.95, "image 5": 0.95, "part 1": 0.8}
    assert all(found[key] >= floor for key, floor in floors.items()), found


def test_the_clip_belongs_to_the_vision_tower() -> None:
    model: Any = LlavaForConditionalGeneration.from_pretrained(TINY)
    beyond, digest = load_file(TINY / "clip" / "model.safetensors"), hashlib.sha256()
    for name, value in sorted(model.model.vision_tower.named_parameters(prefix="vision_model")):
        if name not in beyond:
            digest.update(value.detach().half().numpy().tobytes())
    assert f'_sha256": "{digest.hexdigest()}"' in (TINY / "clip" / "config.json").read_text()


def test_no_question_of_the_stranger_is_asked_in_training() -> None:
    rng = np.random.default_rng(77)
    found = (ask(sample(rng), rng) for _ in range(2000))
    trained = {question.text.lower().rstrip(".? ") for question in found if question}
    assert not trained & {i.question.lower().rstrip(".? ") for i in exam.stranger_items(5, 77)}
