"""Every row of a batch is sampled by its own settings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llava_tools import Llava
from llava_tools.core.requests import SamplingParams
from llava_tools.engine.request_state import RequestState
from llava_tools.engine.sampler import Sampler


def _states(*samplings: SamplingParams) -> list[RequestState]:
    return [RequestState(str(i), sampling, 0.0) for i, sampling in enumerate(samplings)]


def test_every_row_follows_its_own_settings() -> None:
    scores = torch.tensor([[0.0, 3.0, 2.9, -5.0]] * 3)
    for _ in range(20):
        states = _states(
            SamplingParams(),
            SamplingParams(temperature=50.0, top_k=1),
            SamplingParams(temperature=1.0, top_p=0.9),
        )
        greedy, top_1, nucleus = Sampler(eos_token_id=2).sample(scores, states)
        assert greedy == top_1 == 1
        assert nucleus in (1, 2)


class Allowing:
    """A constraint that allows some tokens; without one it has failed."""

    def __init__(self, *tokens: int, error: str = "") -> None:
        self.error = error if tokens else "no way on"
        self.bits = bytes([sum(1 << token for token in tokens)])
        self.accepted: list[int] = []

    def allowed_bits(self) -> bytes:
        return self.bits

    def accept(self, token: int) -> None:
        self.accepted.append(token)

    def forced_tokens(self, limit: int) -> list[int]:
        return []


def test_a_constraint_that_failed_ends_the_answer_whatever_it_allows() -> None:
    [state] = _states(SamplingParams())
    state.constraint = Allowing(1, 2, error="no way on")
    assert Sampler(eos_token_id=3).sample(torch.tensor([[9.0, 3.0, 2.9, -5.0]]), [state]) == [3]
    assert state.constraint_error == "no way on"


def test_a_constraint_narrows_its_own_row_only() -> None:
    scores = torch.tensor([[9.0, 3.0, 2.9, -5.0]] * 4)
    states = _states(*[SamplingParams()] * 3, SamplingParams(temperature=3.0, seed=1))
    allowing = [Allowing(1, 2), Allowing(3), Allowing(2, 3)]
    for state, constraint in zip(states[1:], allowing, strict=True):
        state.constraint = constraint
    tokens = Sampler(eos_token_id=2).sample(scores, states)
    assert tokens[:3] == [0, 1, 3]
    assert tokens[3] in (2, 3)
    assert [constraint.accepted for constraint in allowing] == [[1], [3], [tokens[3]]]
    assert torch.equal(scores, torch.tensor([[9.0, 3.0, 2.9, -5.0]] * 4))


def test_a_constraint_that_allows_nothing_ends_its_answer_alone() -> None:
    scores = torch.tensor([[9.0, 3.0, 2.9, -5.0]] * 2)
    states = _states(SamplingParams(), SamplingParams(temperature=1.0))
    states[1].constraint = constraint = Allowing()
    assert Sampler(eos_token_id=3).sample(scores, states) == [0, 3]
    assert states[1].constraint_error == "no way on"
    assert constraint.accepted == []


def test_samples_follow_the_distribution() -> None:
    scores = torch.log(torch.tensor([[0.1, 0.2, 0.7]]))
    sampler, states = Sampler(eos_token_id=2), _states(SamplingParams(temperature=1.0, seed=1))
    drawn = torch.tensor([sampler.sample(scores, states)[0] for _ in range(2000)])
    shares = torch.bincount(drawn, minlength=3) / 2000
    assert torch.allclose(shares, torch.tensor([0.1, 0.2, 0.7]), atol=0.04)


@pytest.mark.parametrize("settings", [{}, {"top_k": 5}, {"top_p": 0.6}, {"top_k": 9, "top_p": 0.9}])
def test_draws_are_those_of_multinomial(settings: dict[str, Any]) -> None:
    """Rows with equal settings are drawn together, each with its own generator."""
    scores = torch.randn(6, 40, generator=torch.Generator().manual_seed(3))
    samplings = [SamplingParams(temperature=0.8, seed=seed, **settings) for seed in range(6)]
    samplings[2] = SamplingParams()
    drawn = Sampler(eos_token_id=2).sample(scores, _states(*samplings))
    warpers = LogitsProcessorList([TemperatureLogitsWarper(0.8)])
    if "top_k" in settings:
        warpers.append(TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        warpers.append(TopPLogitsWarper(settings["top_p"]))
    for seed in (0, 1, 3, 4, 5):
        shares = warpers(None, scores[seed : seed + 1]).softmax(-1)
        generator = torch.Generator().manual_seed(seed)
        assert drawn[seed] == torch.multinomial(shares, 1, generator=generator).item()
    assert drawn[2] == scores[2].argmax()


def test_log_probabilities_of_some_rows_come_with_all_tokens() -> None:
    scores = torch.randn(4, 300, generator=torch.Generator().manual_seed(3))
    states = _states(
        SamplingParams(),
        SamplingParams(logprobs=True, top_logprobs=3),
        SamplingParams(logprobs=True),
        SamplingParams(),
    )
    tokens = Sampler(eos_token_id=2).sample(scores, states)
    assert tokens == scores.argmax(-1).tolist()
    exact = scores.log_softmax(-1)
    assert [len(state.logprobs) for state in states] == [0, 1, 1, 0]
    for row, count in ((1, 3), (2, 0)):
        (item,) = states[row].logprobs
        values, ids = exact[row].topk(count)
        assert item.logprob == exact[row, tokens[row]].item()
        assert item.top == tuple(zip(ids.tolist(), values.tolist(), strict=True))


def test_a_seed_repeats_alone_and_in_a_batch(llava: Llava, images: list[Image.Image]) -> None:
    def ask(seed: int) -> tuple[int, ...]:
        return llava.ask(
            "What is it?", images[0], temperature=1.0, seed=seed, max_tokens=10
        ).token_ids

    alone = [ask(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(8)))
    assert together == alone
    assert len(set(alone)) > 1


def test_logprobs_are_those_of_the_unmodified_distribution(
    llava: Llava, images: list[Image.Image]
) -> None:
    plain = llava.ask("What is it?", images[0], logprobs=True, top_logprobs=3, max_tokens=6)
    hot = llava.ask(
        "What is it?", images[0], logprobs=True, temperature=90.0, top_k=1, max_tokens=6
    )
    assert len(plain.logprobs) == len(plain.token_ids) == 6
    for token in plain.logprobs:
        assert len(token.top) == 3
        assert token.top[0][0] == token.token
        assert token.top[0][1] == pytest.approx(token.logprob)
        assert token.logprob <= 0
    assert [t.logprob for t in hot.logprobs] == pytest.approx([t.logprob for t in plain.logprobs])


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(
    llava: Llava, images: list[Image.Image]
) -> None:
    whole = llava.ask("What is it?", images[1], max_tokens=40)
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 3]
    cut = llava.ask("What is it?", images[1], max_tokens=40, stop=stop)
    assert cut.text == whole.text[: whole.text.index(stop)].rstrip()
    assert cut.finish_reason == "stop"
    assert cut.usage.completion_tokens < whole.usage.completion_tokens


def test_the_chunks_of_a_stream_form_the_answer(llava: Llava, images: list[Image.Image]) -> None:
    answer = llava.ask("What is it?", images[2], max_tokens=30)
    chunks = list(llava.stream("What is it?", images[2], max_tokens=30))
    assert "".join(chunk.text for chunk in chunks) == answer.text
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == answer.finish_reason == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 30
    timings = chunks[-1].timings
    assert timings is not None
    assert 0 < timings.prepare < timings.first_token < timings.total
    prompt_seconds = [chunk.prompt_seconds for chunk in chunks]
    assert prompt_seconds[1:] == [None] * (len(chunks) - 1)
    assert prompt_seconds[0] is not None
    assert prompt_seconds[0] > timings.prepare


def _penalized(penalty: float, tokens: list[int], **settings: Any) -> RequestState:
    (state,) = _states(SamplingParams(repetition_penalty=penalty, **settings))
    state.tokens = tokens
    return state


def test_a_repetition_penalty_is_that_of_transformers_for_its_own_rows() -> None:
    scores = torch.randn(4, 60, generator=torch.Generator().manual_seed(5))
    original = scores.clone()
    tokens = [[3, 7, 7, 59], [], [1, 2], list(range(60))]
    penalties = [1.5, 3.0, 1.0, 0.4]
    states = [
        _penalized(p, ids, temperature=0.7, seed=4)
        for p, ids in zip(penalties, tokens, strict=True)
    ]
    sampler = Sampler(eos_token_id=2)
    for token in (9, 10):  # further tokens of the answers are counted, too
        drawn = sampler.sample(scores, states)
        for row, (penalty, ids) in enumerate(zip(penalties, tokens, strict=True)):
            processors = LogitsProcessorList([TemperatureLogitsWarper(0.7)])
            if ids:
                processors.insert(0, RepetitionPenaltyLogitsProcessor(penalty))
            shares = processors(torch.tensor([ids]), scores[row : row + 1].clone()).softmax(-1)
            assert states[row].generator is not None
            noise = torch.Generator().manual_seed(4)
            if token == 10:
                torch.empty(1, 60).exponential_(generator=noise)
            assert drawn[row] == torch.multinomial(shares, 1, generator=noise).item()
        assert torch.equal(scores, original)
        for ids in tokens:
            ids.append(token)


def test_image_tokens_are_not_repetitions() -> None:
    """Images have virtual ids beyond the vocabulary."""
    scores = torch.tensor([[0.5, 3.0, 2.9, -5.0]])
    state = _penalized(2.0, [4, 5, 6, 4_000_000])
    assert Sampler(eos_token_id=2).sample(scores, [state]) == [1]
    state.tokens = [4, 1]
    state.seen_count = 1
    assert Sampler(eos_token_id=2).sample(scores, [state]) == [2]


def test_a_repetition_penalty_keeps_constraints_and_log_probabilities() -> None:
    scores = torch.tensor([[9.0, 3.0, 2.9, -5.0]])
    state = _penalized(2.0, [0, 1], logprobs=True, top_logprobs=1)
    state.constraint = Allowing(1, 2)
    assert Sampler(eos_token_id=3).sample(scores, [state]) == [2]
    exact = scores.log_softmax(-1)[0]
    assert state.logprobs[0].logprob == pytest.approx(exact[2].item())
    ((token, logprob),) = state.logprobs[0].top
    assert (token, logprob) == (0, exact[0].item())


def test_rows_without_a_penalty_pay_nothing() -> None:
    scores = torch.randn(2, 8)
    states = [_penalized(1.0, [1, 2]), _penalized(1.2, [1, 2])]
    Sampler(eos_token_id=2).sample(scores, states)
    assert states[0].seen is None
    assert states[1].seen is not None
