"""VQAv2: questions about COCO's images; ten people answered each.

LLaVA's figures are of test-dev2015, which a server scores. The answers to val2014 are public, so
that answers to its questions are scored here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from llava_tools.evaluation.data_files.entries import Entry, by_identifier, read_lines, read_list
from llava_tools.evaluation.data_files.files import image_path
from llava_tools.evaluation.data_files.splits import Split, find_split
from llava_tools.evaluation.rules.vqa_answers import normalize_answer, vqa_accuracy
from llava_tools.evaluation.rules.vqa_score import vqa_score
from llava_tools.evaluation.task import Answers, Sample, Score, Source, Task, read_error
from llava_tools.label_scoring import SHORT_ANSWER

_TEST_DEV = Split(
    "test2015",
    "test2015",
    (
        "llava_vqav2_mscoco_test-dev2015.jsonl",
        "v2_OpenEnded_mscoco_test-dev2015_questions.json",
    ),
)
_VAL = Split("val2014", "val2014", ("v2_OpenEnded_mscoco_val2014_questions.json",))
_VAL_ANNOTATIONS = "v2_mscoco_val2014_annotations.json"
#: The server takes an answer to each of these.
_ALL_TEST_QUESTIONS = (
    "llava_vqav2_mscoco_test2015.jsonl",
    "v2_OpenEnded_mscoco_test2015_questions.json",
)
_VAL_NOTE = "This is val2014; the published figures are of test-dev2015, which a server scores."


class Vqav2(Task):
    """VQAv2, test-dev2015 or val2014."""

    name = "vqav2"
    title = "VQAv2"
    folder = "vqav2"
    metric = "accuracy, %"
    published = (78.5, 80.0)
    scored_by = "server"
    source = Source(
        url="https://visualqa.org/download.html",
        size="6.2 GB of images",
        licence="see the page, and COCO's for the images",
        files={
            "v2_OpenEnded_mscoco_test-dev2015_questions.json": "questions; or LLaVA's file, "
            "llava_vqav2_mscoco_test-dev2015.jsonl",
            "v2_OpenEnded_mscoco_test2015_questions.json": "all questions that the server wants an "
            "answer to; or LLaVA's file, llava_vqav2_mscoco_test2015.jsonl",
            "test2015/": "images: http://images.cocodataset.org/zips/test2015.zip",
            "v2_OpenEnded_mscoco_val2014_questions.json": "instead of the three above: a split "
            "that is scored here, with v2_mscoco_val2014_annotations.json and val2014/",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read the questions of test-dev2015, or those of val2014 and their answers."""
        split, path = find_split(folder, (_TEST_DEV, _VAL))
        questions = _read_questions(path)
        if split is _VAL:
            return _load_val(folder, questions)
        everything = _find_all_questions(folder)
        wanted = _read_questions(everything)
        for identifier, entry in questions.items():
            if identifier not in wanted:
                raise entry.error(f"{everything.name} has no question {identifier!r}")
        # The path, not the questions: a submission needs 447,793 of them, once.
        return [
            _sample(folder / split.images, split, entry, {"all_questions": str(everything)})
            for entry in questions.values()
        ]

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score | None:
        """Return the accuracy on val2014 by VQA's rule; None for test-dev2015."""
        return vqa_score(samples, answers, vqa_accuracy, _VAL_NOTE)

    def write_submission(
        self, samples: Sequence[Sample], answers: Answers, folder: Path
    ) -> Path | None:
        """Write an answer to each question of test2015, an empty one where there is none."""
        if not samples or "all_questions" not in samples[0].truth:
            return None
        results = [
            {"question_id": number, "answer": normalize_answer(answers.get(str(number), ""))}
            for number in _read_questions(Path(samples[0].truth["all_questions"]))
        ]
        path = folder / "vqav2_test2015_results.json"
        path.write_text(json.dumps(results), encoding="utf-8")
        return path


def _read_questions(path: Path) -> dict[int | str, Entry]:
    """Return the questions of a file by their numbers."""
    if path.suffix == ".jsonl":
        return by_identifier(read_lines(path), "question_id")
    return by_identifier(read_list(path, "questions"), "question_id")


def _find_all_questions(folder: Path) -> Path:
    for name in _ALL_TEST_QUESTIONS:
        if (path := folder / name).is_file():
            return path
    needed = " or ".join(_ALL_TEST_QUESTIONS)
    raise read_error(folder, f"the server wants an answer to each question of {needed}")


def _load_val(folder: Path, questions: dict[int | str, Entry]) -> list[Sample]:
    annotations = by_identifier(read_list(folder / _VAL_ANNOTATIONS, "annotations"), "question_id")
    samples = []
    for identifier, entry in questions.items():
        if (annotation := annotations.get(identifier)) is None:
            raise entry.error(f"{_VAL_ANNOTATIONS} has no answers to {identifier!r}")
        truth = {
            "answers": annotation.annotators(),
            "answer_type": annotation.text("answer_type"),
        }
        samples.append(_sample(folder / _VAL.images, _VAL, entry, truth))
    return samples


def _sample(images: Path, split: Split, entry: Entry, truth: Mapping[str, object]) -> Sample:
    """Return the sample of a question in LLaVA's file, which has the whole prompt, or in VQA's."""
    identifier = entry.number("question_id")
    if entry.path.suffix == ".jsonl":
        image, prompt = entry.text("image"), entry.text("text")
    else:
        image = f"COCO_{split.name}_{entry.number('image_id'):012}.jpg"
        prompt = f"{entry.text('question')}\n{SHORT_ANSWER}"
    return Sample(str(identifier), prompt, image_path(images, image), truth)
