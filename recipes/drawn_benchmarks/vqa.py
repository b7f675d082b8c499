"""VQAv2, GQA, VizWiz and TextVQA: open questions with short answers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from recipes.drawn_benchmarks.files import (
    SHORT,
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
    DrawnQuestion,
    draw_item,
)

_ANNOTATORS = 10
_QUESTIONS_PER_IMAGE = 5
_NUMBER_WORDS = {"0": "none", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five"}
_UNANSWERABLE = "When the provided information is insufficient, respond with 'Unanswerable'."

_Drawn = tuple[int, DrawnItem, DrawnQuestion]


def write_vqav2(folder: Path, count: int, seed: int) -> None:
    """Write the validation split with ten annotators, and the test-dev split without answers.

    The test-dev split is LLaVA's question file, beside that of the whole test split.
    """
    rng = np.random.default_rng((seed, 1))
    drawn = _several(("count", "colour", "exist", *PAGE_KINDS[:3]), count, seed)
    questions, annotations = [], []
    for turn, (image_id, item, question) in enumerate(drawn):
        write_image(folder / "val2014" / f"COCO_val2014_{image_id:012}.jpg", item.image)
        key = {"image_id": image_id, "question_id": image_id * 1000 + turn % 1000}
        questions.append({**key, "question": question.text})
        answers = _annotators(question, rng)
        annotations.append(
            {
                **key,
                "question_type": " ".join(question.text.split()[:2]).lower(),
                "multiple_choice_answer": question.answer,
                "answers": [
                    {"answer": answer, "answer_confidence": "yes", "answer_id": place}
                    for place, answer in enumerate(answers, 1)
                ],
                "answer_type": _answer_type(question.answer),
            }
        )
    common: dict[str, Any] = {
        "info": {"description": "Drawn questions in the format of VQA v2.0.", "version": "2.0"},
        "data_type": "mscoco",
        "license": {"name": "none", "url": ""},
    }
    write_json(
        folder / "v2_OpenEnded_mscoco_val2014_questions.json",
        {
            **common,
            "task_type": "Open-Ended",
            "data_subtype": "val2014",
            "questions": questions,
        },
    )
    write_json(
        folder / "v2_mscoco_val2014_annotations.json",
        {**common, "data_subtype": "val2014", "annotations": annotations},
    )
    lines = []
    tests = _several(("shape", "count", "total"), count + count // 2, seed + 500_000)
    for turn, (image_id, item, question) in enumerate(tests):
        name = f"COCO_test2015_{image_id:012}.jpg"
        write_image(folder / "test2015" / name, item.image)
        text = f"{question.text}\n{SHORT}"
        lines.append(question_line(image_id * 1000 + turn % 1000, name, text, "default"))
    write_lines(folder / "llava_vqav2_mscoco_test-dev2015.jsonl", lines[:count])
    write_lines(folder / "llava_vqav2_mscoco_test2015.jsonl", lines)


def write_gqa(folder: Path, count: int, seed: int) -> None:
    """Write testdev_balanced: data/testdev_balanced_questions.json, data/images/, LLaVA's lines."""
    questions, lines = {}, []
    for turn, (image_id, item, question) in enumerate(_several(SHAPE_KINDS, count, seed)):
        image, name = f"n{image_id}", f"20{image_id:06}{turn:03}"
        write_image(folder / "data" / "images" / f"{image}.jpg", item.image)
        binary = question.answer in ("yes", "no")
        questions[name] = {
            "semantic": [{"operation": "select", "dependencies": [], "argument": question.kind}],
            "entailed": [],
            "equivalent": [name],
            "question": question.text,
            "imageId": image,
            "isBalanced": True,
            "groups": {"global": None, "local": None},
            "answer": question.answer,
            "semanticStr": f"select: {question.kind}",
            "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
            "types": {
                "detailed": "exist" if binary else "query",
                "semantic": "obj" if binary else "attr",
                "structural": "verify" if binary else "query",
            },
            "fullAnswer": f"The answer is {question.answer}.",
        }
        lines.append(question_line(name, f"{image}.jpg", f"{question.text}\n{SHORT}", "default"))
    write_json(folder / "data" / "testdev_balanced_questions.json", questions)
    write_lines(folder / "llava_gqa_testdev_balanced.jsonl", lines)


def write_vizwiz(folder: Path, count: int, seed: int) -> None:
    """Write val.json with its answers, and test.json without, with images and LLaVA's lines.

    Every third question is about something that the image does not show.
    """
    write_json(folder / "val.json", _vizwiz_split(folder, "val", count, seed, answered=True))
    tests = _vizwiz_split(folder, "test", count, seed + 500_000, answered=False)
    write_json(folder / "test.json", tests)
    lines = [
        question_line(
            record["image"],
            record["image"],
            f"{record['question']}\n{_UNANSWERABLE}\n{SHORT}",
            "default",
        )
        for record in tests
    ]
    write_lines(folder / "llava_test.jsonl", lines)


def _vizwiz_split(
    folder: Path, split: str, count: int, seed: int, *, answered: bool
) -> list[dict[str, Any]]:
    rng = np.random.default_rng((seed, 2))
    kinds = ("word", "colour", "total", "number", "background")
    records: list[dict[str, Any]] = []
    for number, item in enumerate(islice(items(kinds, seed), count)):
        name = f"VizWiz_{split}_{number:08}.jpg"
        write_image(folder / split / name, item.image)
        question, answerable = item.questions[0], number % 3 != 2
        text = question.text
        answers = [answer.lower() for answer in _annotators(question, rng)]  # as published ones
        if not answerable:
            text = "what is the brand of this camera"
            answers = ["unanswerable"] * 8 + ["canon", "unsuitable image"]
        record: dict[str, Any] = {"image": name, "question": text}
        if answered:
            record |= {
                "answers": [
                    {"answer_confidence": "yes" if place < 8 else "maybe", "answer": answer}
                    for place, answer in enumerate(answers)
                ],
                "answer_type": _answer_type(question.answer) if answerable else "unanswerable",
                "answerable": int(answerable),
            }
        records.append(record)
    return records


def write_textvqa(folder: Path, count: int, seed: int) -> None:
    """Write TextVQA_0.5.1_val.json, the OCR tokens of Rosetta's file, images and LLaVA's lines."""
    rng = np.random.default_rng((seed, 3))
    data, tokens_of_images, lines = [], [], []
    for number, item in enumerate(islice(items(TEXT_KINDS, seed), count)):
        image, question = f"{seed + number:016x}", item.questions[0]
        write_image(folder / "train_images" / f"{image}.jpg", item.image)
        tokens = _tokens(question, rng)
        width, height = item.image.size
        data.append(
            {
                "question": question.text,
                "image_id": image,
                "image_classes": ["Text"],
                "flickr_original_url": "",
                "flickr_300k_url": "",
                "image_width": width,
                "image_height": height,
                "answers": _annotators(question, rng),
                "question_tokens": question.text.lower().split(),
                "question_id": 34602 + number,
                "set_name": "val",
            }
        )
        boxes = [
            {
                "word": token,
                "bounding_box": {
                    **{"width": 0.5, "height": 0.1, "rotation": 0.0, "roll": 0, "pitch": 0},
                    **{"yaw": 0, "top_left_x": 0.2, "top_left_y": 0.2},
                },
            }
            for token in tokens
        ]
        tokens_of_images.append({"image_id": image, "ocr_tokens": tokens, "ocr_info": boxes})
        large = question.text.capitalize()  # as LLaVA's file has it
        text = f"{large}\nReference OCR token: {', '.join(tokens)}\n{SHORT}"
        lines.append(question_line(image, f"{image}.jpg", text, "default"))
    common = {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    write_json(folder / "TextVQA_0.5.1_val.json", {**common, "data": data})
    ocr = {**common, "dataset_version": "0.2", "data": tokens_of_images}
    write_json(folder / "TextVQA_Rosetta_OCR_v0.2_val.json", ocr)
    write_lines(folder / "llava_textvqa_val_v051_ocr.jsonl", lines)


def _several(kinds: tuple[str, ...], count: int, seed: int) -> list[_Drawn]:
    """Return questions, several to an image where its shapes answer them."""
    drawn: list[_Drawn] = []
    number = 0
    while len(drawn) < count:
        item = draw_item(kinds[number % len(kinds)], seed + number)
        drawn += [(seed + number + 1, item, q) for q in item.questions[:_QUESTIONS_PER_IMAGE]]
        number += 1
    return drawn[:count]


def _annotators(question: DrawnQuestion, rng: np.random.Generator) -> list[str]:
    """Return ten answers: most are the right one, some are written otherwise or wrong."""
    answers = [question.answer] * _ANNOTATORS
    for _ in range(int(rng.integers(3))):
        answers[int(rng.integers(_ANNOTATORS))] = question.wrong[0]
    if question.answer in _NUMBER_WORDS:
        answers[0] = _NUMBER_WORDS[question.answer]
    return answers


def _answer_type(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdigit() else "other"


def _tokens(question: DrawnQuestion, rng: np.random.Generator) -> list[str]:
    """Return what an OCR engine reads: the text of the image and, at times, something wrong."""
    tokens = question.answer.split()
    if rng.random() < 0.3:
        tokens.append(question.wrong[0])
    return tokens if rng.random() < 0.9 else []
