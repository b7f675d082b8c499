"""Log-probabilities of labels against one plain forward pass on the same ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

from llava_tools import Llava, Message
from llava_tools.chat import prompt
from llava_tools.core.requests import Request
from llava_tools.engine import scoring
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.request_state import RequestState
from llava_tools.errors import (
    ContextOverflowError,
    EngineClosedError,
    QueueFullError,
    RequestError,
)
from llava_tools.images import ImageRef, open_image

#: One token, several tokens, several words, letters that are bytes to the tokenizer, and a mark.
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
        text = self._loaded.text
        placeholder = [self._model.config.image_token_index] * self._loaded.image_tokens
        asked = text.tokenize(pieces, lambda ref: placeholder)
        ids = [*asked, *text.encode(f" {label}", start=False), text.end_of_turn]
        images = [piece for piece in pieces if isinstance(piece, ImageRef)]
        seen = {"pixel_values": self._loaded.pixels(images)} if images else {}
        with torch.inference_mode():
            logits = self._model(input_ids=torch.tensor([ids]), **seen).logits[0]
        each = logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        return float(each[len(asked) - 1 :].sum())


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
def test_equal_to_a_plain_forward(
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


def test_equal_while_others_run_and_with_more_labels_than_go_at_once(
    fresh: Callable[..., Llava], reference: Reference, images: list[Image.Image]
) -> None:
    model = fresh()
    requests = _requests(images)
    labels = [f"{word} {number}" for word in ("dogs", "left") for number in range(11)]
    assert len(labels) > scoring.AT_ONCE
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(model.ask, "What is it?", images[n % 6]) for n in range(4)]
        scores = list(pool.map(lambda request: model.backend.score(request, labels), requests))
        [answer.result() for answer in answers]
    for request, got in zip(requests, scores, strict=True):
        expected = [reference.score(request, label) for label in labels[::7]]
        assert got[::7] == pytest.approx(expected, abs=2e-3, rel=1e-4)


def test_a_label_is_spelled_as_an_answer_is(llava: Llava) -> None:
    assert isinstance(llava.backend, LlavaEngine)
    text = llava.backend.loaded.text
    spelled = scoring.spell("A red circle", text)
    assert spelled[-1] == text.end_of_turn
    assert text.decode([*text.encode("x"), *spelled]) == "x A red circle"


def test_the_prompt_is_computed_once(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = fresh().backend
    assert isinstance(engine, LlavaEngine)
    encode, read = engine._images._encode, scoring.read
    encoded: list[str] = []
    tickets: list[RequestState] = []

    def encode_and_note(ref: ImageRef) -> torch.Tensor:
        encoded.append(ref.handle)
        return encode(ref)

    def read_and_note(given: Sequence[RequestState]) -> list[float]:
        tickets.extend(given)
        return read(given)

    monkeypatch.setattr(engine._images, "_encode", encode_and_note)
    monkeypatch.setattr(scoring, "read", read_and_note)
    request = _requests(images)[1]
    engine.score(request, ["yes", "no", "left", "right"])
    assert len(encoded) == 2
    first, *others = (ticket.cached_tokens for ticket in tickets)
    whole_blocks = engine.count_tokens(request) // 32 * 32
    assert first == 0
    assert others == [whole_blocks] * 3


def test_nothing_is_held_afterwards(fresh: Callable[..., Llava], images: list[Image.Image]) -> None:
    engine = fresh(max_concurrent_requests=1).backend
    assert isinstance(engine, LlavaEngine)
    request = _requests(images)[0]
    for _ in range(3):
        engine.score(request, LABELS)
    assert not engine._held
    assert engine._runtime.in_flight == 0
    held = engine.stream(request)
    with pytest.raises(QueueFullError):
        engine.score(request, LABELS)
    held.close()
    engine.score(request, LABELS)
    engine.close()
    with pytest.raises(EngineClosedError):
        engine.score(request, LABELS)


@pytest.mark.parametrize("labels", [[], "yes", [""], [" yes"], ["yes", 3], ["yes", "yes"]])
def test_impossible_labels(llava: Llava, labels: list[str]) -> None:
    request = Request((Message("user", ("yes or no?",)),))
    with pytest.raises(RequestError, match="label"):
        llava.backend.score(request, labels)


def test_a_label_that_does_not_fit(llava: Llava) -> None:
    request = Request((Message("user", ("yes or no?",)),))
    with pytest.raises(ContextOverflowError):
        llava.backend.score(request, ["yes", "no " * 600 + "no"])
