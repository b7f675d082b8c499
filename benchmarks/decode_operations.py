"""Counts what a decode step asks of a GPU, without one: operations, launches, copies, waits.

Steps of one token run on fake tensors on `cuda:0`, which have a shape and no memory, at the 7B's 32
layers. An operation of ATen counts as one launch unless it returns a view or allocates; each Triton
kernel counts as one. A wait is a copy to the host, whose result the host needs.

    python -m benchmarks.decode_operations [--layers 32]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from benchmarks.machine import describe
from llava_tools.core.requests import SamplingParams
from llava_tools.engine import decoder as decoder_module
from llava_tools.engine.attention.cuda import CudaAttention
from llava_tools.engine.decode_graphs import DecodeGraphs
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.request_state import RequestState
from llava_tools.engine.runner import ModelRunner
from llava_tools.engine.sampler import Sampler
from llava_tools.engine.sequence import Sequence
from llava_tools.engine.step import Share
from tests.engine.fake_cuda import fake_cuda

_DEVICE = torch.device("cuda", 0)
_ALLOCATES = ("empty", "new_empty", "detach", "lift_fresh", "_pin_memory")


class Counts(TorchDispatchMode):
    """Counts operations on the device.

    Attributes:
        numbers: By name: `operations`, `launches`, `copies_in`, `waits`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        sources = [item for item in tree_leaves(args) if isinstance(item, Tensor)]
        try:
            result = func(*args, **(kwargs or {}))
        except DataDependentOutputException:
            self.numbers["waits"] += 1
            raise
        targets = [item for item in tree_leaves(result) if isinstance(item, Tensor)]
        before, after = ({item.device.type for item in items} for items in (sources, targets))
        if func.namespace == "aten" and "cuda" in before | after:
            self.numbers["operations"] += 1
            self.numbers["launches"] += _is_launch(func, sources, targets)
            self.numbers["copies_in"] += "cpu" in before and "cuda" in after
            self.numbers["waits"] += "cuda" in before and "cpu" in after
        return result


def _is_launch(func: Any, sources: list[Tensor], targets: list[Tensor]) -> bool:
    """Whether an operation computes something, and does not only allocate or return a view."""
    if func.overloadpacket.__name__.startswith(_ALLOCATES):
        return False
    known = {item.untyped_storage()._cdata for item in sources}
    written = any(item.untyped_storage()._cdata not in known for item in targets)
    return bool(func._schema.is_mutable or written)


def _launching(counts: Counts, launches: int, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a stand-in for Triton kernels, which counts their launches only."""

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        counts.numbers["operations"] += launches
        counts.numbers["launches"] += launches
        return work(*args, **kwargs)

    return stand_in


def _kernels(counts: Counts) -> ModuleType:
    """Return a stand-in for `fused_rows`."""
    stand_in: ModuleType = ModuleType("llava_tools.engine.fused_rows")

    def normalize(
        hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype, update: Any = None
    ) -> Any:
        return torch.empty_like(hidden), torch.empty_like(hidden, dtype=dtype)

    def rotate(projected: Tensor, rotations: Tensor, keys: Tensor, values: Any, slots: Any) -> Any:
        width = keys.shape[2]
        heads = projected.shape[1] // width - (0 if slots is None else 2 * keys.shape[1])
        return keys.new_empty((len(projected), heads, width))

    def gate(gate_up: Tensor) -> Tensor:
        return gate_up.new_empty((len(gate_up), gate_up.shape[1] // 2))

    for function in (normalize, rotate, gate):
        setattr(stand_in, function.__name__, _launching(counts, 1, function))
    return stand_in


@contextmanager
def _with_kernels(counts: Counts) -> Iterator[None]:
    """Make layers fused, as on a GPU with Triton."""
    import llava_tools.engine as package

    name = "llava_tools.engine.fused_rows"
    kernels = _kernels(counts)
    with (
        patch.dict(sys.modules, {name: kernels}),
        patch.object(package, "fused_rows", kernels, create=True),
    ):
        from llava_tools.engine.fused_layer import FusedLayer

        with patch.object(decoder_module, "_layer_class", lambda config, device: FusedLayer):
            yield


def _model(layers: int) -> LlavaForConditionalGeneration:
    """A LLaVA of the 7B's depth in bfloat16; its width does not matter here."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2),
        text_config=LlamaConfig(
            hidden_size=128, intermediate_size=256, num_hidden_layers=layers, num_attention_heads=8
        ),
    )
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(_DEVICE):
            model: LlavaForConditionalGeneration = LlavaForConditionalGeneration(config).eval()
            return model
    finally:
        torch.set_default_dtype(torch.float32)


def _shares(streams: int) -> list[Share]:
    state = RequestState("r", SamplingParams(), 0.0)
    blocks = list(range(20))
    return [
        Share(Sequence(state, [5] * 600, computed=599, blocks=blocks), 1) for _ in range(streams)
    ]


def count(layers: int, streams: int, *, fused: bool, replayed: bool) -> dict[str, int]:
    """Return the numbers of a greedy decode step of so many streams."""
    counts = Counts()
    with fake_cuda():
        splits = 8 if streams < 16 else 1

        def attend(query: Tensor, keys: Tensor, *_: object) -> Tensor:
            return keys.new_empty((len(query), query.shape[1] * query.shape[2]))

        kernel: Any = _launching(counts, 2 if splits > 1 else 1, attend)
        attention = CudaAttention(_DEVICE, kernel, reads_blocks=True)
        with _with_kernels(counts) if fused else patch.dict(sys.modules):
            model = _model(layers)
            decoder = decoder_module.make_decoder(model, attention)
            embedding: Any = model.get_input_embeddings()
            cache = KVCache(decoder.kv_shape, 24, _DEVICE)
            graphs = None
            if replayed:
                # A replay is one launch.
                launch = _launching(counts, 1, lambda: None)
                graphs = DecodeGraphs(decoder, embedding, cache, 4096, lambda compute: launch)
            runner = ModelRunner(decoder, embedding, attention, cache, graphs)
            shares = _shares(streams)
            runner.run(shares)  # captures
            counts.numbers.clear()
            with counts:
                logits = runner.run(shares).logits
                with suppress(DataDependentOutputException):  # tokens do not exist
                    Sampler(2).sample(logits, [share.sequence.state for share in shares])
    return dict(counts.numbers)


def main() -> None:
    """Print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=32)
    layers = parser.parse_args().layers
    ways = {
        "plain layers": {"fused": False, "replayed": False},
        "fused layers": {"fused": True, "replayed": False},
        "replayed": {"fused": True, "replayed": True},
    }
    results: dict[str, dict[str, int]] = {}
    names = ("operations", "launches", "copies_in", "waits")
    print(f"{'':26}" + "".join(f"{name:>12}" for name in names))
    for streams in (1, 16):
        for way, options in ways.items():
            numbers = count(layers, streams, **options)
            results[f"{way}, {streams}"] = numbers
            cells = "".join(f"{numbers.get(name, 0):>12,}" for name in names)
            print(f"{way + f', {streams} stream(s)':26}{cells}")
    report: dict[str, Any] = {"benchmark": "decode_operations", "layers": layers}
    print(json.dumps(report | describe() | {"steps": results}))


if __name__ == "__main__":
    main()
