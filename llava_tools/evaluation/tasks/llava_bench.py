"""LLaVA-Bench (in the wild): a judge compares long answers with those of a text-only GPT-4.

The reference answers were written from a description of the image, and the judge reads that
description, never the image. The figure is the mean score of the answers as a share of that of the
reference answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llava_tools.evaluation.data_files.entries import Entry, by_identifier, read_lines
from llava_tools.evaluation.data_files.files import image_path
from llava_tools.evaluation.judging.judge_prompts import (
    REVIEW_PROGRAM,
    RULE_FILE,
    ComparisonRule,
    comparison_rules,
)
from llava_tools.evaluation.judging.reviews import Attempt, ReviewFile, ReviewRequest, judged_path
from llava_tools.evaluation.rules.arithmetic import add_in_order
from llava_tools.evaluation.task import (
    Answers,
    Judge,
    Progress,
    Sample,
    Score,
    Source,
    Task,
)

_QUESTIONS, _CONTEXTS, _REFERENCES = "questions.jsonl", "context.jsonl", "answers_gpt4.jsonl"
#: As LLaVA's llava/eval/model_vqa.py and eval_gpt_review_bench.py have them.
_MAX_TOKENS = 1024
_JUDGE_MAX_TOKENS, _JUDGE_TEMPERATURE = 1024, 0.2
#: How often a review is requested until its scores can be read.
_ATTEMPTS = 3
_BEST_SCORE = 10.0
_NOTE = (
    f"The judge's prompt is this project's own: published figures need {RULE_FILE} and "
    f"{REVIEW_PROGRAM} of LLaVA's repository in the data set's folder."
)


class LlavaBench(Task):
    """See `Task`."""

    name = "llava_bench"
    title = "LLaVA-Bench (in the wild)"
    folder = "llava-bench-in-the-wild"
    metric = "score relative to the reference answers, %"
    published = (65.4, 72.5)
    scored_by = "judge"
    source = Source(
        url="https://huggingface.co/datasets/liuhaotian/llava-bench-in-the-wild",
        size="24 images, 60 questions",
        licence="see its page",
        files={
            _QUESTIONS: "questions",
            _CONTEXTS: "descriptions of the images",
            _REFERENCES: "reference answers",
            "images": "images",
        },
        judge_files={
            RULE_FILE: "the judge's official task: llava/eval/table/rule.json of "
            "https://github.com/haotian-liu/LLaVA (optional)",
            REVIEW_PROGRAM: "its official system message, in llava/eval/eval_gpt_review_bench.py "
            "of the same, which is only read (optional)",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """See `Task.load`."""
        captions = {entry.text("image"): entry for entry in read_lines(folder / _CONTEXTS)}
        references = by_identifier(read_lines(folder / _REFERENCES), "question_id")
        questions = by_identifier(read_lines(folder / _QUESTIONS), "question_id")
        rules = comparison_rules(folder, {_category(entry) for entry in questions.values()})
        samples = []
        for key, entry in questions.items():
            image = entry.text("image")
            if key not in references:
                raise entry.error(f"{_REFERENCES} has no answer to question {key!r}")
            if image not in captions:
                raise entry.error(f"{_CONTEXTS} has no caption of {image!r}")
            reference = references[key]
            truth = {
                "question_id": key,
                "category": _category(entry),
                "context": _caption(captions[image]),
                "reference": reference.text("text"),
                "reference_id": reference.values.get("answer_id", key),
                "rule": rules[_category(entry)],
            }
            image_file = image_path(folder / "images", image)
            samples.append(Sample(str(key), entry.text("text"), image_file, truth, _MAX_TOKENS))
        return samples

    def write_submission(self, samples: Sequence[Sample], answers: Answers, folder: Path) -> Path:
        """Write the answers as LLaVA's model_vqa.py does, for its eval_gpt_review_bench.py."""
        path = folder / f"{self.name}.jsonl"
        lines = [
            {
                "question_id": sample.truth["question_id"],
                "prompt": sample.question,
                "text": answers[sample.id],
                "answer_id": _answer_id(sample, answers[sample.id]),
                "model_id": "llava-tools",
                "metadata": {},
            }
            for sample in samples
        ]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        return path

    def judge(
        self,
        samples: Sequence[Sample],
        answers: Answers,
        folder: Path,
        judge: Judge,
        progress: Progress | None = None,
    ) -> Score | None:
        """See `Task.judge`; the reviews are those of LLaVA's eval_gpt_review_bench.py."""
        requests = [
            _request(number, sample, answers[sample.id])
            for number, sample in enumerate(samples, start=1)
        ]
        path = judged_path(folder, self.name, judge, "-reviews.jsonl")
        reviews = ReviewFile(path, parse_scores, "tuple").complete(requests, judge, progress)
        if not reviews.lines:
            return None
        official = all(sample.truth["rule"].official for sample in samples)
        notes = reviews.notes if official else (*reviews.notes, _NOTE)
        return summarize(list(reviews.lines.values()), len(reviews.missing), notes)


def parse_scores(review: str) -> list[float] | None:
    """Return the scores of the reference and of the answer on a review's first line.

    They may be separated by commas. None unless there are two: the reference's, by which the
    answer's is divided, from 1 to 10, and the answer's from 0 to 10.
    """
    words = review.split("\n")[0].replace(",", " ").split()
    if len(words) != 2:
        return None
    try:
        reference, answer = map(float, words)
    except ValueError:
        return None
    if not (1 <= reference <= _BEST_SCORE and 0 <= answer <= _BEST_SCORE):  # nor nan
        return None
    return [reference, answer]


def summarize(
    reviews: Sequence[Mapping[str, Any]], missing: int = 0, notes: tuple[str, ...] = ()
) -> Score:
    """Return the figure of reviews, as LLaVA's summarize_gpt_review.py computes it.

    Args:
        reviews: Lines of the official review file, with `tuple` and `category`; at least one.
        missing: Number of answers without a review, which do not count.
        notes: See `Score.notes`.
    """
    groups: dict[str, list[Sequence[float]]] = {"all": []}
    for review in reviews:
        groups["all"].append(review["tuple"])
        groups.setdefault(str(review["category"]), []).append(review["tuple"])
    parts: dict[str, float] = {}
    for category, tuples in sorted(groups.items()):
        sums = [add_in_order(column) for column in zip(*tuples, strict=True)]
        # Means are rounded before they are divided.
        reference, answer = (round(total / len(tuples), 3) for total in sums)
        short = category.removeprefix("llava_bench_")
        parts[f"{short}, %"] = round(answer / reference * 100, 1)
        parts[f"{short}, reference's mean score x 10"] = round(reference * 10, 1)
        parts[f"{short}, mean score x 10"] = round(answer * 10, 1)
    value = parts.pop("all, %")
    return Score(value, len(reviews), {**parts, "missing reviews": missing}, notes)


def _request(number: int, sample: Sample, answer: str) -> ReviewRequest:
    truth = sample.truth
    rule: ComparisonRule = truth["rule"]
    sections = {
        "Context": truth["context"],
        "Question": sample.question,
        f"{rule.role} 1": f"{truth['reference']}\n\n[End of {rule.role} 1]",
        f"{rule.role} 2": f"{answer}\n\n[End of {rule.role} 2]",
        "System": rule.prompt,
    }
    prompt = "".join(f"[{title}]\n{text}\n\n" for title, text in sections.items())
    attempt = Attempt(prompt, rule.system, _JUDGE_MAX_TOKENS, _JUDGE_TEMPERATURE)
    fields = {
        "id": number,
        "question_id": truth["question_id"],
        "answer1_id": truth["reference_id"],
        "answer2_id": _answer_id(sample, answer),
        "category": truth["category"],
    }
    return ReviewRequest(sample.id, [attempt] * _ATTEMPTS, fields)


def _answer_id(sample: Sample, answer: str) -> str:
    return hashlib.sha256(f"{sample.id}\0{answer}".encode()).hexdigest()[:22]


def _category(entry: Entry) -> str:
    return f"llava_bench_{entry.text('category')}"


def _caption(entry: Entry) -> str:
    """Return the description of an image: a text, or a list of them."""
    if isinstance(entry.values.get("caption"), list):
        return "\n".join(entry.texts("caption"))
    return entry.text("caption")
