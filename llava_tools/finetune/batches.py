"""Which records are learned together: drawn at random, of one modality, alike in length.

A step's batch holds records with images or records without, never both but in the last one of an
epoch; LLaVA found that this takes a quarter less time. Within the step, records of like length
share a micro-batch, so that little is padded. Pure: everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from llava_tools.finetune.records import Record


@dataclass(frozen=True)
class Step:
    """The records of one step of the optimizer.

    Attributes:
        micro_batches: Places of the records in their list; each part fits on a device at once.
    """

    micro_batches: tuple[tuple[int, ...], ...]


def plan(
    records: Sequence[Record], epochs: int, batch: int, micro_batch: int, seed: int
) -> list[Step]:
    """Return all steps of a tuning, in order; in an epoch every record comes once."""
    steps: list[Step] = []
    for epoch in range(epochs):
        random = Random(f"{seed} {epoch}")
        steps += [_step(chosen, records, micro_batch) for chosen in _epoch(records, batch, random)]
    return steps


def _epoch(records: Sequence[Record], batch: int, random: Random) -> list[list[int]]:
    """Cut each modality into batches; what is left over of both comes last."""
    whole: list[list[int]] = []
    left: list[int] = []
    for has_image in (True, False):
        places = [i for i, r in enumerate(records) if (r.image is not None) == has_image]
        random.shuffle(places)
        full = len(places) // batch * batch
        whole += [places[begin : begin + batch] for begin in range(0, full, batch)]
        left += places[full:]
    random.shuffle(whole)
    return whole + [left[begin : begin + batch] for begin in range(0, len(left), batch)]


def _step(chosen: Sequence[int], records: Sequence[Record], micro_batch: int) -> Step:
    """Sort by what is padded: images first, as each is hundreds of tokens, then words."""
    by_length = sorted(
        chosen, key=lambda place: (records[place].image is None, -records[place].words, place)
    )
    return Step(
        tuple(
            tuple(by_length[begin : begin + micro_batch])
            for begin in range(0, len(by_length), micro_batch)
        )
    )
