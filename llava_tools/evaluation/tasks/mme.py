"""MME: two questions about each image, to be answered yes and no.

The rule is that of MME's `eval_tool/calculation.py`: a category scores its accuracy and its
accuracy+ (both questions of an image right), in percent, together 200 at most. The published figure
is the sum over the ten categories of perception. An answer is yes or no if its first four
characters have that word, without regard to case and yes first, so that "not sure" is no; any other
answer is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llava_tools.evaluation.data_files.entries import read_lines
from llava_tools.evaluation.data_files.files import image_path, read_text
from llava_tools.evaluation.rules.arithmetic import add_in_order
from llava_tools.evaluation.task import Answers, Sample, Score, Source, Task, read_error
from llava_tools.label_scoring import SHORT_ANSWER

PERCEPTION = (
    *("existence", "count", "position", "color", "posters"),
    *("celebrity", "scene", "landmark", "artwork", "OCR"),
)
COGNITION = (
    *("commonsense_reasoning", "numerical_calculation"),
    *("text_translation", "code_reasoning"),
)
_RELEASE = "MME_Benchmark_release_version"
_QUESTIONS = "llava_mme.jsonl"
_REQUEST = "Please answer yes or no."  # which LLaVA replaces by its own


class Mme(Task):
    """MME's perception; its cognition as a part."""

    name = "mme"
    title = "MME"
    folder = "MME"
    metric = "perception, sum of accuracy and accuracy+"
    maximum = 2000.0
    published = (1510.7, 1531.3)
    scored_by = "rule"
    source = Source(
        url="https://huggingface.co/datasets/darkyarding/MME, "
        "https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models/tree/Evaluation",
        size="200 MB",
        licence="Apache-2.0 by the first page",
        files={
            f"{_RELEASE}/": "14 folders: images and question texts side by side, or in images/ "
            "and questions_answers_YN/",
            _QUESTIONS: "LLaVA's questions, of its eval.zip (optional)",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read the release's questions, in the order of LLaVA's file if that is there.

        Raises:
            RequestError: A category, a file or an image is missing, or a line is foreign.
        """
        release = folder / _RELEASE
        if (release / "MME_Benchmark").is_dir():  # as newer archives have it
            release = release / "MME_Benchmark"
        questions = [
            question
            for category in (*PERCEPTION, *COGNITION)
            for question in _read_category(release / category)
        ]
        if (path := folder / _QUESTIONS).is_file():
            questions = _in_llava_order(path, questions)
        return [_sample(question) for question in questions]

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score:
        """Return the sum over perception; a note names categories without samples: they count 0."""
        images: dict[str, dict[str, list[bool]]] = {}
        for sample in samples:
            right = parse_yes_no(answers[sample.id]) == sample.truth["label"]
            category = images.setdefault(sample.truth["category"], {})
            category.setdefault(sample.truth["image"], []).append(right)
        scores = {name: score_images(list(found.values())) for name, found in images.items()}
        missing = [name for name in (*PERCEPTION, *COGNITION) if name not in scores]
        perception = add_in_order(scores.get(name, 0.0) for name in PERCEPTION)
        cognition = add_in_order(scores.get(name, 0.0) for name in COGNITION)
        parts = {f"{name} (of 200)": scores[name] for name in scores}
        return Score(
            perception,
            len(samples),
            {"perception (of 2000)": perception, "cognition (of 800)": cognition, **parts},
            (f"No samples of: {', '.join(missing)}.",) if missing else (),
        )

    def write_submission(self, samples: Sequence[Sample], answers: Answers, folder: Path) -> Path:
        """Write what `calculation.py` takes: a folder with a text file for each category."""
        results = folder / self.name
        results.mkdir(exist_ok=True)
        lines: dict[str, list[str]] = {name: [] for name in (*PERCEPTION, *COGNITION)}
        for sample in samples:
            truth = sample.truth
            answer = " ".join(answers[sample.id].split())  # tabs and line feeds end a field there
            fields = (truth["image"], truth["question"], truth["label"].capitalize(), answer)
            lines[truth["category"]].append("\t".join(fields) + "\n")
        for category, category_lines in lines.items():
            (results / f"{category}.txt").write_text("".join(category_lines), encoding="utf-8")
        return results


def parse_yes_no(answer: str) -> Literal["yes", "no"] | None:
    """Return what an answer says; None if it says neither."""
    beginning = answer.lower()[:4]
    if "yes" in beginning:
        return "yes"
    return "no" if "no" in beginning else None


def score_images(images: Sequence[Sequence[bool]]) -> float:
    """Return the score of a category, 0 to 200.

    Args:
        images: Whether each answer about each image is right; >= 1.
    """
    answers = [right for image in images for right in image]
    accuracy = sum(answers) / len(answers)
    accuracy_plus = sum(all(image) for image in images) / len(images)
    return accuracy * 100 + accuracy_plus * 100


@dataclass(frozen=True)
class _Question:
    """A line of a question text: its category, its image, the line's number, text and answer."""

    category: str
    image: Path
    number: int
    text: str
    label: str

    @property
    def plain(self) -> str:
        """The question without the request for yes or no."""
        return self.text.replace(_REQUEST, "").strip()


def _read_category(folder: Path) -> Iterator[_Question]:
    apart = (folder / "images").is_dir()
    images = folder / "images" if apart else folder
    texts = folder / "questions_answers_YN" if apart else folder
    paths = sorted(texts.glob("*.txt"))
    if not paths:
        raise read_error(texts, "there are no question texts")
    names = {path.stem: path for path in sorted(images.iterdir()) if path.suffix != ".txt"}
    for path in paths:
        if path.stem not in names:
            raise read_error(path, f"{images} has no image of that name")
        lines = [line for line in read_text(path).split("\n") if line.strip()]
        if len(lines) != 2:
            raise read_error(path, f"it has {len(lines)} questions, not 2")
        for number, line in enumerate(lines, start=1):
            text, tab, label = line.strip().partition("\t")
            if not tab or label.lower() not in ("yes", "no"):
                raise read_error(path, f"line {number} is no question, tab, and Yes or No")
            yield _Question(folder.name, names[path.stem], number, text, label.lower())


def _in_llava_order(path: Path, questions: Sequence[_Question]) -> list[_Question]:
    """Return the questions that LLaVA's file has, in its order."""
    known = {(q.category, q.image.stem, q.plain): q for q in questions}
    chosen: dict[_Question, None] = {}
    for line in read_lines(path):
        category, _, rest = str(line.identifier("question_id")).partition("/")
        stem = Path(rest).stem
        text = line.text("text").replace(SHORT_ANSWER, "").replace(_REQUEST, "").strip()
        question = known.get((category, stem, text))
        if question is None:
            raise line.error(f"{_RELEASE} has no such question about {category}/{stem}")
        if question in chosen:
            raise line.error("the question stands also in an earlier line")
        chosen[question] = None
    return list(chosen)


def _sample(question: _Question) -> Sample:
    return Sample(
        id=f"{question.category}/{question.image.stem}/{question.number}",
        question=f"{question.plain}\n{SHORT_ANSWER}",
        image=image_path(question.image.parent, question.image.name),
        truth={
            "category": question.category,
            "image": question.image.name,
            "question": question.text,
            "label": question.label,
        },
    )
