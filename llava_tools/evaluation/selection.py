"""Which samples are answered, and which of them together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from llava_tools.evaluation.task import Sample


def group_samples(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return the samples of each group (`Sample.group`), in the order in which the groups begin.

    A sample without a group and an image is alone.
    """
    groups: dict[Hashable, list[Sample]] = {}
    for number, sample in enumerate(samples):
        key = number if sample.image is None else sample.image
        groups.setdefault(sample.group or key, []).append(sample)
    return list(groups.values())


def limit_samples(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """Return at most `limit` samples, in their own order; all if it is None.

    Whole groups are taken, spread evenly over the data set, so that each part of a benchmark has
    its share and questions that are scored together stay together. What a lower limit takes, a
    higher one takes too. Only if the first group has more questions than the limit, it loses some.

    Args:
        samples: All of a benchmark.
        limit: >= 1, or None.
    """
    if limit is None or limit >= len(samples):
        return list(samples)
    groups = group_samples(samples)
    chosen: list[Sample] = []
    for index in _spread(len(groups)):
        if chosen and len(chosen) + len(groups[index]) > limit:
            break
        chosen += groups[index]
    ids = {sample.id for sample in chosen[:limit]}
    return [sample for sample in samples if sample.id in ids]


def _spread(count: int) -> list[int]:
    """Return 0 to `count` - 1 so that any beginning of the list is spread evenly over the range.

    This is the order of the numbers' binary digits read backwards.
    """
    digits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda index: int(f"{index:0{digits}b}"[::-1], 2))
