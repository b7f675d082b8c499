"""On a real GPU, for whoever has one: kernels, graphs, streams, a second device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from llava_tools import Llava
from llava_tools.bench.generate import GenerateContender
from llava_tools.core.requests import Message
from llava_tools.engine import load_engine
from llava_tools.engine.attention.cuda import decode_in_torch
from llava_tools.engine.decode_graphs import DecodeGraphs
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.triton_check import has_triton
from llava_tools.images import open_image
from llava_tools.options import EngineOptions
from tests.engine.test_decode_graphs import ask_all

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

DEVICES = [f"cuda:{number}" for number in range(max(1, min(2, torch.cuda.device_count())))]


@pytest.fixture
def engine(checkpoint: Path) -> Iterator[Callable[..., LlavaEngine]]:
    """Makes engines, in float32 by default, whose answers are compared exactly."""
    engines: list[LlavaEngine] = []

    def make(device: str, **options: Any) -> LlavaEngine:
        settings: dict[str, Any] = {"dtype": "float32", **options}
        engines.append(load_engine(EngineOptions(str(checkpoint), device=device, **settings)))
        return engines[-1]

    yield make
    for item in engines:
        item.close()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(32, 32, 128), (14, 2, 64)])
def test_the_kernel_attends_as_torch_does(
    heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: str
) -> None:
    from llava_tools.engine.attention.paged_decode import paged_decode

    assert has_triton(torch.device(device))
    keys, values = torch.randn(2, 400 * 32, kv_heads, head_dim, device=device).to(dtype)
    blocks = torch.randperm(400, device=device).view(4, 100) * 32
    lengths = torch.tensor([1, 900, 3200, 64], device=device)
    query = torch.randn(4, heads, head_dim, device=device)
    scale = head_dim**-0.5
    with torch.cuda.device(device):
        for splits in (1, 5, 16):
            arguments = (query, keys, values, blocks, lengths, scale, 32, splits)
            result, expected = paged_decode(*arguments), decode_in_torch(*arguments)
            tolerance = 1e-4 if dtype == torch.float32 else 2e-2
            assert torch.allclose(result.float(), expected.float(), atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_answers_are_those_of_generate_with_and_without_graphs(
    engine: Callable[..., LlavaEngine],
    checkpoint: Path,
    images: list[Image.Image],
    device: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reference = GenerateContender(EngineOptions(str(checkpoint), device=device, dtype="float32"))
    texts = [f"What is number {number} of these?" for number in range(12)]
    expected = [
        reference.tokens([Message("user", (open_image(images[n % 6]), text))], 20)
        for n, text in enumerate(texts)
    ]
    requests = [
        {"question": text, "images": images[n % 6], "max_tokens": 20}
        for n, text in enumerate(texts)
    ]
    with caplog.at_level(logging.WARNING, "llava_tools"):
        captured = engine(device)
        graphs = captured.loop.runner.graphs
        assert isinstance(graphs, DecodeGraphs)
        model = Llava(backend=captured)
        alone = [list(model.ask(**item).token_ids) for item in requests]
        together = [list(answer.token_ids) for answer in ask_all(model, requests)]
        captured.loop.runner.graphs = None
        computed = [list(model.ask(**item).token_ids) for item in requests]
    assert alone == together == computed == expected
    assert graphs.in_use
    assert not caplog.records


@pytest.mark.parametrize("device", DEVICES)
def test_other_devices_are_left_alone(
    engine: Callable[..., LlavaEngine], images: list[Image.Image], device: str
) -> None:
    others = [number for number in range(torch.cuda.device_count()) if f"cuda:{number}" != device]
    before = [torch.cuda.memory_reserved(number) for number in others]
    with closing(engine(device)) as item:
        Llava(backend=item).ask("What is it?", images[0], max_tokens=4)
        assert item.device.startswith(device)
    assert [torch.cuda.memory_reserved(number) for number in others] == before
