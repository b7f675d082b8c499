"""SEED-Bench: questions with four choices about images, and about the middle frames of videos.

The rule is that of LLaVA's `scripts/convert_seed_for_submission.py`: an answer is right if it is
the letter and nothing else. SEED-Bench uses one question id twice; as there, the later answer is
taken for both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from llava_tools.evaluation.data_files.entries import Entry, read_lines, read_list
from llava_tools.evaluation.data_files.files import image_path, read_json
from llava_tools.evaluation.rules.arithmetic import ratio
from llava_tools.evaluation.rules.choices import LETTER_ANSWER, list_options
from llava_tools.evaluation.task import Answers, Sample, Score, Source, Task, read_error

_ANNOTATIONS = "SEED-Bench.json"
_QUESTIONS = "llava-seed-bench.jsonl"
_CHOICES = ("choice_a", "choice_b", "choice_c", "choice_d")


class SeedBench(Task):
    """SEED-Bench, its first version."""

    name = "seed_bench"
    title = "SEED-Bench"
    folder = "seed_bench"
    metric = "accuracy, %"
    published = (58.6, 61.6)
    scored_by = "rule"
    source = Source(
        url="https://huggingface.co/datasets/AILab-CVC/SEED-Bench, "
        "https://github.com/AILab-CVC/SEED-Bench/blob/main/DATASET.md",
        size="1.7 GB of images; videos: see the pages",
        licence="CC BY-NC 4.0; images and videos: see the pages",
        files={
            _ANNOTATIONS: "questions",
            "SEED-Bench-image/": "the images",
            "SEED-Bench-video-image/": "the middle frame of each video, such as 10_v1738.png: "
            "question type and question id",
            _QUESTIONS: "LLaVA's questions, of its eval.zip (optional)",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read all questions; images and words are those of LLaVA's file if it is there.

        Raises:
            RequestError: A file or an image is missing, or something in it is foreign.
        """
        path = folder / _ANNOTATIONS
        kinds = _read_kinds(path)
        questions = _number(read_list(path, "questions"))
        lines = {}
        if (llava := folder / _QUESTIONS).is_file():
            lines = _number(read_lines(llava))
            if missing := [name for name in questions if name not in lines]:
                raise read_error(llava, f"it has no question {missing[0]!r} of {_ANNOTATIONS}")
        return [
            _sample(folder, name, question, lines.get(name), kinds)
            for name, question in questions.items()
        ]

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score:
        """Return the accuracy; 0 without samples."""
        latest = _answers_by_question(samples, answers)
        right: dict[str, list[bool]] = {}
        for sample in samples:
            truth = sample.truth
            is_right = latest[truth["question_id"]] == truth["answer"]
            for part in ("all", truth["media"], truth["kind"]):
                right.setdefault(part, []).append(is_right)
        figures = {part: ratio(sum(r), len(r)) * 100 for part, r in right.items()}
        parts = {f"{part}, %": figure for part, figure in figures.items() if part != "all"}
        return Score(figures.get("all", 0.0), len(samples), parts)

    def write_submission(self, samples: Sequence[Sample], answers: Answers, folder: Path) -> Path:
        """Write the lines that the leaderboard takes."""
        latest = _answers_by_question(samples, answers)
        path = folder / f"{self.name}.jsonl"
        names = [sample.truth["question_id"] for sample in samples]
        lines = (json.dumps({"question_id": n, "prediction": latest[n]}) + "\n" for n in names)
        path.write_text("".join(lines), encoding="utf-8")
        return path


def _answers_by_question(samples: Iterable[Sample], answers: Answers) -> dict[str, str]:
    return {sample.truth["question_id"]: answers[sample.id] for sample in samples}


def _read_kinds(path: Path) -> dict[int, str]:
    """Return the names of the question types by number."""
    value = read_json(path)
    kinds = value.get("question_type") if isinstance(value, dict) else None
    if not isinstance(kinds, dict) or not all(isinstance(kind, int) for kind in kinds.values()):
        raise read_error(path, "'question_type' is no object of names and numbers")
    return {number: name for name, number in kinds.items()}


def _number(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return entries by question id; where it occurs again, `#2` follows."""
    times: Counter[str] = Counter()
    numbered = {}
    for entry in entries:
        name = str(entry.identifier("question_id"))
        times[name] += 1
        numbered[name if times[name] == 1 else f"{name}#{times[name]}"] = entry
    return numbered


def _sample(
    folder: Path, name: str, question: Entry, line: Entry | None, kinds: dict[int, str]
) -> Sample:
    kind, media = question.number("question_type_id"), question.text("data_type")
    if kind not in kinds:
        raise question.error(f"'question_type' has no type {kind}")
    if media not in ("image", "video"):
        raise question.error(f"'data_type' {media!r} is neither image nor video")
    question_id = str(question.identifier("question_id"))
    if line is not None:
        text, image = line.text("text"), line.text("image")
    else:
        options = list_options([question.text(choice) for choice in _CHOICES])
        text = f"{question.text('question')}\n{options}\n{LETTER_ANSWER}"
        frame = f"SEED-Bench-video-image/{kind}_{question_id}.png"
        image = frame if media == "video" else f"SEED-Bench-image/{question.text('data_id')}"
    return Sample(
        id=name,
        question=text,
        image=image_path(folder, image),
        truth={
            "question_id": question_id,
            "answer": question.text("answer"),
            "media": media,
            "kind": kinds[kind],
        },
    )
