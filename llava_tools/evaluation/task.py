"""`Task`: one of the benchmarks, from its official files to its figure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from llava_tools.errors import RequestError
from llava_tools.evaluation.data_files.embedded_image import EmbeddedImage

Answers = Mapping[str, str]
"""The model's answers by `Sample.id`, surrounding white space removed."""


@dataclass(frozen=True)
class Sample:
    """A question of a benchmark, as the model gets it.

    Attributes:
        id: Unique among the samples of a task, and the same whenever they are loaded.
        question: All text after the image, the request for an answer's format included.
        image: A file, the bytes of one, or None for a question without an image. An embedded one
            is read by `read_image`.
        truth: What scoring or a submission needs; its keys are the task's own.
        max_tokens: Length limit of the answer; >= 1.
        group: Samples with the same are answered one after the other, and a limit takes all of them
            or none, since they are scored together. "" makes a group of those about one image.
    """

    id: str
    question: str
    image: Path | bytes | EmbeddedImage | None
    truth: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 128
    group: str = ""

    def read_image(self) -> Path | bytes | None:
        """Return the image in a form that backends take.

        Raises:
            ImageError: The file that an embedded image stands in has changed.
        """
        return self.image.read() if isinstance(self.image, EmbeddedImage) else self.image


@dataclass(frozen=True)
class Score:
    """The figure of a benchmark.

    Attributes:
        value: In the unit of the published figures, such as percent.
        count: Number of samples behind it.
        parts: Figures of parts and further measures, by name, in the unit that the name says.
        notes: What makes the figure differ from a published one, a sentence each.
    """

    value: float
    count: int
    parts: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where a data set is to be had.

    Attributes:
        url: A page or file of its authors.
        size: Of the download, such as "6.2 GB".
        licence: As its authors state it.
        files: What its folder must hold: relative paths, and what each one is.
        judge_files: Optional files of the folder that only a judge needs, likewise. They may come
            and change after the questions were answered.
    """

    url: str
    size: str
    licence: str
    files: Mapping[str, str]
    judge_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_files(self) -> dict[str, str]:
        """`files` and `judge_files`."""
        return {**self.files, **self.judge_files}


class Judge(Protocol):
    """A language model that compares answers. Methods are thread-safe.

    Attributes:
        model: Its name, as reviews report it.
        max_concurrent_requests: How many prompts it answers at once; >= 1.
    """

    model: str
    max_concurrent_requests: int

    def reply(
        self, prompt: str, *, system: str = "", max_tokens: int = 1024, temperature: float = 0.0
    ) -> str:
        """Return the judge's text.

        Raises:
            EngineError: It could not answer, after retries.
            RequestError: It refuses the prompt.
        """


Progress = Callable[[int, int], None]
"""Called with the number of finished items and the number of all."""


class Task(ABC):
    """A benchmark of LLaVA 1.5. Subclasses are stateless.

    Attributes:
        name: On the command line, such as `pope`.
        title: As the paper writes it, such as `POPE`.
        folder: Its folder below the data directory, named as in LLaVA's `playground/data/eval`.
        metric: What its figure is, such as "accuracy, %".
        maximum: The best possible figure.
        published: The figures of LLaVA 1.5 7B and 13B.
        scored_by: `rule`: here, by a rule; `server`: the truth is not public, so a server scores
            the submission file; `judge`: a language model compares answers.
        source: Where the data set is to be had.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    folder: ClassVar[str]
    metric: ClassVar[str]
    maximum: ClassVar[float] = 100.0
    published: ClassVar[tuple[float, float]]
    scored_by: ClassVar[Literal["rule", "server", "judge"]]
    source: ClassVar[Source]

    @abstractmethod
    def load(self, folder: Path) -> list[Sample]:
        """Read the official files of a data set.

        Args:
            folder: The data set's own folder.

        Raises:
            RequestError: A file is missing or not as its authors publish it.
        """

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score | None:
        """Return the figure; None if the truth is not in the files or a judge is needed.

        Args:
            samples: Those that were answered: all, or with a limit some.
            answers: One for each sample.
        """
        return None

    def judge(
        self,
        samples: Sequence[Sample],
        answers: Answers,
        folder: Path,
        judge: Judge,
        progress: Progress | None = None,
    ) -> Score | None:
        """Have a language model review the answers, and return the figure.

        Reviews are appended to a file as they come. A second call resumes: it requests a review
        again only if the question, the answer, the judge's prompt or the judge has changed.

        Args:
            samples: Those that were answered.
            answers: One for each sample.
            folder: Where the reviews are kept; exists.
            judge: Writes the reviews.
            progress: Called after each review.

        Returns:
            The figure; None if the benchmark is not scored by a judge.

        Raises:
            EngineError: The judge cannot be reached, or writes no score; finished reviews are kept.
        """
        return None

    def write_submission(
        self, samples: Sequence[Sample], answers: Answers, folder: Path
    ) -> Path | None:
        """Write the file that the official server or notebook takes.

        Args:
            samples: Those that were answered.
            answers: One for each sample.
            folder: Where the file is written; exists.

        Returns:
            The file's path, or None if the benchmark has no submissions.
        """
        return None


def read_error(path: Path, what: str) -> RequestError:
    """Return the error for a file that is not as its benchmark's authors publish it."""
    return RequestError(
        f"{path} is not possible: {what}.",
        "`llava-tools eval --list` says which files a benchmark needs.",
    )
