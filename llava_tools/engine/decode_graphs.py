"""Steps of one new token for each sequence, captured once for each size of batch and replayed.

A graph holds the model alone, from token ids to logits, with inputs and outputs at fixed addresses.
Everything that changes from step to step is data: ids, positions, slots, blocks and lengths are
copied into the inputs, and tokens are sampled from the logits afterwards. Sizes between two
captured ones are filled up with rows that write to a block of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from llava_tools.engine.attention.cuda import CudaPlan, DecodeRows
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.decoder import Decoder, StepInputs
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.step import Share

#: Sizes of batch that are captured. Larger batches keep a GPU busy without a graph.
SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)

#: Takes a function that runs the model, and returns one that runs it again on new inputs.
Capture = Callable[[Callable[[], None]], Callable[[], None]]


class DecodeGraphs:
    """Runs steps whose shares have one row each.

    Args:
        decoder: The language model.
        token_embedding: Its input embedding.
        cache: The KV.
        context_length: Tokens of a sequence at most.
        capture: `capture_cuda_graph`, or a stand-in.
    """

    def __init__(
        self,
        decoder: Decoder,
        token_embedding: nn.Embedding,
        cache: KVCache,
        context_length: int,
        capture: Capture,
    ) -> None:
        self._decoder = decoder
        self._token_embedding = token_embedding
        self._cache = cache
        self._capture = capture
        self._replays: dict[int, Callable[[], None]] = {}
        self._most_blocks = -(-context_length // BLOCK_SIZE)
        device, most = token_embedding.weight.device, SIZES[-1]
        # One copy a step: ids, positions, slots and lengths, then the blocks, a row each.
        columns = 4 + self._most_blocks
        self._host = torch.zeros((most, columns), dtype=torch.int32)
        if device.type == "cuda":
            self._host = self._host.pin_memory()
        self._inputs = torch.zeros((most, columns), dtype=torch.int32, device=device)
        self._logits = torch.zeros(
            (most, token_embedding.num_embeddings), dtype=cache.shape.dtype, device=device
        )

    def takes(self, shares: Sequence[Share]) -> bool:
        """Whether a step can be replayed: each share is one row that gives an output."""
        return len(shares) <= SIZES[-1] and all(
            share.rows == 1
            and share.sequence.computed == share.sequence.first_output
            and share.sequence.computed >= share.sequence.state.last_image_end
            for share in shares
        )

    def run(self, shares: Sequence[Share]) -> Tensor:
        """Return the logits [shares, vocab_size] of a step that `takes` allows."""
        size = next(size for size in SIZES if size >= len(shares))
        rows = self._host[:size]
        rows.zero_()
        rows[:, 2] = self._cache.spare_slot
        rows[:, 3] = 1
        for row, share in zip(rows, shares, strict=False):
            item, position = share.sequence, share.sequence.computed
            blocks = [block * BLOCK_SIZE for block in item.blocks]
            slot = blocks[position // BLOCK_SIZE] + position % BLOCK_SIZE
            values = [item.tokens[position], position, slot, position + 1, *blocks]
            row[: len(values)] = torch.tensor(values, dtype=torch.int32)
        self._inputs[:size].copy_(rows, non_blocking=True)
        if size not in self._replays:
            self._replays[size] = self._capture(lambda: self._compute(size))
        self._replays[size]()
        return self._logits[: len(shares)]

    def _compute(self, size: int) -> None:
        """Run the model on the first `size` rows of the inputs; this is what a graph holds."""
        ids, positions, slots, lengths = self._inputs[:size, :4].unbind(1)
        decode = DecodeRows(None, self._inputs[:size, 4:].contiguous(), lengths, BLOCK_SIZE)
        plan = CudaPlan(decode, ())
        step = StepInputs(
            positions=positions.long(),
            write=slots.long(),
            plan=plan,
            output_rows=torch.arange(size, device=self._inputs.device),
            output_plan=plan,
            cache=self._cache,
        )
        self._logits[:size] = self._decoder(self._token_embedding(ids), step)


def capture_cuda_graph(compute: Callable[[], None]) -> Callable[[], None]:
    """Capture a function as a CUDA graph and return its replay.

    It runs three times on a stream of its own first, so that libraries set up what they keep.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            compute()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compute()
    return graph.replay
