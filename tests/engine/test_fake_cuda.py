"""A step on a CUDA device, without a GPU: all tensors are on it, and the model never waits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensorDeviceMismatchError,
)
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

from llava_tools.core.requests import SamplingParams
from llava_tools.engine import decoder as decoder_module
from llava_tools.engine.attention.cuda import CudaAttention, decode_in_torch
from llava_tools.engine.decode_graphs import DecodeGraphs
from llava_tools.engine.decoder import make_decoder
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.request_state import PromptImage, RequestState
from llava_tools.engine.runner import ModelRunner
from llava_tools.engine.sequence import Sequence
from llava_tools.engine.step import Share
from llava_tools.engine.synchronization import SynchronizationError, forbid_synchronization
from tests.engine.fake_cuda import fake_cuda
from tests.engine.replay import RecordingCapture
from tests.engine.test_decoder import FAMILIES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="knows torch's names on Linux")

DEVICES = ["cuda:0", "cuda:1"]
DTYPES = [torch.bfloat16, torch.float16]


def share(
    past: int, rows: int, blocks: list[int], images: list[PromptImage] | None = None
) -> Share:
    state = RequestState("r", SamplingParams(), 0.0, images=images or [])
    return Share(Sequence(state, [5] * (past + rows), computed=past, blocks=blocks), rows)


def prompts_and_answers(device: str, dtype: torch.dtype) -> list[Share]:
    """A new prompt with an image, the rest of one in scattered blocks, and two answers."""
    image = PromptImage(3, torch.zeros(16, 128, dtype=dtype, device=device))
    return [
        share(40, 1, [1, 2]),
        share(0, 60, [3, 4], [image]),
        share(33, 20, [9, 6]),
        share(90, 1, [5, 8, 7]),
    ]


def answers(device: str, dtype: torch.dtype) -> list[Share]:
    return [share(40, 1, [1, 2]), share(90, 1, [5, 8, 7]), share(63, 1, [3, 4])]


def make_model(family: str, device: str, dtype: torch.dtype) -> LlavaForConditionalGeneration:
    """A LLaVA with images of 56 pixels, whose weights are not set."""
    text = FAMILIES[family]
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, tie_word_embeddings=text.tie_word_embeddings
    )
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model: LlavaForConditionalGeneration = LlavaForConditionalGeneration(config).eval()
            return model
    finally:
        torch.set_default_dtype(default)


def make_runner(
    family: str, device: str, dtype: torch.dtype, *, graphs: bool = False
) -> ModelRunner:
    model = make_model(family, device, dtype)
    attention = CudaAttention(torch.device(device), decode_in_torch, reads_blocks=graphs)
    decoder: Any = make_decoder(model, attention)
    cache = KVCache(decoder.kv_shape, 12, torch.device(device))
    embedding: Any = model.get_input_embeddings()
    made = None
    if graphs:
        made = DecodeGraphs(decoder, embedding, cache, 128, RecordingCapture())
    return ModelRunner(decoder, embedding, decoder.attention, cache, made)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shares", [prompts_and_answers, answers])
@pytest.mark.parametrize("family", ["llama", "llama, grouped queries", "phi3, partly rotated"])
def test_a_step_stays_on_its_device(
    family: str,
    shares: Callable[[str, torch.dtype], list[Share]],
    device: str,
    dtype: torch.dtype,
) -> None:
    with fake_cuda():
        step = shares(device, dtype)
        result = make_runner(family, device, dtype).run(step)
        assert str(result.logits.device) == device
        assert result.logits.shape == (len(step), 211)
        assert result.logits.dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES)
def test_a_replayed_step_stays_on_its_device(device: str) -> None:
    with fake_cuda():
        runner = make_runner("llama, grouped queries", device, torch.bfloat16, graphs=True)
        result = runner.run(answers(device, torch.bfloat16))
        assert str(result.logits.device) == device
        assert result.logits.shape == (3, 211)


@pytest.mark.parametrize("free", [1 << 40, 1000])
@pytest.mark.parametrize("family", ["llama, biases", "phi3, partly rotated"])
def test_layers_that_are_joined_on_the_host_for_lack_of_memory_end_on_the_device(
    family: str, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    module_to = torch.nn.Module.to
    with fake_cuda():
        monkeypatch.setattr(decoder_module, "free_bytes", lambda device: free)

        def to(self: torch.nn.Module, device: str) -> torch.nn.Module:
            moved.append(device)
            for name, item in list(self.named_parameters()):
                parent, _, child = name.rpartition(".")
                parameter = torch.nn.Parameter(item.detach().to(device), requires_grad=False)
                setattr(self.get_submodule(parent), child, parameter)
            return self

        monkeypatch.setattr(torch.nn.Module, "to", to)
        runner = make_runner(family, "cuda:1", torch.bfloat16)
        monkeypatch.setattr(torch.nn.Module, "to", module_to)
        tensors = [*runner._decoder.parameters(), *runner._decoder.buffers()]
        assert {str(item.device) for item in tensors} == {"cuda:1"}
        assert moved == (["cpu"] * 3 if free == 1000 else [])
        runner.run(answers("cuda:1", torch.bfloat16))


def waits_for_a_number(hidden: Tensor) -> Tensor:
    return hidden * float(hidden.amax())


def waits_for_a_decision(hidden: Tensor) -> Tensor:
    return hidden if hidden.isfinite().all() else hidden.zero_()


def waits_for_places(hidden: Tensor) -> Tensor:
    hidden[hidden > 0] = 1.0
    return hidden


def counts_by_a_mask(hidden: Tensor) -> Tensor:
    hidden[hidden.isnan()].clone()
    return hidden


def copies_to_the_host(hidden: Tensor) -> Tensor:
    hidden.cpu()
    return hidden


def copies_from_the_host(hidden: Tensor) -> Tensor:
    return hidden + torch.ones(1).to(hidden.device)


def reads_a_list(hidden: Tensor) -> Tensor:
    hidden[0].tolist()
    return hidden


def computes_on_another_device(hidden: Tensor) -> Tensor:
    return hidden + torch.ones(1, 1, device="cuda:0")


PLANTED: dict[Callable[[Tensor], Tensor], tuple[type[Exception], ...]] = {
    waits_for_a_number: (SynchronizationError, DataDependentOutputException),
    waits_for_a_decision: (SynchronizationError, DataDependentOutputException),
    waits_for_places: (SynchronizationError,),
    counts_by_a_mask: (SynchronizationError, RuntimeError),
    copies_to_the_host: (SynchronizationError,),
    copies_from_the_host: (SynchronizationError,),
    reads_a_list: (SynchronizationError, DataDependentOutputException),
    computes_on_another_device: (FakeTensorDeviceMismatchError,),
}


def run_checked(runner: ModelRunner, step: list[Share], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a step whose decoder must not synchronize."""
    forward = decoder_module.Decoder.forward

    def checked(self: Any, embeddings: Tensor, inputs: Any) -> Tensor:
        with forbid_synchronization():
            return forward(self, embeddings, inputs)

    monkeypatch.setattr(decoder_module.Decoder, "forward", checked)
    runner.run(step)


@pytest.mark.parametrize("shares", [prompts_and_answers, answers])
@pytest.mark.parametrize("family", ["llama", "llama, grouped queries", "phi3, partly rotated"])
def test_the_model_never_waits(
    family: str,
    shares: Callable[[str, torch.dtype], list[Share]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fake_cuda():
        runner = make_runner(family, "cuda:1", torch.bfloat16)
        run_checked(runner, shares("cuda:1", torch.bfloat16), monkeypatch)


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.__name__)
def test_planted_faults_are_found(
    fault: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    norm = decoder_module.Norm.forward
    monkeypatch.setattr(
        decoder_module.Norm, "forward", lambda self, hidden: norm(self, fault(hidden))
    )
    with fake_cuda():
        runner = make_runner("llama", "cuda:1", torch.bfloat16)
        with pytest.raises(PLANTED[fault]):
            run_checked(runner, answers("cuda:1", torch.bfloat16), monkeypatch)
