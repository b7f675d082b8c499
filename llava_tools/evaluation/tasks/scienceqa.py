"""ScienceQA: school questions with two to five choices, about half of them with an image.

The rule is that of `llava/eval/eval_science_qa.py`. An answer chooses a letter if it is that
letter, begins with it, a full stop and a space, or has "The answer is B." once, with any character
after the letter. A letter that no choice has is wrong. The published figure, ScienceQA-IMG, counts
only questions with an image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llava_tools.evaluation.data_files.entries import Entry, by_identifier, read_list
from llava_tools.evaluation.data_files.files import image_path, read_json
from llava_tools.evaluation.rules.arithmetic import ratio
from llava_tools.evaluation.rules.choices import LETTER_ANSWER, LETTERS, list_options
from llava_tools.evaluation.task import Answers, Sample, Score, Source, Task, read_error

_QUESTIONS = "llava_test_CQM-A.json"
_SENTENCE = re.compile("The answer is ([A-Z]).")


class ScienceQA(Task):
    """ScienceQA's test split."""

    name = "scienceqa"
    title = "ScienceQA-IMG"
    folder = "scienceqa"
    metric = "accuracy of questions with an image, %"
    published = (66.8, 71.6)
    scored_by = "rule"
    source = Source(
        url="https://github.com/lupantech/ScienceQA",
        size="see the page",
        licence="CC BY-NC-SA 4.0",
        files={
            "problems.json": "all questions",
            "pid_splits.json": "which of them are of the test split",
            "images/test/": "a folder for each question that has an image",
            _QUESTIONS: "LLaVA's questions, of its eval.zip (optional)",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read the test split, with and without images; the words are LLaVA's if they are there.

        Raises:
            RequestError: A file or an image is missing, or something in it is foreign.
        """
        problems = _read_test_problems(folder)
        if (path := folder / _QUESTIONS).is_file():
            turns = _read_turns(path, problems)
        else:
            turns = {
                identifier: _turn(identifier, problem) for identifier, problem in problems.items()
            }
        return [
            _sample(folder, identifier, problem, *turns[identifier])
            for identifier, problem in problems.items()
        ]

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score:
        """Return the accuracy with an image; 0 if no sample has one, and a note says so."""
        right: dict[bool, list[bool]] = {True: [], False: []}
        for sample in samples:
            choice = parse_choice(answers[sample.id], sample.truth["choices"])
            right[sample.image is not None].append(choice == sample.truth["answer"])
        with_image, all_right = right[True], right[True] + right[False]
        value = ratio(sum(with_image), len(with_image)) * 100
        return Score(
            value,
            len(with_image),
            {
                "with an image, %": value,
                "all, %": ratio(sum(all_right), len(all_right)) * 100,
            },
            () if with_image else ("No sample has an image.",),
        )


def parse_choice(answer: str, choices: int) -> int | None:
    """Return the position of the choice that an answer names; None if it names none.

    Args:
        answer: The model's text.
        choices: How many the question has; at most 5.
    """
    letter = _find_letter(answer)
    position = LETTERS.find(letter) if letter else -1
    return position if 0 <= position < choices else None


def _find_letter(answer: str) -> str:
    """Return the letter that an answer has where the rule looks for one, or nothing."""
    if len(answer) == 1:
        return answer
    if answer[:1] in LETTERS and answer[1:3] == ". ":
        return answer[:1]
    found = _SENTENCE.findall(answer)
    return str(found[0]) if len(found) == 1 else ""


def _read_test_problems(folder: Path) -> dict[str, Entry]:
    """Return the problems of the test split, in its order."""
    path, splits = folder / "problems.json", folder / "pid_splits.json"
    problems, names = read_json(path), read_json(splits)
    test = names.get("test") if isinstance(names, dict) else None
    if not isinstance(test, list) or not test or not all(isinstance(name, str) for name in test):
        raise read_error(splits, "'test' is no list of problems' names")
    if not isinstance(problems, dict):
        raise read_error(path, "it is no object")
    chosen = {}
    for identifier in test:
        if not isinstance(problem := problems.get(identifier), dict):
            raise read_error(path, f"there is no problem {identifier!r} of the test split")
        if identifier in chosen:
            raise read_error(splits, f"{identifier!r} stands twice in 'test'")
        chosen[identifier] = Entry(problem, path, f"problem {identifier}")
    return chosen


def _turn(identifier: str, problem: Entry) -> tuple[str, Path | None]:
    """Return the text and the image of a problem, in the words of LLaVA's file."""
    hint = problem.text("hint").strip()
    context = f"Context: {hint}\n" if hint else ""
    options = list_options(problem.texts("choices"))
    text = f"{context}{problem.text('question')}\n{options}".replace("  ", " ").strip()
    if problem.values.get("image") is None:
        return text, None
    return text, Path(identifier) / problem.text("image")


def _read_turns(path: Path, problems: Mapping[str, Entry]) -> dict[str, tuple[str, Path | None]]:
    """Return the texts and images of LLaVA's file."""
    turns = {}
    for identifier, entry in by_identifier(read_list(path), "id").items():
        text = _first_turn(entry).replace("<image>", "").strip()
        image = Path(entry.text("image")) if "image" in entry.values else None
        turns[str(identifier)] = (text, image)
    if missing := [identifier for identifier in problems if identifier not in turns]:
        raise read_error(path, f"it has no question {missing[0]!r} of the test split")
    return turns


def _first_turn(entry: Entry) -> str:
    turns: Any = entry.values.get("conversations")
    first = turns[0] if isinstance(turns, list) and turns else None
    if not isinstance(first, dict) or not isinstance(first.get("value"), str):
        raise entry.error("'conversations' does not begin with a text")
    return str(first["value"])


def _sample(folder: Path, identifier: str, problem: Entry, text: str, image: Path | None) -> Sample:
    choices, answer = problem.texts("choices"), problem.number("answer")
    if not answer < len(choices) <= len(LETTERS):
        raise problem.error(f"'answer' {answer} is none of its {len(choices)} choices")
    return Sample(
        id=identifier,
        question=f"{text}\n{LETTER_ANSWER}",
        image=None if image is None else image_path(folder / "images" / "test", str(image)),
        truth={"choices": len(choices), "answer": answer},
        max_tokens=1024,
    )
