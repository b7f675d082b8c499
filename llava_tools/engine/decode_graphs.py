"""Steps of one new token for each sequence, captured once for each size of batch and replayed.

A graph holds the model alone, from token ids to logits, with inputs and outputs at fixed addresses.
Everything that changes from step to step is data: ids, positions, slots, blocks and lengths are
copied into the inputs, and tokens are sampled from the logits afterwards. Sizes between two
captured ones are filled up with rows that write to a block of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from llava_tools.engine.attention.cuda import CudaAttention, CudaPlan, DecodeRows
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.device import is_unrecoverable
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.step import Share
from llava_tools.engine.step_inputs import StepInputs
from llava_tools.engine.synchronization import SynchronizationError, forbid_synchronization
from llava_tools.engine.upload import to_device

_log = logging.getLogger(__name__)

#: Sizes of batch that are captured. Larger batches keep a GPU busy without a graph.
SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)

#: Layers of these classes wait for the device inside their own operations.
_WAITING = {"Linear8bitLt"}


class Capture(Protocol):
    """Captures what a function does on a device; returns what does it again on new inputs."""

    def __call__(self, compute: Callable[[], None]) -> Callable[[], None]:
        """Capture a function, which runs before and while it is captured."""


class DecodeGraphs:
    """Runs steps whose shares have one row each.

    Args:
        decoder: The language model; its attention reads blocks.
        token_embedding: Its input embedding.
        cache: The KV.
        context_length: Tokens of a sequence at most.
        capture: `CudaCapture`, or a stand-in.

    Attributes:
        in_use: Whether steps are captured; no more after a capture failed.
    """

    def __init__(
        self,
        decoder: Any,
        token_embedding: nn.Embedding,
        cache: KVCache,
        context_length: int,
        capture: Capture,
    ) -> None:
        self._decoder = decoder
        self._token_embedding = token_embedding
        self._cache = cache
        self._capture = capture
        self.in_use = True
        self._replays: dict[int, Callable[[], None]] = {}
        self._most_blocks = -(-context_length // BLOCK_SIZE)
        device, most = token_embedding.weight.device, SIZES[-1]
        # For n rows: n ids, positions, slots and lengths, then the blocks of each.
        self._inputs = torch.zeros(most * self._columns, dtype=torch.long, device=device)
        self._logits = torch.zeros(
            (most, token_embedding.num_embeddings), dtype=cache.shape.dtype, device=device
        )

    @property
    def _columns(self) -> int:
        return 4 + self._most_blocks

    def takes(self, shares: Sequence[Share]) -> bool:
        """Whether a step can be replayed: each share is one row that gives an output."""
        return (
            self.in_use
            and len(shares) <= SIZES[-1]
            and all(
                share.rows == 1
                and share.sequence.computed == share.sequence.first_output
                and share.sequence.computed >= share.sequence.state.last_image_end
                for share in shares
            )
        )

    def run(self, shares: Sequence[Share]) -> Tensor:
        """Return the logits [shares, vocab_size] of a step that `takes` allows.

        They are overwritten by the next step.
        """
        size = next(size for size in SIZES if size >= len(shares))
        inputs = to_device(self._host_inputs(shares, size), self._inputs.device)
        self._inputs[: size * self._columns] = inputs
        replay = self._replays.get(size) or self._captured(size)
        replay()
        return self._logits[: len(shares)]

    def _host_inputs(self, shares: Sequence[Share], size: int) -> Tensor:
        """Return the inputs of a step as one row of numbers, filled up to `size` rows."""
        host = torch.zeros(size * self._columns, dtype=torch.long)
        header, table = host[: 4 * size].view(4, size), host[4 * size :].view(size, -1)
        header[2], header[3] = self._cache.spare_slot, 1
        table[:, 0] = self._cache.spare_slot
        rows: list[tuple[int, int, int, int]] = []
        for share, blocks in zip(shares, table, strict=False):
            item, position = share.sequence, share.sequence.computed
            slot = item.blocks[position // BLOCK_SIZE] * BLOCK_SIZE + position % BLOCK_SIZE
            rows.append((item.tokens[position], position, slot, position + 1))
            blocks[: len(item.blocks)] = torch.tensor(item.blocks) * BLOCK_SIZE
        header[:, : len(shares)] = torch.tensor(rows).t()
        return host

    def _captured(self, size: int) -> Callable[[], None]:
        """Capture the model for a size; if that fails, no step is captured from then on."""

        def compute() -> None:
            self._compute(size)

        try:
            if not self._replays:
                # A capture that fails halfway leaves torch's allocator in disorder.
                with forbid_synchronization():
                    compute()
            self._replays[size] = self._capture(compute)
        except RuntimeError as error:
            if is_unrecoverable(error):
                raise
            self.in_use = False
            cause = "" if isinstance(error, SynchronizationError) else "capturing failed: "
            _log.warning(
                "Answers are computed without CUDA graphs, which is slower: %s%s",
                *(cause, str(error).partition("\n")[0]),
            )
            return compute
        return self._replays[size]

    def _compute(self, size: int) -> None:
        """Run the model on the first `size` rows of the inputs; this is what a graph holds."""
        inputs = self._inputs[: size * self._columns]
        ids, positions, slots, lengths = inputs[: 4 * size].view(4, size).unbind()
        decode = DecodeRows(None, inputs[4 * size :].view(size, -1), lengths, BLOCK_SIZE)
        plan = CudaPlan(decode, ())
        step = StepInputs(
            positions=positions,
            write=slots,
            plan=plan,
            output_rows=torch.arange(size, device=inputs.device),
            output_plan=plan,
            cache=self._cache,
        )
        self._logits[:size] = self._decoder(self._token_embedding(ids), step)


class CudaCapture:
    """Captures functions as CUDA graphs, which share their memory.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Callable[[], None]) -> Callable[[], None]:
        """See `Capture`. The GPU must be the thread's current one."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            compute()  # sets up what libraries keep and compiles kernels
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may allocate and copy meanwhile: images are encoded by callers' threads.
        mode = "thread_local"
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode=mode):
            compute()
        return graph.replay


def make_decode_graphs(
    decoder: Any, token_embedding: nn.Embedding, cache: KVCache, context_length: int
) -> DecodeGraphs | None:
    """Return what replays steps of a decoder on a GPU; None if they cannot be captured.

    That is without a kernel that reads blocks (`triton_check`), with windows and the like, whose
    attention depends on lengths the host knows, and with layers that wait for the device.
    """
    attention = decoder.attention
    if not isinstance(attention, CudaAttention) or not attention.reads_blocks:
        return None
    if any(type(module).__name__ in _WAITING for module in decoder.modules()):
        return None
    capture = CudaCapture(token_embedding.weight.device)
    return DecodeGraphs(decoder, token_embedding, cache, context_length, capture)
