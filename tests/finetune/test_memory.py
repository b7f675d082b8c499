"""The computed memory of training: weights are those of a real model, and shares follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlavaForConditionalGeneration

from llava_tools.engine.loading.checkpoint import load
from llava_tools.finetune.memory import SHAPES, STAGES, Load, Shape, Stage, training_memory
from llava_tools.finetune.parameters import select_parameters
from llava_tools.options import EngineOptions
from tests.finetune.test_main import base, options

__all__ = ["base"]

LOAD = Load(tokens=1000, targets=100, rank=4, frozen_bytes=4)


def _load(base: Path) -> LlavaForConditionalGeneration:
    settings = EngineOptions(model=str(base / "base"), device="cpu", dtype="float32")
    return load(settings).model


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_gradients_and_moments_are_those_of_the_model(base: Path, method: Stage) -> None:
    model = _load(base)
    memory = training_memory(method, Shape.of(model), LOAD)
    select_parameters(model, options(base, base / "out", method=method, rank=4))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert memory.weights == sum(p.nbytes for p in model.parameters())
    assert memory.gradients == sum(p.nbytes for p in trained)
    assert memory.optimizer == 2 * memory.gradients


def test_the_7b_has_its_number_of_weights() -> None:
    memory = training_memory("full", SHAPES["7b"], replace(LOAD, frozen_bytes=2))
    trained = memory.gradients / 4
    assert trained + SHAPES["7b"].vision_weights == 7_063_427_072


@pytest.mark.parametrize("stage", STAGES)
def test_more_tokens_take_activations_alone(stage: Stage) -> None:
    few = training_memory(stage, SHAPES["7b"], LOAD)
    many = training_memory(stage, SHAPES["7b"], replace(LOAD, tokens=2000, targets=200))
    assert many.activations == 2 * few.activations
    assert replace(many, activations=0) == replace(few, activations=0)


def test_processes_share_all_but_what_each_gathers() -> None:
    one, eight, many = (
        training_memory("full", SHAPES["7b"], replace(LOAD, processes=n)) for n in (1, 8, 10**9)
    )
    assert eight.optimizer == one.optimizer / 8
    assert many.weights < eight.weights < one.weights / 3
    layer = SHAPES["7b"].linear + SHAPES["7b"].norms
    assert many.weights > 2 * 4 * layer


def test_4_bits_take_half_a_byte_and_scales() -> None:
    lora, qlora = (
        training_memory(stage, SHAPES["7b"], replace(LOAD, frozen_bytes=2))
        for stage in ("lora", "qlora")
    )
    saved = (lora.weights - qlora.weights) / (32 * SHAPES["7b"].linear)
    assert saved == pytest.approx(2 - 4.127 / 8, abs=1e-3)
