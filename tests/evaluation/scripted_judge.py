"""Small data sets of the judged benchmarks, and a judge whose replies a test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from llava_tools.errors import ServerError

CATEGORIES = ("conv", "detail", "complex")


class ScriptedJudge:
    """A judge that replies with what a function returns for a prompt.

    Attributes:
        prompts: Every prompt so far, with the keyword arguments.
        fails_after: Number of replies after which it cannot be reached; None for never.
    """

    def __init__(
        self, script: Callable[[str], str], model: str = "gpt-4", at_once: int = 1
    ) -> None:
        self.model = model
        self.max_concurrent_requests = at_once
        self.prompts: list[tuple[str, dict[str, Any]]] = []
        self.fails_after: int | None = None
        self._script = script
        self._lock = threading.Lock()

    def reply(self, prompt: str, **options: Any) -> str:
        with self._lock:
            if self.fails_after is not None and len(self.prompts) >= self.fails_after:
                raise ServerError("The judge cannot be reached.", "Try again.")
            self.prompts.append((prompt, options))
        return self._script(prompt)


def write_lines(path: Path, values: Iterable[object]) -> None:
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")


def write_llava_bench(folder: Path, count: int = 6) -> Path:
    """Write a data set with `count` questions about half as many images."""
    (folder / "images").mkdir(parents=True)
    names = [f"{number:03}.jpg" for number in range((count + 1) // 2)]
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / "images" / name)
    write_lines(
        folder / "questions.jsonl",
        (
            {
                "question_id": number,
                "image": names[number // 2],
                "category": CATEGORIES[number % 3],
                "text": f"What is in part {number}?",
            }
            for number in range(count)
        ),
    )
    write_lines(
        folder / "context.jsonl",
        ({"id": name[:3], "image": name, "caption": f"A caption of {name}."} for name in names),
    )
    write_lines(
        folder / "answers_gpt4.jsonl",
        (
            {"question_id": number, "text": f"Reference {number}.", "answer_id": f"ref{number}"}
            for number in range(count)
        ),
    )
    return folder


def write_mm_vet(folder: Path) -> Path:
    """Write a data set with four questions: two about text, one of these with arithmetic."""
    (folder / "images").mkdir(parents=True)
    capabilities = [["ocr", "math"], ["ocr"], ["rec"], ["rec", "know"]]
    truths = {
        f"v1_{number}": {
            "imagename": f"v1_{number}.png",
            "question": f"What is {number}?",
            "answer": "one<AND>two<OR>three",
            "imagesource": "drawn",
            "capability": needed,
        }
        for number, needed in enumerate(capabilities)
    }
    for name in truths:
        Image.new("RGB", (8, 8)).save(folder / "images" / f"{name}.png")
    (folder / "mm-vet.json").write_text(json.dumps(truths), encoding="utf-8")
    return folder
