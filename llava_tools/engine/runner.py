"""Computes a step: shares of sequences become tensors, and the decoder returns logits.

Everything that depends on the step is decided here, on the host: which rows are images, which slots
are written, what each row attends to. The decoder then runs without a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from llava_tools.engine.attention import Attention, SequenceRows
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.decode_graphs import DecodeGraphs
from llava_tools.engine.decoder import Decoder
from llava_tools.engine.device import activate
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.step import Share, StepLogits
from llava_tools.engine.step_inputs import StepInputs
from llava_tools.engine.upload import upload

if TYPE_CHECKING:
    from llava_tools.engine.transformers_decoder import TransformersDecoder


class ModelRunner:
    """Runs a decoder over the KV.

    Args:
        decoder: The language model.
        token_embedding: Its input embedding.
        attention: The attention that the decoder was made with.
        cache: The KV.
        graphs: Replays steps of single rows; None computes them like others.

    Attributes:
        graphs: The same.
    """

    def __init__(
        self,
        decoder: Decoder | TransformersDecoder,
        token_embedding: nn.Embedding,
        attention: Attention,
        cache: KVCache,
        graphs: DecodeGraphs | None = None,
    ) -> None:
        self._decoder = decoder
        self._token_embedding = token_embedding
        self._attention = attention
        self._cache = cache
        self.graphs = graphs
        self._device = token_embedding.weight.device

    @torch.inference_mode()
    def run(self, shares: Sequence[Share]) -> StepLogits:
        """Compute the rows of a step, and the logits of those that give an output."""
        with activate(self._device):
            if self.graphs is not None and self.graphs.takes(shares):
                return StepLogits(self.graphs.run(shares).float(), [1] * len(shares))
            return self._run(shares)

    def _run(self, shares: Sequence[Share]) -> StepLogits:
        sequences: list[SequenceRows] = []
        outputs: list[SequenceRows] = []
        positions: list[int] = []
        slots: list[int] = []
        output_rows: list[int] = []
        counts: list[int] = []
        for share in shares:
            item, past, end = share.sequence, share.sequence.computed, share.end
            blocks = [block * BLOCK_SIZE for block in item.blocks]
            first = len(positions)
            sequences.append(SequenceRows(first, share.rows, past, blocks))
            positions += range(past, end)
            slots += [blocks[p // BLOCK_SIZE] + p % BLOCK_SIZE for p in range(past, end)]
            begin = max(item.first_output, past)
            counts.append(max(0, end - begin))
            if begin < end:
                outputs.append(SequenceRows(len(output_rows), end - begin, begin, blocks))
                output_rows += range(first + begin - past, first + end - past)
        lists = [self._ids(shares), positions, output_rows, slots]
        ids, places, rows, write = upload(lists, self._device)
        step = StepInputs(
            positions=places,
            write=write if self._device.type == "cuda" else _range(slots) or write,
            plan=self._attention.plan(sequences, BLOCK_SIZE),
            output_rows=rows,
            output_plan=self._attention.plan(outputs, BLOCK_SIZE),
            cache=self._cache,
        )
        logits = self._decoder(self._embed(ids, shares), step)
        return StepLogits(logits.float(), counts)

    def _ids(self, shares: Sequence[Share]) -> list[int]:
        """Return the ids of a step's tokens; 0 for those of images."""
        vocab_size = self._token_embedding.num_embeddings
        return [
            token if token < vocab_size else 0
            for share in shares
            for token in share.sequence.tokens[share.sequence.computed : share.end]
        ]

    def _embed(self, ids: torch.Tensor, shares: Sequence[Share]) -> torch.Tensor:
        """Return the embeddings [rows, hidden] of a step's tokens and images."""
        embeddings: torch.Tensor = self._token_embedding(ids)
        first = 0
        for share in shares:
            past = share.sequence.computed
            for image in share.sequence.state.images:
                begin, end = max(image.begin, past), min(image.end, share.end)
                if begin < end:
                    features = image.features[begin - image.begin : end - image.begin]
                    embeddings[first + begin - past : first + end - past] = features
            first += share.rows
        return embeddings


def _range(slots: list[int]) -> slice | None:
    """Return slots as a slice if they follow each other, which a CPU looks up faster."""
    first, end = slots[0], slots[-1] + 1
    if end - first != len(slots) or slots != list(range(first, end)):
        return None
    return slice(first, end)
