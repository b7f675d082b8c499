"""LLaVA-Bench (in the wild) and MM-Vet: free answers, which a language model judges."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from recipes.drawn_benchmarks.files import (
    items,
    question_line,
    write_image,
    write_json,
    write_lines,
)
from recipes.drawn_benchmarks.scenes import DrawnItem, draw_item

_CATEGORIES = ("conv", "detail", "complex")
_CAPABILITIES = {
    "colour": ["rec"],
    "position": ["rec", "spat"],
    "count": ["rec", "math"],
    "word": ["ocr"],
    "total": ["ocr", "math"],
    "title": ["ocr", "gen"],
    "tallest": ["rec", "know", "gen"],
}


def write_llava_bench(folder: Path, count: int, seed: int) -> None:
    """Write questions.jsonl, context.jsonl, answers_gpt4.jsonl and images/.

    An image has a question of each of the three categories.
    """
    questions: list[dict[str, Any]] = []
    contexts, answers = [], []
    number = 0
    while len(questions) < count:
        item = draw_item("count", seed + number)
        name = f"{number + 1:03}.jpg"
        write_image(folder / "images" / name, item.image)
        caption = _describe(item)
        contexts.append({"id": name[:3], "image": name, "caption": caption})
        replies = (item.questions[1].answer, caption, f"There are {item.questions[0].answer}.")
        texts = (
            item.questions[1].text,
            "Describe the image in detail.",
            "Explain how many shapes there are, and how you know.",
        )
        for category, text, reply in zip(_CATEGORIES, texts, replies, strict=True):
            question_id = len(questions)
            questions.append(question_line(question_id, name, text, category))
            answers.append(
                {
                    "question_id": question_id,
                    "prompt": text,
                    "answer_id": f"reference{question_id}",
                    "model_id": "gpt-4",
                    "text": reply,
                    "metadata": {},
                }
            )
        number += 1
    write_lines(folder / "questions.jsonl", questions[:count])
    write_lines(folder / "context.jsonl", contexts)
    write_lines(folder / "answers_gpt4.jsonl", answers[:count])


def write_mm_vet(folder: Path, count: int, seed: int) -> None:
    """Write mm-vet.json, images/ and LLaVA's question file."""
    questions, lines = {}, []
    kinds = tuple(_CAPABILITIES)
    for number, item in enumerate(islice(items(kinds, seed), count)):
        name, question = f"v1_{number}", item.questions[0]
        write_image(folder / "images" / f"{name}.png", item.image)
        answer = question.answer
        if number % 5 == 4:  # several right answers
            answer = f"{question.answer}<OR>{question.answer.upper()}"
        questions[name] = {
            "imagename": f"{name}.png",
            "question": question.text,
            "answer": answer,
            "imagesource": "drawn",
            "capability": _CAPABILITIES[kinds[number % len(kinds)]],
        }
        lines.append(question_line(number, f"{name}.png", question.text, "default"))
    write_json(folder / "mm-vet.json", questions)
    write_lines(folder / "llava-mm-vet.jsonl", lines)


def _describe(item: DrawnItem) -> str:
    shapes = [f"a {drawn.colour} {drawn.shape}" for drawn in item.objects]
    return f"The image shows {', '.join(shapes)}."
