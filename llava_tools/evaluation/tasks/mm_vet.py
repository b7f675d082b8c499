"""MM-Vet: a judge says how correct an answer is; questions need one or several capabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from llava_tools.evaluation.data_files.entries import Entry, read_lines
from llava_tools.evaluation.data_files.files import image_path, read_json
from llava_tools.evaluation.data_files.writing import writing
from llava_tools.evaluation.judging.judge_prompts import GRADING_PROGRAM, correctness_prompt
from llava_tools.evaluation.judging.reviews import (
    Attempt,
    ReviewFile,
    ReviewRequest,
    Reviews,
    judged_path,
)
from llava_tools.evaluation.task import (
    Answers,
    Judge,
    Progress,
    Sample,
    Score,
    Source,
    Task,
    read_error,
)

_TRUTHS, _QUESTIONS = "mm-vet.json", "llava-mm-vet.jsonl"
_ID_PREFIX = "v1_"
#: As LLaVA's llava/eval/model_vqa.py has it.
_MAX_TOKENS = 1024
#: The official 3 cut off scores that another tokenizer than GPT-4's splits into more tokens.
_JUDGE_MAX_TOKENS = 16
#: The official program's temperatures, after replies without a score.
_TEMPERATURES = (0.0, 0.0, 0.5, 1.0, 1.5)
_REMINDER = "\nWrite the correctness of this answer as a number: "
_NOTE = (
    f"The judge's prompt is this project's own: published figures need {GRADING_PROGRAM} of "
    "MM-Vet's repository in the data set's folder."
)
_MISSING_NOTE = "Missing reviews count as 0, as in the official program."


class MMVet(Task):
    """See `Task`."""

    name = "mm_vet"
    title = "MM-Vet"
    folder = "mm-vet"
    metric = "correctness, %"
    published = (31.1, 36.1)
    scored_by = "judge"
    source = Source(
        url="https://github.com/yuweihao/MM-Vet/releases/download/v1/mm-vet.zip",
        size="200 images, 218 questions",
        licence="CC BY-NC 4.0",
        files={
            _TRUTHS: "questions, true answers and capabilities",
            "images": "images",
            _QUESTIONS: "LLaVA's questions, of its eval.zip (optional)",
        },
        judge_files={
            GRADING_PROGRAM: "the judge's official prompt is in this program of "
            "https://github.com/yuweihao/MM-Vet, which is only read (optional)",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """See `Task.load`."""
        path = folder / _TRUTHS
        truths = read_json(path)
        if not isinstance(truths, dict) or not truths:
            raise read_error(path, "it is no JSON object with questions")
        entries = {key: _truth_entry(key, value, path) for key, value in truths.items()}
        prompt, official = correctness_prompt(folder)
        samples = []
        for key, question in _questions(folder, entries).items():
            entry = entries[key]
            capabilities = sorted(set(entry.texts("capability")))
            if not capabilities:
                raise entry.error("'capability' is empty")
            truth = {
                "question": entry.text("question"),
                "answer": entry.text("answer"),
                "capabilities": capabilities,
                "prompt": prompt,
                "official": official,
            }
            image = image_path(folder / "images", entry.text("imagename"))
            samples.append(Sample(key, question, image, truth, _MAX_TOKENS))
        return samples

    def write_submission(self, samples: Sequence[Sample], answers: Answers, folder: Path) -> Path:
        """Write the answers by question, as the official notebook and program take them."""
        path = folder / f"{self.name}.json"
        results = {sample.id: answers[sample.id] for sample in samples}
        path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        return path

    def judge(
        self,
        samples: Sequence[Sample],
        answers: Answers,
        folder: Path,
        judge: Judge,
        progress: Progress | None = None,
    ) -> Score | None:
        """See `Task.judge`; the official program's grades are written, too."""
        requests = [_request(sample, answers[sample.id]) for sample in samples]
        path = judged_path(folder, self.name, judge, "-reviews.jsonl")
        reviews = ReviewFile(path, parse_score, "score").complete(requests, judge, progress)
        _write_grades(judged_path(folder, self.name, judge, "-grade-1runs.json"), samples, reviews)
        notes = reviews.notes
        if reviews.missing:
            notes += (_MISSING_NOTE,)
        if not all(sample.truth["official"] for sample in samples):
            notes += (_NOTE,)
        scores = {sample.id: _score_of(reviews, sample.id) for sample in samples}
        capabilities = {sample.id: sample.truth["capabilities"] for sample in samples}
        return summarize(scores, capabilities, len(reviews.missing), notes)


def parse_score(review: str) -> float | None:
    """Return the number, 0 to 1, that a review begins with; None if there is none."""
    words = review.split()
    if not words:
        return None
    try:
        score = float(words[0])
    except ValueError:
        return None
    return score if 0 <= score <= 1 else None  # nor nan


def summarize(
    scores: Mapping[str, float],
    capabilities: Mapping[str, Sequence[str]],
    missing: int = 0,
    notes: tuple[str, ...] = (),
) -> Score:
    """Return the figure of scores, as MM-Vet's program computes it for one run.

    Args:
        scores: 0 to 1, by question; at least one.
        capabilities: What each question needs.
        missing: Number of answers without a review.
        notes: See `Score.notes`.

    Returns:
        The mean over all questions. Its parts are the means over those that need a capability, such
        as `ocr, %`, and over those that need exactly some, such as `integration math+ocr, %`.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for key, score in scores.items():
        needed = sorted(set(capabilities[key]))
        names = [f"{name}, %" for name in needed]
        for name in ("total", *names, f"integration {'+'.join(needed)}, %"):
            sums[name] = sums.get(name, 0.0) + score
            counts[name] = counts.get(name, 0) + 1
    means = {name: _rounded(sums[name] / counts[name] * 100) for name in sums}
    total = means.pop("total")
    by_kind = sorted(means, key=lambda name: (name.startswith("integration"), -counts[name], name))
    parts = {name: means[name] for name in by_kind}
    return Score(total, len(scores), {**parts, "missing reviews": missing}, notes)


def _rounded(value: float) -> float:
    """Return a value with one decimal, rounded as numpy does, which the official program uses.

    Python's `round` looks at the exact value of 0.15, which is below; numpy at ten times it.
    """
    return round(value * 10) / 10


def _truth_entry(key: str, value: object, path: Path) -> Entry:
    if not isinstance(value, dict):
        raise read_error(path, f"{key!r} is no JSON object")
    return Entry(value, path, key)


def _questions(folder: Path, entries: Mapping[str, Entry]) -> dict[str, str]:
    """Return the questions by id: of LLaVA's file if it is there."""
    path = folder / _QUESTIONS
    if not path.exists():
        return {key: entry.text("question") for key, entry in entries.items()}
    questions: dict[str, str] = {}
    for line in read_lines(path):
        key = f"{_ID_PREFIX}{line.identifier('question_id')}"
        if key not in entries:
            raise line.error(f"{_TRUTHS} has no {key!r}")
        if key in questions:
            raise line.error(f"{key!r} is there twice")
        questions[key] = line.text("text")
    return questions


def _request(sample: Sample, answer: str) -> ReviewRequest:
    truth = sample.truth
    true_answer = truth["answer"].replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    row = " | ".join((truth["question"], true_answer, answer, ""))
    prompt = f"{truth['prompt']}\n{row}"
    attempts = [
        Attempt(prompt + (_REMINDER if i else ""), "", _JUDGE_MAX_TOKENS, temperature)
        for i, temperature in enumerate(_TEMPERATURES)
    ]
    return ReviewRequest(sample.id, attempts, {"question_id": sample.id})


def _score_of(reviews: Reviews, key: str) -> float:
    return float(reviews.lines[key]["score"]) if key in reviews.lines else 0.0


def _write_grades(path: Path, samples: Sequence[Sample], reviews: Reviews) -> None:
    """Write the file that the official program keeps its grades in, and reads them from."""
    grades = {
        sample.id: {
            "model": [reviews.lines.get(sample.id, {}).get("judge", "")],
            "content": [reviews.lines.get(sample.id, {}).get("content", "")],
            "score": [_score_of(reviews, sample.id)],
        }
        for sample in samples
    }
    with writing(path):
        path.write_text(json.dumps(grades, indent=4) + "\n", encoding="utf-8")
