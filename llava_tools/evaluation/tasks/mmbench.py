"""MMBench: each question has two to four choices, and a row for each place of the first one.

The rule is that of VLMEvalKit without a judge ("exact matching"): a question is right if the
answers to all of its rows choose the right letter (`circular_choice.py`). The published figures are
the official server's, where ChatGPT reads the answers that no rule can; LLaVA 1.5 answers with a
letter alone, so that it has no such answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from llava_tools.evaluation.data_files.embedded_image import EmbeddedImage
from llava_tools.evaluation.data_files.entries import Entry
from llava_tools.evaluation.data_files.spreadsheet import Cell, write_spreadsheet
from llava_tools.evaluation.data_files.table import read_table
from llava_tools.evaluation.rules.arithmetic import ratio
from llava_tools.evaluation.rules.choices import LETTER_ANSWER, list_options
from llava_tools.evaluation.rules.circular_choice import infer_choice
from llava_tools.evaluation.task import Answers, Sample, Score, Source, Task, read_error

#: What pandas, and with it the official programs, read as no value.
_MISSING = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND"),
        *("1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
_ROUND = 1_000_000  # between the indices of a question's rows
_INDEX_DIGITS = 9
#: Columns that a submission leaves out, and the place of the answers in it, as LLaVA's has them.
_NOT_SUBMITTED = ("hint", "category", "source", "image", "comment", "l2-category")
_PREDICTION_AT = 6


class MMBench(Task):
    """MMBench's development split, English.

    Attributes:
        table: Its file.
        request: For a letter, after the choices.
    """

    name = "mmbench"
    title = "MMBench"
    folder = "mmbench"
    metric = "circular accuracy, %"
    published = (64.3, 67.7)
    scored_by = "rule"
    table: ClassVar[str] = "mmbench_dev_20230712.tsv"
    request: ClassVar[str] = LETTER_ANSWER
    source = Source(
        url="https://download.openmmlab.com/mmclassification/datasets/mmbench/"
        "mmbench_dev_20230712.tsv, https://github.com/open-compass/MMBench",
        size="see the page",
        licence="Apache-2.0, that of the repository; images: see there",
        files={"mmbench_dev_20230712.tsv": "questions and images"},
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read all rows; images stay in the file until they are needed.

        Raises:
            RequestError: The file is missing, or a row is broken, foreign or there twice.
        """
        path = folder / self.table
        places: dict[int, str] = {}
        samples = []
        for row, image in read_table(path, "image"):
            index = _read_index(row)
            if index in places:
                raise row.error(f"the index {index} stands also in {places[index]}")
            places[index] = row.place
            samples.append(self._sample(index, row, image))
        if not samples:
            raise read_error(path, "it has no rows")
        return samples

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score | None:
        """Return the share of right questions, and that of each category; None without the truth.

        Without questions it is 0. One whose first row was not answered does not count.
        """
        groups: dict[int, list[Sample]] = {}
        for sample in samples:
            if not sample.truth["answer"]:
                return None
            groups.setdefault(sample.truth["index"] % _ROUND, []).append(sample)
        right: dict[str, list[bool]] = {}
        for group in groups.values():
            first = next((s for s in group if s.truth["index"] < _ROUND), None)
            if first is None:
                continue
            is_right = all(_is_right(sample, answers[sample.id]) for sample in group)
            for part in ("all", first.truth["l2-category"], first.truth["category"]):
                right.setdefault(part, []).append(is_right)
        figures = {part: ratio(sum(r), len(r)) * 100 for part, r in right.items() if part}
        parts = {f"{part}, %": figure for part, figure in figures.items() if part != "all"}
        return Score(figures.get("all", 0.0), len(samples), parts)

    def write_submission(self, samples: Sequence[Sample], answers: Answers, folder: Path) -> Path:
        """Write the Excel file that the server takes; it refuses others."""
        path = folder / f"{self.name}.xlsx"
        header = _with_prediction(list(samples[0].truth["row"]), "prediction") if samples else []
        rows = (
            _with_prediction(list(sample.truth["row"].values()), answers[sample.id])
            for sample in samples
        )
        write_spreadsheet(path, [header, *rows])
        return path

    def _sample(self, index: int, row: Entry, image: EmbeddedImage) -> Sample:
        choices = {letter: row.text(letter) for letter in "ABCD"}
        choices = {letter: text for letter, text in choices.items() if text not in _MISSING}
        answer = str(row.values.get("answer", ""))
        if answer in _MISSING:
            answer = ""
        elif answer not in choices:
            raise row.error(f"the answer {answer!r} is none of its choices, {', '.join(choices)}")
        return Sample(
            id=str(index),
            question=f"{_question(row)}\n{self.request}",
            image=image,
            truth={
                "index": index,
                "answer": answer,
                "choices": choices,
                "category": str(row.values.get("category", "")),
                "l2-category": str(row.values.get("l2-category", "")),
                "row": _submitted(index, row),
            },
            max_tokens=1024,
            group=str(index % _ROUND),
        )


def _read_index(row: Entry) -> int:
    text = row.text("index")
    if not (text.isascii() and text.isdecimal() and len(text) <= _INDEX_DIGITS):
        raise row.error(f"the index {text!r} is no number")
    return int(text)


def _submitted(index: int, row: Entry) -> dict[str, Cell]:
    """Return what a submission has of a row, with empty cells as pandas writes them."""
    values = {name: text for name, text in row.values.items() if name not in _NOT_SUBMITTED}
    cells = {name: None if text in _MISSING else str(text) for name, text in values.items()}
    return {**cells, "index": index}


def _with_prediction(cells: Sequence[Cell], prediction: str) -> list[Cell]:
    return [*cells[:_PREDICTION_AT], prediction, *cells[_PREDICTION_AT:]]


def _question(row: Entry) -> str:
    """Return the hint, the question and its choices, up to the first that is missing."""
    options = []
    for letter in "ABCD":
        if _is_none(text := row.text(letter)):
            break
        options.append(text)
    hint = row.text("hint")
    lines = [] if _is_none(hint) else [hint]
    return "\n".join([*lines, row.text("question"), list_options(options)])


def _is_none(text: str) -> bool:
    return text in _MISSING or text.lower() in ("nan", "none")


def _is_right(sample: Sample, answer: str) -> bool:
    choice = infer_choice(answer, sample.truth["choices"])
    return bool(choice == sample.truth["answer"])
