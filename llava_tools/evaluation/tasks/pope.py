"""POPE: is an object in the image? Yes or no, with three ways to choose absent objects.

The rule is that of `evaluate.py` of POPE, which `llava/eval/eval_pope.py` repeats. LLaVA 1.5's
figure is the mean of the three splits' F1. An answer counts as "no" if its first sentence, without
commas, has one of the words No, no and not between spaces; any other answer, also an empty one, is
"yes".

LLaVA's question file is of October 2023 (POPE's commit e3e3926): the split "random" has 2,910
questions there. Since then POPE has mended words, and filled that split up to 3,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from llava_tools.evaluation.data_files.entries import Entry, by_identifier, read_lines
from llava_tools.evaluation.data_files.files import image_path
from llava_tools.evaluation.rules.arithmetic import add_in_order, ratio
from llava_tools.evaluation.task import Answers, Sample, Score, Source, Task
from llava_tools.label_scoring import SHORT_ANSWER

_SPLITS = ("random", "popular", "adversarial")
_QUESTIONS = "llava_pope_test.jsonl"


class Pope(Task):
    """POPE on COCO's val2014."""

    name = "pope"
    title = "POPE"
    folder = "pope"
    metric = "F1, mean of three splits, %"
    published = (85.9, 85.9)
    scored_by = "rule"
    source = Source(
        url="https://github.com/AoiDragon/POPE/tree/e3e39262c85a6a83f26cf5094022a782cb0df58d"
        "/output/coco, https://cocodataset.org/#download",
        size="1 MB of questions, 6.6 GB of images",
        licence="questions MIT; images: see COCO's terms of use",
        files={
            **{f"coco/coco_pope_{split}.json": f"questions, {split}" for split in _SPLITS},
            "val2014/": "the images of COCO's val2014",
            _QUESTIONS: "LLaVA's questions, of its eval.zip (optional)",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read the questions of the three splits: LLaVA's if they are there, else POPE's own.

        Raises:
            RequestError: A file is missing or foreign, or LLaVA's questions are of another release.
        """
        entries = {split: _read_split(folder, split) for split in _SPLITS}
        questions = folder / _QUESTIONS
        ordered = _in_llava_order(questions, entries) if questions.is_file() else _in_turn(entries)
        return [_sample(folder, split, entry) for split, entry in ordered]

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score:
        """Return the mean F1; a measure whose divisor is 0, as precision without a yes, is 0."""
        pairs: dict[str, list[tuple[bool, bool]]] = {}
        for sample in samples:
            pair = (says_yes(answers[sample.id]), sample.truth["label"] == "yes")
            pairs.setdefault(sample.truth["split"], []).append(pair)
        measures = {split: measure_yes(pairs[split]) for split in _SPLITS if split in pairs}
        total = add_in_order(figures["F1"] for figures in measures.values())
        missing = [split for split in _SPLITS if split not in pairs]
        return Score(
            ratio(total, len(measures)) * 100,
            len(samples),
            {
                f"{name} ({split}), %": figure * 100
                for split, figures in measures.items()
                for name, figure in figures.items()
            },
            (f"No samples of: {', '.join(missing)}.",) if missing else (),
        )


def says_yes(answer: str) -> bool:
    """Return whether an answer counts as yes."""
    words = answer.split(".", 1)[0].replace(",", "").split(" ")
    return not {"No", "no", "not"} & set(words)


def measure_yes(pairs: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    """Return the measures of yes and no, each a fraction.

    Args:
        pairs: For each question whether the answer is yes, and whether that would be right; >= 1.
    """
    hits = sum(answer and truth for answer, truth in pairs)
    precision = ratio(hits, sum(answer for answer, _ in pairs))
    recall = ratio(hits, sum(truth for _, truth in pairs))
    return {
        "F1": ratio(2 * precision * recall, precision + recall),
        "accuracy": sum(answer == truth for answer, truth in pairs) / len(pairs),
        "precision": precision,
        "recall": recall,
        "yes ratio": sum(answer for answer, _ in pairs) / len(pairs),
    }


def _read_split(folder: Path, split: str) -> list[Entry]:
    entries = read_lines(folder / "coco" / f"coco_pope_{split}.json")
    by_identifier(entries, "question_id")
    return entries


def _in_turn(entries: dict[str, list[Entry]]) -> Iterator[tuple[str, Entry]]:
    return ((split, entry) for split in _SPLITS for entry in entries[split])


def _in_llava_order(path: Path, entries: dict[str, list[Entry]]) -> Iterator[tuple[str, Entry]]:
    """Yield POPE's entries in the order of LLaVA's file, which has the same in each split."""
    rest = {split: iter(split_entries) for split, split_entries in entries.items()}
    for line in read_lines(path):
        split = line.text("category")
        if split not in rest:
            raise line.error(f"the category {split!r} is none of {', '.join(_SPLITS)}")
        entry = next(rest[split], None)
        if entry is None:
            raise line.error(f"coco_pope_{split}.json has fewer questions")
        same_text = line.text("text") == f"{entry.text('text')}\n{SHORT_ANSWER}"
        if not same_text or line.text("image") != entry.text("image"):
            raise line.error(
                f"it is not the question of {entry.place} of {entry.path}; both must be of the "
                f"same release of POPE, or without {_QUESTIONS}"
            )
        yield split, entry
    for split, left in rest.items():
        if (entry := next(left, None)) is not None:
            raise entry.error(f"{path} has fewer questions of {split}; both must be of one release")


def _sample(folder: Path, split: str, entry: Entry) -> Sample:
    label = entry.text("label")
    if label not in ("yes", "no"):
        raise entry.error(f"the label {label!r} is neither yes nor no")
    return Sample(
        id=f"{split}/{entry.identifier('question_id')}",
        question=f"{entry.text('text')}\n{SHORT_ANSWER}",
        image=image_path(folder / "val2014", entry.text("image")),
        truth={"split": split, "label": label},
    )
