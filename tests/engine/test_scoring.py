"""Log-probabilities of labels against one plain forward pass on the same ids."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

from llava_tools import Llava, Message
from llava_tools.chat import prompt
from llava_tools.core.requests import Request
from llava_tools.engine import scoring, vision_tower
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.loading.processor import preprocess
from llava_tools.engine.request_state import RequestState
from llava_tools.errors import (
    ContextOverflowError,
    EngineClosedError,
    QueueFullError,
    RequestError,
)
from llava_tools.images import ImageRef, open_image

#: One token, several tokens, several words, letters that are bytes to the tokenizer, and `</s>`.
LABELS = ["yes", "no", "A red circle", "zebra crossing, 3 x 4", "北京", "</s>", "q"]


class Reference:
    """Plain teacher-forced forward passes on a model of its own."""

    def __init__(self, checkpoint: Path, engine: LlavaEngine) -> None:
        self._model = LlavaForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32
        ).eval()
        self._loaded = engine.loaded

    def score(self, request: Request, label: str) -> float:
        pieces = prompt.build(request.messages)
        tokenizer = self._loaded.tokenizer
        placeholder = [self._model.config.image_token_index] * self._loaded.image_tokens
        prompt_ids = tokenizer.tokenize(pieces, lambda ref: placeholder)
        ids = [*prompt_ids, *tokenizer.encode(f" {label}", start=False), tokenizer.end_of_turn]
        images = [piece for piece in pieces if isinstance(piece, ImageRef)]
        vision_inputs = (
            {"pixel_values": preprocess(self._loaded.processor, images)} if images else {}
        )
        with torch.inference_mode():
            logits = self._model(input_ids=torch.tensor([ids]), **vision_inputs).logits[0]
        logprobs = logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        return float(logprobs[len(prompt_ids) - 1 :].sum())


def _requests(images: list[Image.Image]) -> list[Request]:
    refs = [open_image(image) for image in images]
    question = "What is in the picture?"
    return [
        Request((Message("user", (refs[0], question)),)),
        Request((Message("user", (refs[1], refs[2], "Describe the image.")),)),
        Request((Message("user", ("How many dogs are there?",)),)),
        Request(
            (
                Message("system", ("Be brief.",)),
                Message("user", (refs[3], question)),
                Message("assistant", ("A blue square.",)),
                Message("user", ("Left or right?",)),
            )
        ),
    ]


@pytest.fixture(scope="module")
def reference(checkpoint: Path, llava: Llava) -> Reference:
    assert isinstance(llava.backend, LlavaEngine)
    return Reference(checkpoint, llava.backend)


@pytest.mark.parametrize("prefix_caching", [True, False])
def test_scores_equal_a_plain_forward_pass(
    fresh: Callable[..., Llava],
    reference: Reference,
    images: list[Image.Image],
    prefix_caching: bool,
) -> None:
    engine = fresh(prefix_caching=prefix_caching).backend
    for request in _requests(images):
        expected = [reference.score(request, label) for label in LABELS]
        assert engine.score(request, LABELS) == pytest.approx(expected, abs=2e-3, rel=1e-4)
        assert engine.score(request, LABELS[2:3]) == pytest.approx(expected[2:3], abs=2e-3)


def test_scores_are_the_same_in_a_busy_batch_and_for_many_labels(
    fresh: Callable[..., Llava], reference: Reference, images: list[Image.Image]
) -> None:
    model = fresh()
    requests = _requests(images)
    labels = [f"{word} {number}" for word in ("dogs", "left") for number in range(11)]
    assert len(labels) > scoring.MAX_LABELS_AT_ONCE
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(model.ask, "What is it?", images[n % 6]) for n in range(4)]
        scores = list(pool.map(lambda request: model.backend.score(request, labels), requests))
        [answer.result() for answer in answers]
    for request, actual in zip(requests, scores, strict=True):
        expected = [reference.score(request, label) for label in labels[::7]]
        assert actual[::7] == pytest.approx(expected, abs=2e-3, rel=1e-4)


def test_a_label_has_the_tokens_of_an_answer(llava: Llava) -> None:
    assert isinstance(llava.backend, LlavaEngine)
    tokenizer = llava.backend.loaded.tokenizer
    ids = scoring.label_ids("A red circle", tokenizer)
    assert ids[-1] == tokenizer.end_of_turn
    assert tokenizer.decode([*tokenizer.encode("x"), *ids]) == "x A red circle"


def test_the_prompt_is_computed_once(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = fresh().backend
    assert isinstance(engine, LlavaEngine)
    features, wait = vision_tower.features, scoring.wait
    encoded: list[int] = []
    states: list[RequestState] = []

    def count_images(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
        encoded.append(len(pixels))
        return features(model, pixels)

    def keep_state(state: RequestState) -> float:
        states.append(state)
        return wait(state)

    monkeypatch.setattr(vision_tower, "features", count_images)
    monkeypatch.setattr(scoring, "wait", keep_state)
    request = _requests(images)[1]
    engine.score(request, ["yes", "no", "left", "right"])
    assert sum(encoded) == 2
    first, *others = (state.cached_tokens for state in states)
    whole_blocks = engine.count_tokens(request) // 32 * 32
    assert first == 0
    assert others == [whole_blocks] * 3


def test_scoring_releases_everything_it_held(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    engine = fresh(max_concurrent_requests=1).backend
    assert isinstance(engine, LlavaEngine)
    request = _requests(images)[0]
    for _ in range(3):
        engine.score(request, LABELS)
    assert engine.idle
    stream = engine.stream(request)
    with pytest.raises(QueueFullError):
        engine.score(request, LABELS)
    stream.close()
    engine.score(request, LABELS)
    engine.close()
    with pytest.raises(EngineClosedError):
        engine.score(request, LABELS)


@pytest.mark.parametrize("labels", [[], "yes", [""], [" yes"], ["yes", 3], ["yes", "yes"]])
def test_invalid_labels_are_refused(llava: Llava, labels: list[str]) -> None:
    request = Request((Message("user", ("yes or no?",)),))
    with pytest.raises(RequestError, match="label"):
        llava.backend.score(request, labels)


def test_a_label_that_exceeds_the_context_is_refused(llava: Llava) -> None:
    request = Request((Message("user", ("yes or no?",)),))
    with pytest.raises(ContextOverflowError):
        llava.backend.score(request, ["yes", "no " * 600 + "no"])
