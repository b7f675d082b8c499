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

from recipes.tiny_llava.architecture import new_model, tiny_config
from recipes.tiny_llava.attention import branched
from recipes.tiny_llava.conversations import Writer, converse, lectures
from recipes.tiny_llava.hearing import hear
from recipes.tiny_llava.imagining import imagine
from recipes.tiny_llava.packing import IMAGE, PAD, Conversations, pack

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


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(0, 1000),
)
def test_any_rows(parts: list[list[int]], seed: int) -> None:
    tokens = sum(map(sum, parts))
    generator = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, tokens, 2, 8, generator=generator)
    allowed = torch.zeros(tokens, tokens, dtype=torch.bool)
    start = 0
    for sizes in parts:
        owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        many = len(owner)
        seen = (owner[:, None] == owner) | (owner == 0)
        allowed[start : start + many, start : start + many] = seen
        start += many
    allowed &= torch.ones(tokens, tokens, dtype=torch.bool).tril()
    query_rows, key_rows, value_rows = (one.transpose(0, 1) for one in (query, key, value))
    dense = functional.scaled_dot_product_attention(
        query_rows, key_rows, value_rows, attn_mask=allowed
    )
    ours = branched(query, key, value, parts)
    assert torch.allclose(ours.transpose(0, 1), dense, atol=1e-5)
