"""Groups records into batches: in random order, of one modality, of similar length.

A batch holds only records with images or only records without; batches of what is left over at the
end of an epoch may mix them. LLaVA found that this saves a quarter of the time. Within a batch,
records of similar length share a micro-batch, which keeps padding short. The result depends on
nothing but the arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from llava_tools.finetune.records import Record

MicroBatches = list[list[int]]
"""The batch of one step: indices of records, split into parts that fit on a device."""


def sample_batches(
    records: Sequence[Record], epochs: int, batch: int, micro_batch_size: int, seed: int
) -> list[MicroBatches]:
    """Return the batches of all steps in order; each epoch has every record once."""

    def by_length(index: int) -> tuple[bool, int, int]:
        """Sort by what is padded: images first, as each is hundreds of tokens, then words."""
        return records[index].image is None, -records[index].word_count, index

    return [
        _split(sorted(indices, key=by_length), micro_batch_size)
        for epoch in range(epochs)
        for indices in _epoch(records, batch, Random(f"{seed} {epoch}"))
    ]


def _epoch(records: Sequence[Record], batch: int, random: Random) -> list[list[int]]:
    """Split each modality into full batches; the rest of both comes last."""
    batches: list[list[int]] = []
    rest: list[int] = []
    for has_image in (True, False):
        indices = [i for i, r in enumerate(records) if (r.image is not None) == has_image]
        random.shuffle(indices)
        full = len(indices) // batch * batch
        batches += _split(indices[:full], batch)
        rest += indices[full:]
    random.shuffle(batches)
    return batches + _split(rest, batch)


def _split(indices: list[int], size: int) -> list[list[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]
