"""The plan of a GPU's memory follows from what its largest step takes when it is tried."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from llava_tools.engine import gpu_memory, memory_plan
from llava_tools.engine.attention.cuda import CudaAttention, decode_in_torch
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.decoder import make_decoder
from llava_tools.engine.memory_plan import MemoryPlan, plan_memory
from llava_tools.engine.runner import ModelRunner
from llava_tools.engine.step import Share, StepLogits
from llava_tools.errors import ModelError
from tests.engine.fake_cuda import fake_cuda
from tests.engine.fake_streams import FakeGpu, fake_streams
from tests.engine.test_fake_cuda import make_model

CONTEXT_LENGTH, IMAGE_TOKENS = 128, 16


class Tower:
    """Notes how many images it is tried with; may lack memory."""

    def __init__(self, error: RuntimeError | None = None) -> None:
        self.images: list[int] = []
        self.error = error

    def __call__(self, pixels: Tensor) -> None:
        self.images.append(len(pixels))
        if self.error:
            raise self.error


def plan(gpu: FakeGpu, tower: Tower, device: str = "cuda:1") -> MemoryPlan:
    model = make_model("llama", device, torch.bfloat16)
    attention = CudaAttention(torch.device(device), decode_in_torch, reads_blocks=True)
    decoder = make_decoder(model, attention)
    embedding: Any = model.get_input_embeddings()
    return plan_memory(model.config, decoder, embedding, tower, CONTEXT_LENGTH, IMAGE_TOKENS)


def test_the_largest_step_is_tried_on_the_models_own_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[list[int]] = []
    run = ModelRunner.run

    def noted(self: ModelRunner, shares: list[Share]) -> StepLogits:
        steps.append([share.rows for share in shares])
        assert all(share.end == CONTEXT_LENGTH for share in shares)
        return run(self, shares)

    monkeypatch.setattr(ModelRunner, "run", noted)
    with fake_cuda(), fake_streams() as gpu:
        gpu.free = gpu.total = 8 << 30
        gpu.peaks = [1 << 30, 1 << 29]
        tower = Tower()
        result = plan(gpu, tower)
    assert steps == [[CONTEXT_LENGTH] * (4096 // CONTEXT_LENGTH)]
    assert tower.images == [8]
    assert (result.step_tokens, result.images_at_once, result.kept_images) == (4096, 8, 128)
    assert result.blocks == 65_536 // BLOCK_SIZE
    assert {call[1] for call in gpu.calls if len(call) > 1} == {"cuda:1"}
    assert gpu.calls[0] == ("empty_cache",), "memory that torch keeps counts as free"


def test_the_kv_gets_what_the_trial_leaves() -> None:
    with fake_cuda(), fake_streams() as gpu:
        gpu.free = gpu.total = 600 << 20
        gpu.peaks = [50 << 20, 10 << 20, 300 << 20, 60 << 20]
        small, large = plan(gpu, Tower()), plan(gpu, Tower())
    assert 4 < large.blocks < small.blocks
    block = BLOCK_SIZE * 3 * 2 * 128 * 2
    assert (large.blocks + 1) * block <= (600 - 128 - 1.1 * 360) * (1 << 20)


def test_work_that_fits_between_the_weights_takes_nothing_from_the_kv() -> None:
    with fake_cuda(), fake_streams() as gpu:
        gpu.free, gpu.total = 650 << 20, 2 << 30
        gpu.peaks = [300 << 20, 150 << 20] * 2
        plain = plan(gpu, Tower())
        gpu.reserved = 400 << 20  # the limit of the process allows for it
        assert plan(gpu, Tower()).blocks > plain.blocks


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUDA error: out of memory")],
)
def test_a_trial_that_lacks_memory_is_an_error_of_the_model(error: RuntimeError) -> None:
    with fake_cuda(), fake_streams() as gpu:
        gpu.free = gpu.total = 8 << 30
        gpu.peaks = [1, 1]
        with pytest.raises(ModelError, match=r"weights fit.*cuda:1.*4096 tokens.*4bit"):
            plan(gpu, Tower(error))


def test_other_errors_of_a_trial_are_not_converted() -> None:
    with fake_cuda(), fake_streams() as gpu:
        gpu.free = gpu.total = 8 << 30
        gpu.peaks = [1, 1]
        with pytest.raises(RuntimeError, match="broken"):
            plan(gpu, Tower(RuntimeError("broken")))


def test_a_cpu_is_planned_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_memory, "estimate", lambda *_: pytest.fail("an estimate"))
    with torch.device("cpu"):
        model = make_model("llama", "cpu", torch.float32)
    decoder = make_decoder(
        model, CudaAttention(torch.device("cpu"), decode_in_torch, reads_blocks=False)
    )
    embedding: Any = model.get_input_embeddings()
    tower = Tower()
    result = plan_memory(model.config, decoder, embedding, tower, CONTEXT_LENGTH, IMAGE_TOKENS)
    assert (result.step_tokens, result.images_at_once) == (1024, 1)
    assert tower.images == []
    assert memory_plan.MemoryPlan(result.blocks, 1024, 1, 128) == result
