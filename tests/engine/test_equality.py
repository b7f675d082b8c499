"""The engine against plain `generate`: same pixels, same ids, same tokens."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    LlavaForConditionalGeneration,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
)

from llava_tools import Llava, Message
from llava_tools.chat import prompt
from llava_tools.chat.formats import SYSTEM
from llava_tools.core.outputs import Answer, collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine import kv_cache, linear, load_engine
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.linear import Float16Linear
from llava_tools.engine.loading.processor import preprocess
from llava_tools.images import ImageRef, open_image
from llava_tools.options import EngineOptions

NEW_TOKENS = 12
QUESTIONS = [
    "What is in the picture?",
    "How many dogs are there?\nAnswer the question using a single word or phrase.",
    "Describe the image.",
    "Is it left or right of the line, above or below?",
    "yes no yes no",
]


def _conversations(images: list[Image.Image]) -> list[tuple[Message, ...]]:
    """50 conversations: none to three images, one to three turns, shared and own prefixes."""
    refs = [open_image(image) for image in images]
    conversations: list[tuple[Message, ...]] = []
    for number in range(50):
        count = number % 4
        chosen = tuple(refs[(number // 4 + i) % len(refs)] for i in range(count))
        turns = [Message("user", (*chosen, QUESTIONS[number % 5]))]
        for turn in range(number % 3):
            turns.append(Message("assistant", (f"Answer {turn} of {number}.",)))
            extra = (refs[(number + turn) % len(refs)],) if turn == 1 and count < 3 else ()
            turns.append(Message("user", (*extra, QUESTIONS[(number + turn + 1) % 5])))
        if number % 7 == 0:
            turns.insert(0, Message("system", ("You answer briefly.",)))
        conversations.append(tuple(turns))
    return conversations


@dataclass
class Reference:
    """Plain `generate` on a model of its own."""

    model: LlavaForConditionalGeneration
    engine: LlavaEngine
    repetition_penalty: float = 1.0

    def answer(self, messages: tuple[Message, ...]) -> list[int]:
        pieces = prompt.build(messages)
        loaded = self.engine.loaded
        placeholder = [self.model.config.image_token_index] * loaded.image_tokens
        ids = loaded.tokenizer.tokenize(pieces, lambda ref: placeholder)
        images = [piece for piece in pieces if isinstance(piece, ImageRef)]
        vision_inputs = {"pixel_values": preprocess(loaded.processor, images)} if images else {}
        tokens = torch.tensor([ids])
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                logits_processor=LogitsProcessorList([self._penalty(tokens)]),
                eos_token_id=loaded.tokenizer.end_of_turn,
                pad_token_id=0,
                **vision_inputs,
            )
        return cast(list[int], out[0, len(ids) :].tolist())

    def _penalty(self, prompt_ids: torch.Tensor) -> Callable[..., torch.Tensor]:
        """Return the penalty that `generate` uses, without the prompt's placeholders for images."""
        penalty = RepetitionPenaltyLogitsProcessor(self.repetition_penalty)
        counted = prompt_ids[prompt_ids != self.model.config.image_token_index]

        def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            answer = ids[0, prompt_ids.shape[1] :]
            return cast(torch.Tensor, penalty(torch.cat([counted, answer])[None], scores))

        return process


@pytest.fixture(scope="module")
def conversations(images: list[Image.Image]) -> list[tuple[Message, ...]]:
    return _conversations(images)


@pytest.fixture(scope="module")
def expected(
    checkpoint: Path, llava: Llava, conversations: list[tuple[Message, ...]]
) -> list[list[int]]:
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    engine = llava.backend
    assert isinstance(engine, LlavaEngine)
    reference = Reference(model, engine)
    return [reference.answer(conversation) for conversation in conversations]


def _ask(model: Llava, messages: tuple[Message, ...]) -> Answer:
    stream = model.backend.stream(Request(messages, SamplingParams(max_tokens=NEW_TOKENS)))
    return collect(stream, "x")


@pytest.mark.parametrize(
    "prefix_caching", [True, False], ids=["prefix_caching", "no_prefix_caching"]
)
def test_greedy_equals_generate_alone_and_together(
    fresh: Callable[..., Llava],
    conversations: list[tuple[Message, ...]],
    expected: list[list[int]],
    prefix_caching: bool,
) -> None:
    assert len({tuple(tokens) for tokens in expected}) > 25, "the reference hardly varies"
    model = fresh(prefix_caching=prefix_caching)
    alone = [_ask(model, conversation) for conversation in conversations]
    with ThreadPoolExecutor(len(conversations)) as pool:
        together = list(pool.map(lambda c: _ask(model, c), conversations))
    assert [list(answer.token_ids) for answer in alone] == expected
    assert [list(answer.token_ids) for answer in together] == expected
    cached = sum(answer.usage.cached_tokens for answer in [*alone, *together])
    assert (cached > 0) is prefix_caching


@pytest.mark.parametrize("penalty", [1.3, 0.7])
def test_a_repetition_penalty_equals_that_of_generate(
    checkpoint: Path,
    llava: Llava,
    conversations: list[tuple[Message, ...]],
    expected: list[list[int]],
    penalty: float,
) -> None:
    """Alone, together, and beside requests without one; with images, whose tokens do not count."""
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    assert isinstance(llava.backend, LlavaEngine)
    reference = Reference(model, llava.backend, penalty)
    some = conversations[:16]
    penalized = [reference.answer(conversation) for conversation in some]
    assert sum(one != other for one, other in zip(penalized, expected, strict=False)) > 8

    def ask(conversation: tuple[Message, ...], penalty: float) -> list[int]:
        sampling = SamplingParams(max_tokens=NEW_TOKENS, repetition_penalty=penalty)
        stream = llava.backend.stream(Request(conversation, sampling))
        return list(collect(stream, "x").token_ids)

    assert ask(some[0], penalty) == penalized[0]
    with ThreadPoolExecutor(32) as pool:
        beside = pool.map(ask, some, [1.0] * len(some))
        together = pool.map(ask, some, [penalty] * len(some))
        assert list(together) == penalized
        assert list(beside) == expected[:16]


def test_prompts_of_several_steps_have_the_same_answers(
    fresh: Callable[..., Llava],
    conversations: list[tuple[Message, ...]],
    expected: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kv_cache, "CPU_BUDGET", replace(kv_cache.CPU_BUDGET, step_tokens=48))
    model = fresh()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda c: _ask(model, c), conversations[:16]))
    assert [list(answer.token_ids) for answer in together] == expected[:16]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_weights_have_the_answers_of_float32(
    checkpoint: Path, tmp_path: Path, conversations: list[tuple[Message, ...]], dtype: str
) -> None:
    """With packed weights: a checkpoint stored in 16 bit is computed in float32."""
    folder = shutil.copytree(checkpoint, tmp_path / dtype)
    for weights in folder.glob("*.safetensors"):
        stored = {k: v.to(getattr(torch, dtype)) for k, v in load_file(weights).items()}
        save_file(stored, weights, metadata={"format": "pt"})
    with closing(load_engine(EngineOptions(str(folder), dtype="float32"))) as engine:
        packed = {type(m) for m in engine.loaded.model.modules() if "Linear" in type(m).__name__}
        assert packed == {Float16Linear if linear.is_usable(Float16Linear) else torch.nn.Linear}
        model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        reference = Reference(model, engine)
        for conversation in conversations[3:50:5]:
            answer = _ask(Llava(backend=engine), conversation)
            assert list(answer.token_ids) == reference.answer(conversation)


def test_a_follow_up_reuses_the_image_and_the_earlier_turns(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    model = fresh()
    first = model.ask("What is in the picture?", images[0], max_tokens=4)
    history = [
        Message("user", (open_image(images[0]), "What is in the picture?")),
        Message("assistant", (first.text,)),
    ]
    second = model.ask("And where is it?", history=history, max_tokens=4)
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens >= 32 * (first.usage.prompt_tokens // 32)


def test_an_answer_of_one_token_shares_its_prompt(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    model = fresh()
    first = model.ask("What is in the picture?", images[0], max_tokens=1)
    second = model.ask("What is in the picture?", images[0], max_tokens=5)
    assert second.usage.cached_tokens >= 32 * ((first.usage.prompt_tokens - 1) // 32) > 0


def test_questions_that_arrive_together_prefill_their_images_once(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    model = fresh()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda q: model.ask(q, images[:3]), QUESTIONS * 2))
    assert sum(answer.usage.cached_tokens == 0 for answer in answers) == 1


def test_different_images_share_no_kv(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    """The same question about another image shares only the text before the image."""
    model = fresh()
    answers = [model.ask("What is it?", image, max_tokens=8) for image in images]
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    prefix = len(engine.loaded.tokenizer.encode(SYSTEM + " USER: "))
    assert all(answer.usage.cached_tokens <= prefix + 1 for answer in answers)
    assert len({answer.token_ids for answer in answers}) > 1


def test_counted_tokens_are_those_of_the_prompt(llava: Llava, images: list[Image.Image]) -> None:
    question, pair = "Which is larger?", images[:2]
    usage = llava.ask(question, pair, max_tokens=1).usage
    request = Request((Message("user", (*map(open_image, pair), question)),))
    assert llava.backend.count_tokens(request) == usage.prompt_tokens
    assert usage.image_tokens == 2 * 16
