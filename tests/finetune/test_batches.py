"""Which records are learned together."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from llava_tools.finetune.batches import plan
from llava_tools.finetune.records import Record

RECORDS = st.lists(
    st.builds(
        lambda words, imaged: Record("r", ("a " * words,), Path("p") if imaged else None),
        st.integers(1, 30),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


@given(RECORDS, st.integers(1, 2), st.integers(1, 16), st.integers(1, 8), st.integers(0, 99))
def test_every_record_once_an_epoch_and_no_mixing_but_at_its_end(
    records: list[Record], epochs: int, batch: int, micro: int, seed: int
) -> None:
    steps = plan(records, epochs, batch, micro, seed)
    each = -(-len(records) // batch)
    assert len(steps) == epochs * each
    for epoch in range(epochs):
        chosen = [
            [place for part in step.micro_batches for place in part]
            for step in steps[epoch * each : (epoch + 1) * each]
        ]
        assert sorted(place for step in chosen for place in step) == list(range(len(records)))
        assert all(len(step) == batch for step in chosen[:-1])
        kinds = [{records[place].image is None for place in step} for step in chosen]
        whole = sum(n // batch for n in _kinds(records))
        assert all(len(kind) == 1 for kind in kinds[:whole])
    for step in steps:
        assert all(1 <= len(part) <= micro for part in step.micro_batches)
        order = [
            (records[place].image is None, -records[place].words)
            for part in step.micro_batches
            for place in part
        ]
        assert order == sorted(order)


def _kinds(records: list[Record]) -> tuple[int, int]:
    imaged = sum(record.image is not None for record in records)
    return imaged, len(records) - imaged


def test_the_order_is_the_seeds() -> None:
    records = [Record("r", ("a " * (i % 7),)) for i in range(40)]
    assert plan(records, 2, 8, 4, seed=1) == plan(records, 2, 8, 4, seed=1)
    assert plan(records, 2, 8, 4, seed=1) != plan(records, 2, 8, 4, seed=2)
    first, second = plan(records, 2, 40, 40, seed=1)
    assert set(first.micro_batches[0]) == set(second.micro_batches[0])
