"""TextVQA: questions whose answers have to be read in the image; ten people answered each.

LLaVA's prompt has the words that an OCR engine, Rosetta, found in the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from llava_tools.evaluation.data_files.entries import Entry, by_identifier, read_lines, read_list
from llava_tools.evaluation.data_files.files import image_path
from llava_tools.evaluation.rules.arithmetic import add_in_order
from llava_tools.evaluation.rules.vqa_answers import textvqa_accuracy
from llava_tools.evaluation.task import Answers, Sample, Score, Source, Task, read_error
from llava_tools.label_scoring import SHORT_ANSWER

_LLAVA = "llava_textvqa_val_v051_ocr.jsonl"
_ANNOTATIONS = "TextVQA_0.5.1_val.json"
_OCR = "TextVQA_Rosetta_OCR_v0.2_val.json"
_IMAGES = "train_images"
_ANNOTATORS = 10


class TextVQA(Task):
    """TextVQA 0.5.1, its validation split."""

    name = "textvqa"
    title = "TextVQA"
    folder = "textvqa"
    metric = "accuracy, %"
    published = (58.2, 61.3)
    scored_by = "rule"
    source = Source(
        url="https://textvqa.org/dataset/",
        size="6.6 GB of images, 13 MB of questions and words",
        licence="CC BY 4.0",
        files={
            _ANNOTATIONS: "questions and answers: "
            "https://dl.fbaipublicfiles.com/textvqa/data/TextVQA_0.5.1_val.json",
            _OCR: "words in the images: https://dl.fbaipublicfiles.com/textvqa/data/"
            f"TextVQA_Rosetta_OCR_v0.2_val.json; or LLaVA's file, {_LLAVA}",
            "train_images/": "images: "
            "https://dl.fbaipublicfiles.com/textvqa/images/train_val_images.zip",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read the questions, their answers, and the words that OCR found."""
        annotations = by_identifier(read_list(folder / _ANNOTATIONS, "data"), "question_id")
        if (folder / _LLAVA).is_file():
            prompts = _prompts_of_llava(annotations.values(), read_lines(folder / _LLAVA))
        elif (folder / _OCR).is_file():
            prompts = _prompts_with_words(annotations.values(), folder / _OCR)
        else:
            raise read_error(folder, f"it must hold {_LLAVA} or {_OCR}")
        return [_sample(folder / _IMAGES, entry, prompt) for entry, prompt in prompts]

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score | None:
        """Return the accuracy by the rule of the M4C evaluator."""
        if not samples:
            return None
        accuracies = [
            textvqa_accuracy(answers[sample.id], sample.truth["answers"]) for sample in samples
        ]
        # Divided before it is multiplied, as in the official code.
        return Score(100 * (add_in_order(accuracies) / len(accuracies)), len(samples))


def _prompts_with_words(entries: Iterable[Entry], path: Path) -> list[tuple[Entry, str]]:
    """Return questions with their prompts; the words are those of TextVQA's authors."""
    images = by_identifier(read_list(path, "data"), "image_id")
    prompts = []
    for entry in entries:
        if (words := images.get(entry.text("image_id"))) is None:
            raise entry.error(f"{path.name} has no words of {entry.text('image_id')!r}")
        tokens = ", ".join(words.texts("ocr_tokens"))
        # So LLaVA writes the question: its first letter large, all others small.
        question = entry.text("question").capitalize()
        prompts.append((entry, f"{question}\nReference OCR token: {tokens}\n{SHORT_ANSWER}"))
    return prompts


def _prompts_of_llava(entries: Iterable[Entry], lines: Iterable[Entry]) -> list[tuple[Entry, str]]:
    """Return questions with their prompts in LLaVA's file, in the order of its lines.

    The file has the image's name for the question's, so that the question itself is compared. If
    it occurs twice for an image, the first line is the first question.
    """
    waiting: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        key = entry.text("image_id"), entry.text("question").lower()
        waiting.setdefault(key, []).append(entry)
    prompts = []
    for line in lines:
        prompt = line.text("text")
        found = waiting.get((line.text("question_id"), prompt.partition("\n")[0].lower()))
        if not found:
            raise line.error(f"{_ANNOTATIONS} has no such question, or the line occurs twice")
        prompts.append((found.pop(0), prompt))
    return prompts


def _sample(images: Path, entry: Entry, prompt: str) -> Sample:
    answers = entry.texts("answers")
    if len(answers) != _ANNOTATORS:
        raise entry.error(f"there are {len(answers)} answers, not {_ANNOTATORS}")
    image = image_path(images, f"{entry.text('image_id')}.jpg")
    return Sample(str(entry.identifier("question_id")), prompt, image, {"answers": answers})
