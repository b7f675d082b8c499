"""ScienceQA, MMBench, MMBench-CN and SEED-Bench: questions with options."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from recipes.drawn_benchmarks import chinese
from recipes.drawn_benchmarks.files import (
    LETTER,
    LETTERS,
    items,
    question_line,
    write_image,
    write_json,
    write_lines,
)
from recipes.drawn_benchmarks.scenes import (
    PAGE_KINDS,
    SHAPE_KINDS,
    TEXT_KINDS,
    DrawnItem,
    draw_item,
)

_COLUMNS = (
    *("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image"),
    *("source", "l2-category", "comment", "split"),
)
_ROUND = 1_000_000  # between the indices of a question's circular rows

#: The question types of SEED-Bench; those from 10 on are about videos.
SEED_TYPES = {
    "Scene Understanding": 1,
    "Instance Identity": 2,
    "Instance Attributes": 3,
    "Instance Location": 4,
    "Instances Counting": 5,
    "Spatial Relation": 6,
    "Instance Interaction": 7,
    "Visual Reasoning": 8,
    "Text Understanding": 9,
    "Action Recognition": 10,
    "Action Prediction": 11,
    "Procedure Understanding": 12,
}
_SEED_KINDS = (
    *("background", "shape", "colour", "position", "count", "relation"),
    *("bar's colour", "tallest", "word", "stamp", "title", "count lines"),
)


def write_scienceqa(folder: Path, count: int, seed: int) -> None:
    """Write problems.json, pid_splits.json, images/test/ and LLaVA's test file.

    There are `count` test problems with an image, a quarter as many without one, and some of the
    other splits.
    """
    rng = np.random.default_rng((seed, 4))
    problems: dict[str, dict[str, Any]] = {}
    splits: dict[str, list[str]] = {name: [] for name in ("train", "val", "test")}
    kinds = (*SHAPE_KINDS, *PAGE_KINDS)
    for number, item in enumerate(islice(items(kinds, seed), count)):
        _add_problem(problems, splits, "test", item, rng, with_image=True)
        write_image(folder / "images" / "test" / str(len(problems)) / "image.png", item.image)
        if number % 4 == 0:
            _add_problem(problems, splits, "test", item, rng, with_image=False)
            _add_problem(problems, splits, "train", item, rng, with_image=False)
            _add_problem(problems, splits, "val", item, rng, with_image=False)
    minis = {"minitrain": "train", "minival": "val", "minitest": "test"}
    extra = {mini: splits[whole][:10] for mini, whole in minis.items()}
    both = splits["train"] + splits["val"]
    write_json(folder / "problems.json", problems)
    write_json(folder / "pid_splits.json", {**splits, "trainval": both, **extra})
    records = [_science_record(pid, problems[pid]) for pid in splits["test"]]
    write_json(folder / "llava_test_CQM-A.json", records)


def _add_problem(
    problems: dict[str, dict[str, Any]],
    splits: dict[str, list[str]],
    split: str,
    item: DrawnItem,
    rng: np.random.Generator,
    *,
    with_image: bool,
) -> None:
    pid = str(len(problems) + 1)
    question = item.questions[0]
    choices, answer = question.options(rng)
    hint = "Look at the image." if with_image and len(problems) % 3 == 0 else ""
    problems[pid] = {
        "question": question.text,
        "choices": list(choices),
        "answer": answer,
        "hint": hint,
        "image": "image.png" if with_image else None,
        "task": "closed choice",
        "grade": f"grade{int(rng.integers(1, 13))}",
        "subject": "natural science",
        "topic": "drawing",
        "category": question.kind,
        "skill": f"Answer about {question.kind}",
        "lecture": "",
        "solution": "",
        "split": split,
    }
    splits[split].append(pid)


def _science_record(pid: str, problem: dict[str, Any]) -> dict[str, Any]:
    choices = "\n".join(
        f"{letter}. {choice}" for letter, choice in zip(LETTERS, problem["choices"], strict=False)
    )
    hint = f"Context: {problem['hint']}\n" if problem["hint"] else ""
    image = {} if problem["image"] is None else {"image": f"{pid}/{problem['image']}"}
    turn = ("<image>\n" if image else "") + f"{hint}{problem['question']}\n{choices}"
    answer = LETTERS[problem["answer"]]
    conversations = [{"from": "human", "value": turn}, {"from": "gpt", "value": answer}]
    return {"id": pid, **image, "conversations": conversations}


def write_mmbench(folder: Path, count: int, seed: int) -> None:
    """Write mmbench_dev_20230712.tsv with about `count` rows, circular ones included."""
    kinds = (*SHAPE_KINDS, *PAGE_KINDS, *TEXT_KINDS)
    _write_tsv(folder / "mmbench_dev_20230712.tsv", _rows(count, kinds, seed, in_chinese=False))


def write_mmbench_cn(folder: Path, count: int, seed: int) -> None:
    """Write mmbench_dev_cn_20231003.tsv with about `count` rows, circular ones included."""
    kinds = tuple(chinese.QUESTIONS)
    _write_tsv(folder / "mmbench_dev_cn_20231003.tsv", _rows(count, kinds, seed, in_chinese=True))


def _rows(
    count: int, kinds: Sequence[str], seed: int, *, in_chinese: bool
) -> Iterator[dict[str, Any]]:
    """Return rows as MMBench has them: all questions once, then their options moved on by one."""
    rng = np.random.default_rng((seed, 5))
    rounds: list[list[dict[str, Any]]] = [[] for _ in LETTERS]
    for index, item in enumerate(items(kinds, seed)):
        if sum(map(len, rounds)) >= count:
            break
        question = item.questions[0]
        options, answer = question.options(rng)
        text, hint = question.text, "Look at the image."
        if in_chinese:
            text, hint = chinese.QUESTIONS[question.kind], chinese.HINT
            options = tuple(chinese.COLOURS.get(option, option) for option in options)
        row = {
            "question": text,
            "hint": hint if index % 3 == 0 else "",
            "category": question.kind.replace(" ", "_"),
            "image": _base64(item),
            "source": "drawn",
            "l2-category": "drawn_perception",
            "split": "dev",
        }
        for turn in range(len(options)):
            moved = dict(zip(LETTERS, (*options[turn:], *options[:turn]), strict=False))
            letter = LETTERS[(answer - turn) % len(options)]
            rounds[turn].append({**row, **moved, "index": index + turn * _ROUND, "answer": letter})
    return (row for rows in rounds for row in rows)


def _write_tsv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, delimiter="\t", restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _base64(item: DrawnItem) -> str:
    buffer = io.BytesIO()
    item.image.save(buffer, "JPEG", quality=95)
    return base64.b64encode(buffer.getvalue()).decode()


def write_seed_bench(folder: Path, count: int, seed: int) -> None:
    """Write SEED-Bench.json, images, frames that stand for videos, and LLaVA's question file."""
    rng = np.random.default_rng((seed, 6))
    records, lines = [], []
    for number in range(count):
        type_id = number % len(SEED_TYPES) + 1
        question, options, answer, item = _seed_question(
            _SEED_KINDS[type_id - 1], seed + number, rng
        )
        question_id = 100_000 + number
        if type_id < 10:
            data_id = f"{seed + number}_{question_id}"  # without a suffix, as CC3M's images are
            image, media = f"SEED-Bench-image/{data_id}", {"data_type": "image"}
        else:
            data_id = f"{number}.webm"
            image, media = (
                f"SEED-Bench-video-image/{type_id}_{question_id}.png",
                {"data_type": "video"},
            )
        write_image(folder / image, item.image)
        choices = {
            f"choice_{letter.lower()}": option
            for letter, option in zip(LETTERS, options, strict=True)
        }
        records.append(
            {
                "answer": LETTERS[answer],
                **choices,
                "data_id": data_id,
                **media,
                "question": question,
                "question_id": str(question_id),
                "question_type_id": type_id,
            }
        )
        listed = "\n".join(f"{a}. {b}" for a, b in zip(LETTERS, options, strict=True))
        lines.append(question_line(question_id, image, f"{question}\n{listed}\n{LETTER}", type_id))
    write_json(folder / "SEED-Bench.json", {"question_type": SEED_TYPES, "questions": records})
    write_lines(folder / "llava-seed-bench.jsonl", lines)


def _seed_question(
    kind: str, seed: int, rng: np.random.Generator
) -> tuple[str, tuple[str, ...], int, DrawnItem]:
    """Return a question with four options: SEED-Bench has no fewer."""
    item = draw_item(kind, seed)
    question = item.questions[0]
    options, answer = question.options(rng)
    if len(options) < len(LETTERS):
        options = (*options, "maybe", "cannot be known")[: len(LETTERS)]
    return question.text, options, answer, item
