"""Decoding as a share of what the memory allows: it reads all weights and the KV for each token."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn

from llava_tools.core.backend import Backend
from llava_tools.core.requests import Request
from llava_tools.engine.device import activate, free_bytes
from llava_tools.engine.engine import LlavaEngine

#: Numbers of the tensors that are read and copied, if memory suffices: 4 GB on a GPU.
_NUMBERS = {"cpu": 1 << 27, "cuda": 1 << 30}

_TRIES = 7


@dataclass(frozen=True)
class DecodeBandwidth:
    """How fast an engine decodes one answer, as bytes.

    Attributes:
        bytes_per_token: Weights and KV that are read for a token.
        decoding: Bytes that are read each second.
        memory: Bytes each second of reading or copying a large tensor, at best.
    """

    bytes_per_token: int
    decoding: float
    memory: float

    @property
    def share(self) -> float:
        """Decoding as a share of the memory's bandwidth. Weights in caches can exceed 1."""
        return self.decoding / self.memory


def decode_bandwidth(
    backend: Backend, request: Request, tokens: int, tokens_per_s: float
) -> DecodeBandwidth | None:
    """Return how decoding compares to the memory's bandwidth, which is measured now.

    Args:
        backend: None is returned for one that is no engine of this process.
        request: Whose answer was decoded.
        tokens: Tokens of the answer.
        tokens_per_s: After the first one.
    """
    if not isinstance(backend, LlavaEngine):
        return None
    context = backend.count_tokens(request) + tokens // 2
    size = bytes_per_token(backend, context)
    device = backend.loaded.model.device
    return DecodeBandwidth(size, size * tokens_per_s, measure_memory(device))


def bytes_per_token(engine: LlavaEngine, context: int) -> int:
    """Return the bytes that decoding reads for a token after `context` others."""
    embedding = engine.loaded.model.get_input_embeddings()
    weights = weight_bytes(engine.decoder)
    modules = list(engine.decoder.modules())
    # Some decoders hold the embedding, of which one row is read; as the head's weights it is read.
    if any(item is embedding for item in modules):
        others = [item for item in modules if item is not embedding]
        is_head = any(getattr(item, "weight", None) is embedding.weight for item in others)
        weights -= 0 if is_head else weight_bytes(embedding)
    return weights + context * engine.cache.shape.token_bytes


def weight_bytes(*modules: nn.Module) -> int:
    """Return the bytes of modules' weights, packed ones included."""
    total = 0
    for module in modules:
        total += sum(tensor.nbytes for tensor in chain(module.parameters(), module.buffers()))
        total += sum(getattr(layer, "weight_bytes", 0) for layer in module.modules())
    return total


def measure_memory(device: torch.device) -> float:
    """Return bytes per second: the best of several tries to sum and to copy a tensor."""
    numbers = min(_NUMBERS.get(device.type, 1 << 27), free_bytes(device) // 16)
    with activate(device):
        source = torch.ones(numbers, device=device)
        target = torch.empty_like(source)
        return max(
            moves * source.nbytes / min(_seconds(work, device) for _ in range(_TRIES))
            for moves, work in ((1, source.sum), (2, lambda: target.copy_(source)))
        )


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    _synchronize(device)
    begin = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - begin


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
