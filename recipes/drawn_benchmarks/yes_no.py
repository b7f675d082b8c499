"""POPE and MME: questions whose answer is yes or no."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from recipes.drawn_benchmarks.files import (
    SHORT,
    items,
    question_line,
    write_image,
    write_lines,
)
from recipes.drawn_benchmarks.scenes import DrawnItem, absent_pair, draw_item, existence_question
from recipes.tiny_llava.things import SHAPES

POPE_SPLITS = ("random", "popular", "adversarial")
_POPE_QUESTIONS = 6  # of an image, half of them about what is there


def write_pope(folder: Path, count: int, seed: int) -> None:
    """Write the three splits: coco/coco_pope_*.json, val2014/ and LLaVA's question file.

    Absent things are random ones, those that the data set has most often, and those that have the
    shape or the colour of one that is there.
    """
    drawn: list[tuple[str, DrawnItem, set[tuple[str, str]]]] = []
    for number, item in enumerate(items(("exist", "colour", "count"), seed)):
        if number * _POPE_QUESTIONS * len(POPE_SPLITS) >= count:
            break
        name = f"COCO_val2014_{seed + number:012}.jpg"
        write_image(folder / "val2014" / name, item.image)
        drawn.append((name, item, {(o.colour, o.shape) for o in item.objects}))
    frequency = Counter(pair for _, _, pairs in drawn for pair in pairs)
    questions: list[dict[str, Any]] = []
    for split in POPE_SPLITS:
        rng = np.random.default_rng((seed, POPE_SPLITS.index(split)))
        lines: list[dict[str, Any]] = []
        for name, _, pairs in drawn:
            for turn in range(_POPE_QUESTIONS):
                there = turn % 2 == 0
                pair = (
                    sorted(pairs)[turn // 2 % len(pairs)]
                    if there
                    else _absent(split, pairs, frequency, rng)
                )
                question = existence_question(*pair, there=there)
                lines.append(
                    {
                        "question_id": len(lines) + 1,
                        "image": name,
                        "text": question.text,
                        "label": question.answer,
                    }
                )
        write_lines(folder / "coco" / f"coco_pope_{split}.json", lines)
        for line in lines:
            text = f"{line['text']}\n{SHORT}"
            questions.append(question_line(len(questions), line["image"], text, split))
    write_lines(folder / "llava_pope_test.jsonl", questions)


def _absent(
    split: str,
    pairs: set[tuple[str, str]],
    frequency: Counter[tuple[str, str]],
    rng: np.random.Generator,
) -> tuple[str, str]:
    if split == "random":
        return absent_pair(pairs, rng)
    if split == "popular":
        popular = [pair for pair, _ in frequency.most_common() if pair not in pairs][:6]
        return popular[int(rng.integers(len(popular)))] if popular else absent_pair(pairs, rng)
    while True:  # few pairs share nothing with the image, so this ends soon
        pair = absent_pair(pairs, rng)
        if any(pair[0] == colour or pair[1] == shape for colour, shape in pairs):
            return pair


Statement = Callable[[DrawnItem, np.random.Generator], tuple[str, str] | None]
"""The questions with the answers yes and no, or None where an image leaves none."""


def _exists(item: DrawnItem, rng: np.random.Generator) -> tuple[str, str] | None:
    shapes = {drawn.shape for drawn in item.objects}
    absent = sorted(set(SHAPES) - shapes)
    if not absent:
        return None
    there, missing = sorted(shapes)[0], absent[int(rng.integers(len(absent)))]
    return f"Is there a {there} in this image?", f"Is there a {missing} in this image?"


def _counts(item: DrawnItem, rng: np.random.Generator) -> tuple[str, str]:
    number = len(item.objects)
    other = number + int(rng.integers(1, 3))
    template = "Are there a total of {} shapes in this image?"
    return template.format(number), template.format(other)


def _stands_left(item: DrawnItem, rng: np.random.Generator) -> tuple[str, str] | None:
    counts = Counter(drawn.shape for drawn in item.objects)
    single = sorted(
        (drawn for drawn in item.objects if counts[drawn.shape] == 1), key=lambda d: d.box[0]
    )
    for left, right in pairwise(single):
        if left.box[2] < right.box[0]:
            template = "Is the {} on the left side of the {}?"
            return (
                template.format(left.shape, right.shape),
                template.format(right.shape, left.shape),
            )
    return None


def _has_colour(item: DrawnItem, rng: np.random.Generator) -> tuple[str, str]:
    pairs = {(drawn.colour, drawn.shape) for drawn in item.objects}
    return (
        existence_question(*sorted(pairs)[0], there=True).text,
        existence_question(*absent_pair(pairs, rng), there=False).text,
    )


def _answers(item: DrawnItem, rng: np.random.Generator) -> tuple[str, str]:
    question = item.questions[0]
    text = question.text.rstrip("?. ")
    return f"{text}? Is it {question.answer}?", f"{text}? Is it {question.wrong[0]}?"


#: Category: the kind of its images, its questions, and whether these are in a folder apart.
MME_CATEGORIES: dict[str, tuple[str, Statement, bool]] = {
    "existence": ("exist", _exists, False),
    "count": ("count", _counts, False),
    "position": ("relation", _stands_left, False),
    "color": ("colour", _has_colour, False),
    "posters": ("title", _answers, True),
    "celebrity": ("bar's colour", _answers, True),
    "scene": ("background", _answers, True),
    "landmark": ("stamp", _answers, True),
    "artwork": ("shape", _answers, True),
    "OCR": ("word", _answers, False),
    "commonsense_reasoning": ("tallest", _answers, False),
    "numerical_calculation": ("total", _answers, False),
    "text_translation": ("letters", _answers, False),
    "code_reasoning": ("count lines", _answers, False),
}


def write_mme(folder: Path, count: int, seed: int) -> None:
    """Write MME_Benchmark_release_version/ with both of its layouts, and LLaVA's question file.

    Each category has one image at least, so that `count` is exceeded below 28.
    """
    release = folder / "MME_Benchmark_release_version"
    images = _shares(max(count // 2, len(MME_CATEGORIES)), MME_CATEGORIES)
    questions = []
    for category, (kind, statement, apart) in MME_CATEGORIES.items():
        rng = np.random.default_rng((seed, len(category)))
        image_folder = f"{category}/images" if apart else category
        text_folder = f"{category}/questions_answers_YN" if apart else category
        attempt = seed
        for number in range(images[category]):
            pair = None
            while pair is None:
                item = draw_item(kind, attempt)
                pair, attempt = statement(item, rng), attempt + 1
            suffix = "jpg" if number % 2 == 0 else "png"
            name = f"{image_folder}/{number:04}.{suffix}"
            write_image(release / name, item.image)
            lines = [
                f"{text} Please answer yes or no.\t{answer}"
                for text, answer in zip(pair, ("Yes", "No"), strict=True)
            ]
            path = release / text_folder / f"{number:04}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            for text in pair:
                questions.append(question_line(name, name, f"{text}\n{SHORT}", category))
    write_lines(folder / "llava_mme.jsonl", questions)


def _shares(total: int, names: Collection[str]) -> dict[str, int]:
    """Divide a number as evenly as possible."""
    rest = total % len(names)
    return {name: total // len(names) + (place < rest) for place, name in enumerate(names)}
