"""Scores with parts of images left out, against one plain forward pass on the same features."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

import llava_tools
from llava_tools import Llava, Message, open_image
from llava_tools.chat import prompt
from llava_tools.core.backend import evidence_backend, measures_evidence
from llava_tools.core.requests import Request
from llava_tools.core.retry import with_retries
from llava_tools.engine import kv_cache, scoring, vision_tower
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.kv_cache import MemoryBudget
from llava_tools.engine.loading.processor import preprocess
from llava_tools.engine.request_state import RequestState
from llava_tools.errors import (
    EngineClosedError,
    EngineError,
    MemoryExhaustedError,
    QueueFullError,
    RequestError,
)
from llava_tools.images import ImageRef

TINY = Path(llava_tools.__file__).parent / "tiny"
LABEL = "A red circle"


class Reference:
    """Plain teacher-forced forward passes, with features replaced, on a model of its own."""

    def __init__(self, folder: Path, engine: LlavaEngine) -> None:
        self._model = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
        self._loaded = engine.loaded

    @torch.inference_mode()
    def score(self, request: Request, label: str, left_out: Sequence[int]) -> float:
        tokenizer = self._loaded.tokenizer
        placeholder = self._model.config.image_token_index
        pieces = prompt.build(request.messages)
        prompt_ids = tokenizer.tokenize(
            pieces, lambda ref: [placeholder] * self._loaded.image_tokens
        )
        ids = torch.tensor(
            [*prompt_ids, *tokenizer.encode(f" {label}", start=False), tokenizer.end_of_turn]
        )
        features = self._features([piece for piece in pieces if isinstance(piece, ImageRef)])
        neutral = features.mean(1, keepdim=True).expand_as(features).flatten(0, 1)
        features = features.flatten(0, 1)
        features[list(left_out)] = neutral[list(left_out)]
        embeddings = self._model.get_input_embeddings()(ids)
        embeddings[ids == placeholder] = features
        logits = self._model(inputs_embeds=embeddings[None]).logits[0]
        logprobs = logits.log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]]
        return float(logprobs[len(prompt_ids) - 1 :].sum())

    def _features(self, images: list[ImageRef]) -> torch.Tensor:
        pixels = preprocess(self._loaded.processor, images)
        return vision_tower.features(self._model, pixels)


@pytest.fixture(scope="module")
def tiny() -> Iterator[Llava]:
    with Llava(str(TINY), dtype="float32", device="cpu") as model:
        yield model


def _request(*images: Image.Image) -> Request:
    return Request((Message("user", (*map(open_image, images), "What is in the picture?")),))


def _engine(model: Llava) -> LlavaEngine:
    assert isinstance(model.backend, LlavaEngine)
    return model.backend


def _left_out(tokens: int) -> list[tuple[int, ...]]:
    """Nothing, the first, the last, a window, the same once more, every other one, and all."""
    window = (5, 6, 9, 10)
    return [(), (0,), (tokens - 1,), window, window, tuple(range(0, tokens, 2)), (*range(tokens),)]


@pytest.mark.parametrize("prefix_caching", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_scores_equal_a_plain_forward_pass(
    checkpoint: Path,
    fresh: Callable[..., Llava],
    images: list[Image.Image],
    count: int,
    prefix_caching: bool,
) -> None:
    engine = _engine(fresh(prefix_caching=prefix_caching))
    reference = Reference(checkpoint, engine)
    request = _request(*images[:count])
    left_out = _left_out(count * engine.image_grid.tokens)
    expected = [reference.score(request, LABEL, positions) for positions in left_out]
    actual = engine.score_without(request, LABEL, left_out)
    assert actual == pytest.approx(expected, abs=2e-3, rel=1e-4)
    assert (
        len({round(score, 3) for score in actual}) == len(left_out) - 1
    )  # what is left out counts


def test_the_embedded_models_scores_equal_a_plain_forward_pass(
    tiny: Llava, images: list[Image.Image]
) -> None:
    engine = _engine(tiny)
    reference = Reference(TINY, engine)
    request = _request(images[1])
    left_out = _left_out(64)
    expected = [reference.score(request, "red", positions) for positions in left_out]
    actual = engine.score_without(request, "red", left_out)
    assert actual == pytest.approx(expected, abs=2e-3, rel=1e-4)


def test_nothing_left_out_is_the_plain_score(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    engine, request = fresh().backend, _request(images[0])
    assert isinstance(engine, LlavaEngine)
    plain = engine.score(request, [LABEL])
    assert engine.score_without(request, LABEL, [()]) == pytest.approx(plain, abs=1e-5)
    assert engine.score_without(request, LABEL, []) == []


def test_later_requests_do_not_see_the_changed_features(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    model = fresh()
    engine = _engine(model)

    def ask() -> tuple[str, list[float]]:
        answer = model.ask("What is it?", images[0], max_tokens=8, logprobs=True)
        return answer.text, [token.logprob for token in answer.logprobs]

    text, logprobs = ask()
    scores = engine.score(_request(images[0]), [LABEL])
    for _ in range(2):
        model.evidence("What is it?", images[0], LABEL)
        engine.score_without(_request(images[0]), LABEL, [(0,), (*range(16),)])
    again = ask()
    assert again[0] == text
    assert again[1] == pytest.approx(logprobs, abs=1e-4)
    assert engine.score(_request(images[0]), [LABEL]) == pytest.approx(scores, abs=1e-4)


def test_changed_kv_is_shared_up_to_the_change_and_not_kept(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(fresh())
    states: list[RequestState] = []
    wait = scoring.wait

    def keep_state(state: RequestState) -> float:
        states.append(state)
        return wait(state)

    monkeypatch.setattr(scoring, "wait", keep_state)
    request = _request(images[0])
    begin = engine.count_tokens(request)
    engine.score_without(request, LABEL, [()])
    kept = engine.loop._blocks.available, len(engine.loop._blocks._registered)
    engine.score_without(request, LABEL, [(3,), (15,), (3, 15)])
    assert (engine.loop._blocks.available, len(engine.loop._blocks._registered)) == kept
    first, *others = states
    assert first.cached_tokens == 0
    for state, token in zip(others, (3, 15, 3), strict=True):
        changed = first.images[0].begin + token
        assert state.prompt_ids[:changed] == first.prompt_ids[:changed]
        assert state.prompt_ids[changed] != first.prompt_ids[changed]
        assert state.cached_tokens == changed // BLOCK_SIZE * BLOCK_SIZE <= begin


def test_the_image_is_encoded_once(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = vision_tower.features
    encoded: list[int] = []

    def count_images(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
        encoded.append(len(pixels))
        return features(model, pixels)

    monkeypatch.setattr(vision_tower, "features", count_images)
    model = fresh()
    model.evidence("What is it?", images[0], LABEL)
    model.evidence("Where is it?", images[0], LABEL)
    assert sum(encoded) == 1


def test_a_map_counts_as_one_request_and_releases_it(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    model = fresh(max_concurrent_requests=1)
    engine = _engine(model)
    model.evidence("What is it?", images[0], LABEL)
    assert engine.idle
    stream = engine.stream(_request(images[0]))
    with pytest.raises(QueueFullError):
        model.evidence("What is it?", images[0], LABEL)
    stream.close()
    model.evidence("What is it?", images[0], LABEL)
    engine.close()
    with pytest.raises(EngineClosedError):
        model.evidence("What is it?", images[0], LABEL)


@pytest.mark.parametrize("positions", [(16,), (-1,), (0, 32)])
def test_positions_beyond_the_images_are_refused(
    llava: Llava, images: list[Image.Image], positions: tuple[int, ...]
) -> None:
    with pytest.raises(RequestError, match="no position of an image token"):
        _engine(llava).score_without(_request(images[0]), LABEL, [(), positions])
    assert _engine(llava).idle


def _after(
    monkeypatch: pytest.MonkeyPatch, scores: int, action: Callable[[], object]
) -> list[float]:
    """Call a function once some scores are there; return the scores that are waited for."""
    waited: list[float] = []
    wait = scoring.wait

    def count(state: RequestState) -> float:
        waited.append(wait(state))
        if len(waited) == scores:
            action()
        return waited[-1]

    monkeypatch.setattr(scoring, "wait", count)
    return waited


def test_cancelling_stops_in_the_middle(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, cancelled = _engine(fresh()), threading.Event()
    waited = _after(monkeypatch, 3, cancelled.set)
    with pytest.raises(EngineError, match="cancelled"):
        engine.score_without(_request(images[0]), LABEL, [(i,) for i in range(16)], cancelled)
    assert len(waited) == 3
    assert engine.idle
    assert len(engine.score_without(_request(images[0]), LABEL, [(), (1,)])) == 2


def test_closing_the_engine_ends_a_map(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(fresh())
    _after(monkeypatch, 2, engine.close)
    with pytest.raises(EngineClosedError):  # by the next ones, if these have ended
        engine.score_without(_request(images[0]), LABEL, [(i % 16,) for i in range(40)])


async def test_cancelling_the_task_stops_the_map(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(model := fresh())
    loop, began, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def pause() -> None:
        loop.call_soon_threadsafe(began.set)
        release.wait()

    waited = _after(monkeypatch, 2, pause)
    task = asyncio.create_task(model.aevidence("What is it?", images[0], LABEL))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    await asyncio.to_thread(_until, lambda: engine.idle)
    assert len(waited) == 2


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        threading.Event().wait(0.001)


def test_maps_and_questions_at_once_equal_those_alone(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    model = fresh()
    maps = [model.evidence("What is it?", image, LABEL) for image in images[:3]]
    answers = [model.ask("What is it?", image, max_tokens=8).text for image in images]
    busy = fresh()
    with ThreadPoolExecutor(9) as pool:
        evidence = pool.map(lambda image: busy.evidence("What is it?", image, LABEL), images[:3])
        texts = pool.map(lambda image: busy.ask("What is it?", image, max_tokens=8).text, images)
        for alone, together in zip(maps, evidence, strict=True):
            assert together.logprob == pytest.approx(alone.logprob, abs=2e-3)
            for row, expected in zip(together.values, alone.values, strict=True):
                assert row == pytest.approx(expected, abs=4e-3)
        assert list(texts) == answers


def test_maps_are_right_when_the_kv_runs_out(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fresh().evidence("What is it?", images[0], LABEL)
    monkeypatch.setattr(
        kv_cache, "CPU_BUDGET", MemoryBudget(step_tokens=96, kv_tokens=0, kv_share=1e-9)
    )
    small = fresh(context_length=128)
    assert _engine(small).loop._blocks.count == 5
    with ThreadPoolExecutor(3) as pool:
        maps = list(pool.map(lambda _: small.evidence("What is it?", images[0], LABEL), range(3)))
    for actual in maps:
        for row, other in zip(actual.values, expected.values, strict=True):
            assert row == pytest.approx(other, abs=4e-3)


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000), (64, 64)])
def test_the_peak_lies_in_the_image(llava: Llava, size: tuple[int, int]) -> None:
    evidence = llava.evidence("What is it?", Image.new("RGB", size, "red"), LABEL)
    x, y = evidence.peak
    assert 0 <= x <= size[0]
    assert 0 <= y <= size[1]


def test_too_little_memory_for_the_changed_features_fails_the_map_alone(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    expected = model.evidence("What is it?", images[0], LABEL)

    def fail(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "index_copy", fail)
        with pytest.raises(MemoryExhaustedError, match="parts left out"):
            model.evidence("What is it?", images[0], LABEL)
    assert _engine(model).idle
    again = model.evidence("What is it?", images[0], LABEL)
    assert again.values[0] == pytest.approx(expected.values[0], abs=1e-3)


def test_a_model_that_is_unloaded_when_idle_measures_evidence(
    checkpoint: Path, images: list[Image.Image]
) -> None:
    with Llava(str(checkpoint), dtype="float32", keep_alive=60) as model:
        assert measures_evidence(with_retries(model.backend, 5.0, 1))
        assert evidence_backend(with_retries(model.backend, 5.0, 1)).image_grid.side == 4
        evidence = model.evidence("What is it?", images[0], LABEL)
        assert len(evidence.values) == 4
