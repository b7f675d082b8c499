"""The start for copying: heads look back, and heads find what came next before."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlavaForConditionalGeneration

from recipes.tiny_llava.architecture import new_model, tiny_config
from recipes.tiny_llava.conversations import Writer, lectures
from recipes.tiny_llava.copying import (
    AHEAD_HEAD,
    BACK_HEADS,
    BACK_LAYER,
    MATCH_LAYER,
    _sources,
    ahead_loss,
    ground_copying,
)
from recipes.tiny_llava.hearing import hear
from recipes.tiny_llava.loss import Weights, step_loss
from recipes.tiny_llava.packing import Branch, pack

NOTHING_SEEN = torch.zeros(0, 64, 256)


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    torch.set_num_threads(1)
    return new_model(tiny_config(500, width=256, depth=3), seed=0)


@torch.no_grad()
@pytest.mark.slow
def test_heads_look_back(model: LlavaForConditionalGeneration, tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    rows = [lectures(Writer(tokenizer), rng, 300) for _ in range(8)]
    ground_copying(model, pack(rows[:7]), NOTHING_SEEN)
    ids = torch.tensor([rows[7][0].ids])
    model.set_attn_implementation("eager")
    seen = model.model.language_model(ids, output_attentions=True).attentions[BACK_LAYER][0]
    for distance, head in enumerate(BACK_HEADS, 1):
        assert float(seen[head].diagonal(-distance).mean()) > 0.7


def test_guidance_has_gradients(model: LlavaForConditionalGeneration, tokenizer: Tokenizer) -> None:
    model.set_attn_implementation("sdpa")
    told = pack([lectures(Writer(tokenizer), np.random.default_rng(1), 200)])
    plain = step_loss(model, told, NOTHING_SEEN)
    guided = step_loss(model, told, NOTHING_SEEN, Weights(guide=1.0))
    assert guided.item() > plain.item()
    guided.backward()
    for layer in (BACK_LAYER, MATCH_LAYER):
        query = model.model.language_model.layers[layer].self_attn.q_proj.weight
        assert query.grad is not None
        assert float(query.grad.abs().max()) > 0


def test_sources_are_the_longest_like_runs() -> None:
    ids = torch.tensor([[7, 10, 11, 12, 9, 11, 13, 8, 10, 11, 12]])
    causal = torch.ones(11, 11, dtype=torch.bool).tril()
    places = _sources(ids[0], causal, torch.tensor([9, 8]))
    assert places[0].nonzero().flatten().tolist() == [3]
    assert places[1].nonzero().flatten().tolist() == [2]


def test_only_what_is_allowed_is_a_source() -> None:
    ids = [1, 5, 6, 7, 20, 21, 22, 2]
    branch = Branch(ids, [False] * 6 + [True] * 2, ("",))
    other = Branch([1, 5, 6, 7, 30, 21, 22, 2], [False] * 6 + [True] * 2, ("",))
    told = pack([[branch, other]])
    learned = (told.labels[0] >= 0).nonzero().flatten() - 1
    places = _sources(told.ids[0], told.allowed[0, 0], learned)
    assert not places.any()


@torch.no_grad()
def test_what_is_copied_is_looked_at_two_tokens_ahead(model: LlavaForConditionalGeneration) -> None:
    ids = [1, 10, 11, 12, 13, 14, 30, 10, 11, 12, 2]
    told = pack([[Branch(ids, [False] * 7 + [True] * 4, ("",))]])
    model.set_attn_implementation("sdpa")
    states = hear(model, told, NOTHING_SEEN, states=True).hidden_states
    model.set_attn_implementation("eager")
    seen = model.model.language_model(torch.tensor([ids]), output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    looks = seen[-1][0, AHEAD_HEAD]
    # 11 and 12 were copied, and after where they stood come 12, 13 and 13, 14.
    expected = -(looks[8, 4].log() + looks[9, 5].log()) / 2
    assert ahead_loss(model, told, states).item() == pytest.approx(expected.item(), rel=1e-3)


@torch.no_grad()
def test_where_nothing_is_copied_nothing_is_asked(model: LlavaForConditionalGeneration) -> None:
    told = pack([[Branch([1, 10, 11, 12, 13, 2], [False] * 3 + [True] * 3, ("",))]])
    states = hear(model, told, NOTHING_SEEN, states=True).hidden_states
    assert ahead_loss(model, told, states).item() == 0


def test_doubtful_tokens_of_calls_count_more(
    model: LlavaForConditionalGeneration, tokenizer: Tokenizer
) -> None:
    told = pack([lectures(Writer(tokenizer), np.random.default_rng(1), 200)])
    plain = step_loss(model, told, NOTHING_SEEN).item()
    # Weights that grow with what they weigh make a mean larger.
    assert step_loss(model, told, NOTHING_SEEN, Weights(doubtful=True)).item() > plain + 1e-3
    of_pictures = Weights(asked=1, emphasis=3.0, doubtful=True)
    assert step_loss(model, told, NOTHING_SEEN, of_pictures).item() == pytest.approx(plain)
