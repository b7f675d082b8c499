"""Which cards hold which models: the division of a GPU's memory, as figures."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks.load_7b import config
from llava_tools.engine import gpu_memory, image_cache
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.gpu_memory import Costs, WorkSizes, choose_work, divide, estimate
from llava_tools.engine.kv_cache import KVShape
from llava_tools.engine.loading import dimensions
from llava_tools.errors import ModelError
from llava_tools.info import sizes

MIB, CONTEXT_LENGTH, IMAGE_TOKENS = 1 << 20, 4096, 576
SHAPE = KVShape(32, 32, 128, torch.float16)
#: What CUDA takes for itself on a GPU.
CUDA_CONTEXT = 450_000_000
#: Memory of cards in MiB, as their driver reports it.
CARDS = {"8 GB": 8188, "12 GB": 12282, "T4": 15109, "16 GB": 16376, "24 GB": 24564, "H200": 143771}


@pytest.fixture(scope="module")
def costs() -> Costs:
    return estimate(config(32), SHAPE, CONTEXT_LENGTH, IMAGE_TOKENS)


def free_after_weights(card: str, precision: str) -> int:
    size = sizes()["7b"]
    weights = dimensions.memory(size.parameters, size.linear_parameters, precision)
    return CARDS[card] * MIB - CUDA_CONTEXT - weights


def test_costs_of_the_7b(costs: Costs) -> None:
    assert costs.block == 32 * 524_288
    assert costs.context == 129 * costs.block
    assert costs.features == 576 * 4096 * 2
    assert costs.gathered == 2 * 4096 * 4096 * 2
    # A row of the widest moment: gates, values and their product in 16 bit, sums in float32.
    assert 3 * 11008 * 2 + 2 * 4096 * 4 < costs.row < 4 * (3 * 11008 * 2 + 2 * 4096 * 4)


@pytest.mark.parametrize(
    ("card", "precision", "step_tokens", "images"),
    [
        ("8 GB", "4bit", 1024, 2),
        ("12 GB", "8bit", 2048, 4),
        ("16 GB", "float16", 256, 1),
        ("24 GB", "float16", 4096, 8),
        ("H200", "float16", 4096, 8),
    ],
)
def test_cards_that_hold_the_7b_with_a_full_context(
    costs: Costs, card: str, precision: str, step_tokens: int, images: int
) -> None:
    free = free_after_weights(card, precision)
    work = choose_work(free, 0, costs, CONTEXT_LENGTH)
    assert work == WorkSizes(step_tokens, images)
    blocks, kept = divide(free, work.bytes(costs), costs, CONTEXT_LENGTH)
    assert CONTEXT_LENGTH <= blocks * BLOCK_SIZE <= 65_536
    assert 1 <= kept <= image_cache.MAX_IMAGES
    taken = (blocks + 1) * costs.block + kept * costs.features + work.bytes(costs)
    assert taken + gpu_memory._FIXED <= free


def test_gaps_between_weights_are_room_for_work_but_not_for_the_kv(costs: Costs) -> None:
    free = free_after_weights("16 GB", "float16")
    assert choose_work(free, 300 * MIB, costs, CONTEXT_LENGTH) == WorkSizes(512, 1)
    tight = costs.context + costs.features + gpu_memory._FIXED
    assert choose_work(tight, 300 * MIB, costs, CONTEXT_LENGTH) == WorkSizes(256, 1)
    with pytest.raises(ModelError, match="context_length="):
        choose_work(tight - 1, 10**10, costs, CONTEXT_LENGTH)


def test_plenty_of_memory_is_not_taken_as_a_whole(costs: Costs) -> None:
    free = free_after_weights("H200", "float16")
    assert divide(free, 10**9, costs, CONTEXT_LENGTH) == (65_536 // BLOCK_SIZE, 128)


def test_a_card_without_room_for_a_full_context_is_an_error_with_a_length_that_fits(
    costs: Costs,
) -> None:
    free = free_after_weights("T4", "float16")
    with pytest.raises(ModelError, match=r"4,096 tokens.*--context-length (\d+)") as caught:
        choose_work(free, 0, costs, CONTEXT_LENGTH)
    length = int(caught.value.hint.split("context_length=")[1].split()[0])
    assert length >= 1024
    shorter = estimate(config(32), SHAPE, length, IMAGE_TOKENS)
    work = choose_work(free, 0, shorter, length)
    blocks, _ = divide(free, work.bytes(shorter), shorter, length)
    assert blocks * BLOCK_SIZE >= length


def test_a_trial_that_takes_more_than_estimated_leaves_an_error(costs: Costs) -> None:
    free = free_after_weights("16 GB", "float16")
    with pytest.raises(ModelError, match="context_length="):
        divide(free, 400 * MIB, costs, CONTEXT_LENGTH)


@pytest.mark.parametrize("free", range(3_000_000_000, 12_000_000_000, 1_500_000_000))
def test_more_memory_never_gives_less(costs: Costs, free: int) -> None:
    less, more = (choose_work(item, 0, costs, CONTEXT_LENGTH) for item in (free, free + 10**9))
    assert less.step_tokens <= more.step_tokens
    assert less.images <= more.images


def test_grouped_queries_and_other_widths_are_counted() -> None:
    shape = KVShape(32, 8, 128, torch.bfloat16)
    text = SimpleNamespace(hidden_size=4096, num_attention_heads=32, vocab_size=32000)
    item = SimpleNamespace(text_config=text, vision_config=config(1).vision_config)
    without = estimate(item, shape, CONTEXT_LENGTH, IMAGE_TOKENS)
    assert without.context == 129 * 32 * 131_072
    text.intermediate_size = 14336
    grouped = estimate(item, shape, CONTEXT_LENGTH, IMAGE_TOKENS)
    assert grouped.row < without.row
    text.intermediate_size = [1024, 14336]
    assert estimate(item, shape, CONTEXT_LENGTH, IMAGE_TOKENS) == grouped
