"""Batches of records: complete, of one modality, of similar length, and seeded."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from llava_tools.finetune.batch_sampler import sample_batches
from llava_tools.finetune.records import Record

RECORDS = st.lists(
    st.builds(
        lambda words, has_image: Record("r", ("a " * words,), Path("p") if has_image else None),
        st.integers(1, 30),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


@given(RECORDS, st.integers(1, 2), st.integers(1, 16), st.integers(1, 8), st.integers(0, 99))
def test_an_epoch_has_each_record_once_and_mixes_modalities_only_at_its_end(
    records: list[Record], epochs: int, batch: int, micro_batch_size: int, seed: int
) -> None:
    steps = sample_batches(records, epochs, batch, micro_batch_size, seed)
    steps_per_epoch = -(-len(records) // batch)
    with_image = sum(record.image is not None for record in records)
    full = with_image // batch + (len(records) - with_image) // batch
    assert len(steps) == epochs * steps_per_epoch
    for epoch in range(epochs):
        batches = [
            [index for part in step for index in part]
            for step in steps[epoch * steps_per_epoch : (epoch + 1) * steps_per_epoch]
        ]
        assert sorted(index for b in batches for index in b) == list(range(len(records)))
        assert all(len(b) == batch for b in batches[:-1])
        assert all(len({records[i].image is None for i in b}) == 1 for b in batches[:full])
    for step in steps:
        assert all(1 <= len(part) <= micro_batch_size for part in step)
        order = [
            (records[index].image is None, -records[index].word_count)
            for part in step
            for index in part
        ]
        assert order == sorted(order)


def test_the_order_depends_on_the_seed_and_the_epoch() -> None:
    records = [Record("r", ("a " * (i % 7),)) for i in range(40)]
    assert sample_batches(records, 2, 8, 4, seed=1) == sample_batches(records, 2, 8, 4, seed=1)
    assert sample_batches(records, 2, 8, 4, seed=1) != sample_batches(records, 2, 8, 4, seed=2)
    first, second = sample_batches(records, 2, 8, 4, seed=1)[::5]
    assert first != second
    first, second = sample_batches(records, 2, 40, 40, seed=1)
    assert set(first[0]) == set(second[0])
