"""Groups of samples about one image, and what a limit takes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from llava_tools.evaluation.data_files.embedded_image import EmbeddedImage
from llava_tools.evaluation.selection import group_samples, limit_samples
from llava_tools.evaluation.task import Sample


def _samples(images: int, questions: int) -> list[Sample]:
    """Return samples whose ids are `image-question`, one question after the other."""
    return [
        Sample(f"{image}-{question}", "?", Path(f"{image}.png"))
        for question in range(questions)
        for image in range(images)
    ]


def _ids(samples: list[Sample]) -> list[str]:
    return [sample.id for sample in samples]


def test_questions_about_an_image_come_together() -> None:
    groups = group_samples(_samples(3, 2))
    assert [_ids(group) for group in groups] == [["0-0", "0-1"], ["1-0", "1-1"], ["2-0", "2-1"]]


def test_equal_images_are_one_and_none_is_alone() -> None:
    images = [
        b"x",
        None,
        EmbeddedImage(Path("t"), 0, 4),
        b"x",
        None,
        EmbeddedImage(Path("t"), 0, 4),
    ]
    samples = [Sample(str(number), "?", image) for number, image in enumerate(images)]
    groups = [_ids(group) for group in group_samples(samples)]
    assert groups == [["0", "3"], ["1"], ["2", "5"], ["4"]]


def test_a_group_holds_whatever_images_its_samples_have() -> None:
    samples = [
        Sample(str(number), "?", Path(f"{number}.png"), group=f"question {number % 3}")
        for number in range(9)
    ]
    assert [_ids(group) for group in group_samples(samples)] == [
        ["0", "3", "6"],
        ["1", "4", "7"],
        ["2", "5", "8"],
    ]
    assert _ids(limit_samples(samples, 4)) == ["0", "3", "6"]


@pytest.mark.parametrize("limit", [None, 20, 21])
def test_no_limit_takes_all(limit: int | None) -> None:
    samples = _samples(10, 2)
    assert limit_samples(samples, limit) == samples


def test_a_limit_takes_whole_images_from_all_over_the_data() -> None:
    taken = limit_samples(_samples(8, 2), 8)
    assert _ids(taken) == ["0-0", "2-0", "4-0", "6-0", "0-1", "2-1", "4-1", "6-1"]


def test_a_limit_is_never_exceeded_and_an_image_stays_whole() -> None:
    samples = _samples(9, 3)
    for limit in range(3, 27):
        taken = limit_samples(samples, limit)
        assert limit - 3 < len(taken) <= limit
        assert len(taken) == 3 * len(group_samples(taken))


def test_a_higher_limit_takes_what_a_lower_one_takes() -> None:
    samples = _samples(13, 3)
    taken = [set(_ids(limit_samples(samples, limit))) for limit in range(1, 40)]
    assert all(low <= high for low, high in pairwise(taken))


def test_a_limit_below_the_questions_of_one_image_cuts_it() -> None:
    assert _ids(limit_samples(_samples(4, 3), 2)) == ["0-0", "0-1"]
