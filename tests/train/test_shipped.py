"""The shipped model answers about pictures and in words that it was never trained on."""

from pathlib import Path

import pytest
import torch

import llava_tools
from llava_tools.train.evaluate import (
    Examinee,
    Item,
    Score,
    blinded,
    own_items,
    score,
    stranger_items,
)

FOLDER = Path(llava_tools.__file__).parent / "tiny"
#: What the shipped model must not fall below: its card's figures less what 60 questions may miss.
#: Counting is its weak spot, said so in the card; the aim for all five kinds is 0.85.
FLOORS = {"colour": 0.85, "shape": 0.75, "count": 0.4, "exist": 0.7, "background": 0.75}


@pytest.fixture(scope="module")
def examinee() -> Examinee:
    torch.set_num_threads(2)
    return Examinee(FOLDER)


def share(found: Score) -> float:
    return found.right / found.asked


@pytest.mark.parametrize("kind", FLOORS)
def test_a_strangers_pictures_and_words(examinee: Examinee, kind: str) -> None:
    items = stranger_items(60, seed=77, kinds=(kind,))
    assert share(score(items, examinee.answers(items))[kind]) >= FLOORS[kind]


@pytest.mark.parametrize("kind", FLOORS)
def test_its_own_pictures_and_words(examinee: Examinee, kind: str) -> None:
    items = own_items(60, seed=77, kinds=(kind,))
    assert share(score(items, examinee.answers(items))[kind]) >= FLOORS[kind]


def test_it_needs_the_picture(examinee: Examinee) -> None:
    items: list[Item] = blinded(stranger_items(60, seed=78, kinds=("colour", "shape")))
    for found in score(items, examinee.answers(items)).values():
        assert share(found) < 0.5


def test_the_files_are_small_and_complete() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size < 20_000_000
    for name in (
        "config.json",
        "generation_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    ):
        assert (FOLDER / name).is_file(), name
