from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from llava_tools import Llava
from llava_tools.core.requests import SamplingParams
from llava_tools.engine.continuous_batching.sampler import Sampler
from llava_tools.engine.request_state import RequestState


def _pick(scores: torch.Tensor, *samplings: SamplingParams) -> list[int]:
    sampler = Sampler(end_of_turn=2)
    sampler._rows = [RequestState(str(i), sampling, 0.0) for i, sampling in enumerate(samplings)]
    out: list[int] = sampler(scores, torch.zeros(len(samplings))).argmax(-1).tolist()
    return out


def test_every_row_follows_its_own_rules() -> None:
    scores = torch.tensor([[0.0, 3.0, 2.9, -5.0]] * 3)
    for _ in range(20):
        greedy, narrow, nucleus = _pick(
            scores,
            SamplingParams(),
            SamplingParams(temperature=50.0, top_k=1),
            SamplingParams(temperature=1.0, top_p=0.9),
        )
        assert greedy == narrow == 1
        assert nucleus in (1, 2)


def test_samples_follow_the_distribution() -> None:
    scores = torch.log(torch.tensor([[0.1, 0.2, 0.7]]))
    ticket = RequestState("one", SamplingParams(temperature=1.0, seed=1), 0.0)
    sampler = Sampler(end_of_turn=2)
    sampler._rows = [ticket]
    drawn = torch.tensor([int(sampler(scores, torch.zeros(1)).argmax()) for _ in range(2000)])
    shares = torch.bincount(drawn, minlength=3) / 2000
    assert torch.allclose(shares, torch.tensor([0.1, 0.2, 0.7]), atol=0.04)


def test_a_seed_repeats_alone_and_in_company(llava: Llava, images: list[Image.Image]) -> None:
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


def test_the_stream_spells_the_answer(llava: Llava, images: list[Image.Image]) -> None:
    answer = llava.ask("What is it?", images[2], max_tokens=30)
    deltas = list(llava.stream("What is it?", images[2], max_tokens=30))
    assert "".join(delta.text for delta in deltas) == answer.text
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == answer.finish_reason == "length"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens == 30
    timings = deltas[-1].timings
    assert timings is not None
    assert 0 < timings.prepare < timings.first_token < timings.total
