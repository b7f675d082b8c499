"""Attention by branches is attention under the dense mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from llava_tools.train.architecture import new_model, tiny_config
from llava_tools.train.attention import branched, branching
from llava_tools.train.conversations import Writer, converse, lectures
from llava_tools.train.hearing import hear
from llava_tools.train.imagining import imagine
from llava_tools.train.packing import IMAGE, PAD, Conversations, pack

WIDTH = 128


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    return new_model(tiny_config(500, width=WIDTH, depth=2), seed=0)


def conversations(tokenizer: Tokenizer) -> tuple[Conversations, torch.Tensor]:
    """About three pictures, and one with tools and no picture."""
    rng, writer = np.random.default_rng(4), Writer(tokenizer)
    scenes, features = imagine(WIDTH, 0.5)(rng, 3, 0)
    rows = [converse(scene, writer, rng, 3) for scene in scenes]
    return pack([*rows, lectures(writer, rng, 300)]), features


def heard_densely(
    model: LlavaForConditionalGeneration, told: Conversations, features: torch.Tensor
) -> torch.Tensor:
    embedded = model.get_input_embeddings()(told.ids)
    image = (told.ids == IMAGE)[..., None]
    passed = model.model.language_model(
        inputs_embeds=embedded.masked_scatter(image, features),
        attention_mask=told.allowed,
        position_ids=told.positions,
        use_cache=False,
    )
    hidden: torch.Tensor = passed.last_hidden_state
    return hidden


def test_states_and_gradients_are_those_of_the_dense_mask(
    model: LlavaForConditionalGeneration, tokenizer: Tokenizer
) -> None:
    told, features = conversations(tokenizer)
    there = told.ids != PAD
    weights = dict(model.model.language_model.named_parameters())
    found = []
    for hidden in (
        hear(model, told, features).last_hidden_state,
        heard_densely(model, told, features),
    ):
        model.zero_grad()
        hidden[there].square().mean().backward()
        gradients = {name: p.grad.clone() for name, p in weights.items() if p.grad is not None}
        found.append((hidden[there].detach(), gradients))
    (ours, our_gradients), (dense, dense_gradients) = found
    assert torch.allclose(ours, dense, atol=1e-4)
    assert our_gradients.keys() == dense_gradients.keys()
    for name, gradient in dense_gradients.items():
        assert torch.allclose(our_gradients[name], gradient, atol=1e-5), name


def test_the_model_attends_as_before_afterwards(model: LlavaForConditionalGeneration) -> None:
    inner = model.model.language_model
    before = inner.config._attn_implementation
    with pytest.raises(KeyError, match="lengths"), branching(inner):
        inner(inputs_embeds=torch.zeros(1, 2, WIDTH))
    assert inner.config._attn_implementation == before


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(0, 3),
    st.integers(0, 1000),
)
def test_any_rows(parts: list[list[int]], padding: int, seed: int) -> None:
    length = max(map(sum, parts)) + padding
    generator = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, len(parts), 2, length, 8, generator=generator)
    allowed = torch.eye(length, dtype=torch.bool).repeat(len(parts), 1, 1, 1)
    there = torch.zeros(len(parts), length, dtype=torch.bool)
    for row, sizes in enumerate(parts):
        owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        same = (owner[:, None] == owner) | (owner == 0)
        many = len(owner)
        allowed[row, 0, :many, :many] |= same & torch.ones(many, many, dtype=torch.bool).tril()
        there[row, :many] = True
    dense = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    ours = branched(query, key, value, parts)
    there = there[:, None].expand(-1, 2, -1)
    assert torch.allclose(ours[there], dense[there], atol=1e-5)
    assert (ours[~there] == 0).all()
