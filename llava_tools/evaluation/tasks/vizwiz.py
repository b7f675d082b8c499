"""VizWiz: blind people's questions about photographs that they took; ten people answered each.

LLaVA's figures are of the test split, which a server scores. The answers to the validation split
are public, so that answers to its questions are scored here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from llava_tools.evaluation.data_files.entries import Entry, by_identifier, read_lines, read_list
from llava_tools.evaluation.data_files.files import image_path
from llava_tools.evaluation.data_files.splits import Split, find_split
from llava_tools.evaluation.rules.vqa_answers import normalize_answer, vizwiz_accuracy
from llava_tools.evaluation.rules.vqa_score import vqa_score
from llava_tools.evaluation.task import Answers, Sample, Score, Source, Task
from llava_tools.label_scoring import SHORT_ANSWER

_UNANSWERABLE = "When the provided information is insufficient, respond with 'Unanswerable'."
_TEST = Split("test", "test", ("llava_test.jsonl", "test.json", "Annotations/test.json"))
_VAL = Split("val", "val", ("val.json", "Annotations/val.json"))
_VAL_NOTE = (
    "This is the validation split; the published figures are of test, which a server scores."
)


class VizWiz(Task):
    """VizWiz, its test or its validation split."""

    name = "vizwiz"
    title = "VizWiz"
    folder = "vizwiz"
    metric = "accuracy, %"
    published = (50.0, 53.6)
    scored_by = "server"
    source = Source(
        url="https://vizwiz.org/tasks-and-datasets/vqa/",
        size="see the page",
        licence="see the page",
        files={
            "test.json": "questions: https://vizwiz.cs.colorado.edu/VizWiz_final/vqa_data/"
            "Annotations.zip; or LLaVA's file, llava_test.jsonl",
            "test/": "images: https://vizwiz.cs.colorado.edu/VizWiz_final/images/test.zip",
            "val.json": "instead of the two above: a split that is scored here, with val/",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read the questions of the test split, or those of the validation split and answers."""
        split, path = find_split(folder, (_TEST, _VAL))
        entries = read_lines(path) if path.suffix == ".jsonl" else read_list(path)
        return [
            _sample(folder / split.images, entry, has_answers=split is _VAL)
            for entry in by_identifier(entries, "image").values()
        ]

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score | None:
        """Return the accuracy on the validation split by VizWiz's rule; None for the test split."""
        return vqa_score(samples, answers, vizwiz_accuracy, _VAL_NOTE)

    def write_submission(
        self, samples: Sequence[Sample], answers: Answers, folder: Path
    ) -> Path | None:
        """Write the answers to the test split, with the images' names."""
        if not samples or "answers" in samples[0].truth:
            return None
        results = [
            {"image": sample.id, "answer": normalize_answer(answers[sample.id])}
            for sample in samples
        ]
        path = folder / "vizwiz_test_results.json"
        path.write_text(json.dumps(results), encoding="utf-8")
        return path


def _sample(images: Path, entry: Entry, *, has_answers: bool) -> Sample:
    """Return the sample of a question in LLaVA's file, which has the whole prompt, or VizWiz's.

    An image has one question, so that its name is the sample's.
    """
    image = entry.text("image")
    if entry.path.suffix == ".jsonl":
        prompt = entry.text("text")
    else:
        # So LLaVA writes the question: its first letter large, all others small.
        prompt = f"{entry.text('question').capitalize()}\n{_UNANSWERABLE}\n{SHORT_ANSWER}"
    truth: dict[str, object] = {}
    if has_answers:
        truth = {"answers": entry.annotators(), "answer_type": entry.text("answer_type")}
    return Sample(image, prompt, image_path(images, image), truth)
