"""`Llava`: what users hold. Questions and images in, answers out, through the backend interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self, Unpack, cast

from llava_tools import label_scoring, registry
from llava_tools.core.backend import Backend, Stream, check_labels
from llava_tools.core.outputs import Answer, Chunk
from llava_tools.core.requests import Message, Request, SamplingKeywords, SamplingParams
from llava_tools.core.streaming import aanswer, answer, astream
from llava_tools.errors import EngineClosedError, RequestError
from llava_tools.images import ImageRef, ImageSource, open_image
from llava_tools.label_scoring import Classification
from llava_tools.options import EngineKeywords, EngineOptions
from llava_tools.warmup import Progress, warm_up

Images = ImageSource | Sequence[ImageSource]


class Llava:
    """LLaVA 1.5 on this machine.

    Nothing is loaded until the first question; then once for the process, shared with every other
    wrapper that asks for the same model. May be used from many threads and tasks at once: their
    requests run in one batch.

    Args:
        model: `tiny` (the embedded model, the default), `7b`, `13b`, a hub id or a folder.
        backend: An engine of your own instead (see `llava_tools.testing.ScriptedBackend`).
        **options: Fields of `EngineOptions`: device, dtype, quantization, revision, local_files_only, ...

    Raises:
        RequestError: An unknown or impossible option.
    """

    def __init__(
        self,
        model: str = "tiny",
        *,
        backend: Backend | None = None,
        **options: Unpack[EngineKeywords],
    ) -> None:
        self.options = EngineOptions.from_keywords(model, options, "Llava")
        self._given = backend
        self._closed = False

    @property
    def backend(self) -> Backend:
        """The engine; asking for it loads the model.

        Raises:
            ModelError: The model cannot be loaded.
            EngineClosedError: This object was closed.
        """
        if self._closed:
            raise EngineClosedError("This Llava is closed.", "Make a new one.")
        return self._given or registry.engines.acquire(self.options, self)

    def warm_up(self, progress: Progress | None = None) -> None:
        """Load the model and answer a few questions, so that the first real one does not wait.

        A grey image is asked about, alone and several times at once, as real questions will be.

        Args:
            progress: Called with what is done next and the share of all that is done, 0 to 1.

        Raises:
            ModelError: The model cannot be loaded.
            EngineError: The engine could not answer.
        """
        warm_up(lambda: self.backend, progress)

    def ask(
        self,
        question: str,
        images: Images = (),
        *,
        history: Sequence[Message] = (),
        system: str | None = None,
        **sampling: Unpack[SamplingKeywords],
    ) -> Answer:
        """Ask about images, or without any.

        Args:
            question: What to ask.
            images: One image or several: paths, URLs, bytes, PIL images, or `ImageRef`s.
            history: Earlier messages of the conversation.
            system: Replaces LLaVA's system sentence; an empty string leaves it out.
            **sampling: Fields of `SamplingParams`: max_tokens, temperature, stop, seed, ...

        Raises:
            RequestError: A bad image, option or conversation, or more than the context holds.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish.
        """
        request = _request(question, images, history, system, sampling, "ask")
        return answer(self.backend, request)

    def stream(
        self,
        question: str,
        images: Images = (),
        *,
        history: Sequence[Message] = (),
        system: str | None = None,
        **sampling: Unpack[SamplingKeywords],
    ) -> Stream:
        """Like `ask`, in steps. Closing the stream, or dropping it, stops the generation."""
        request = _request(question, images, history, system, sampling, "stream")
        return self.backend.stream(request)

    async def aask(
        self,
        question: str,
        images: Images = (),
        *,
        history: Sequence[Message] = (),
        system: str | None = None,
        **sampling: Unpack[SamplingKeywords],
    ) -> Answer:
        """`ask` without blocking the event loop; cancelling the task stops the generation."""
        request = _request(question, images, history, system, sampling, "aask")
        return await aanswer(lambda: self.backend, request)

    async def astream(
        self,
        question: str,
        images: Images = (),
        *,
        history: Sequence[Message] = (),
        system: str | None = None,
        **sampling: Unpack[SamplingKeywords],
    ) -> AsyncGenerator[Chunk]:
        """`stream` without blocking the event loop; leaving the iteration stops the generation."""
        request = _request(question, images, history, system, sampling, "astream")
        async with aclosing(astream(lambda: self.backend, request)) as stream:
            async for chunk in stream:
                yield chunk

    def choose(
        self,
        question: str,
        images: Images,
        labels: Sequence[str],
        *,
        abstain: float | None = None,
    ) -> Classification:
        """Choose among labels by their probabilities as the answer; nothing is sampled.

        The question is asked as LLaVA was trained to be asked for short answers.

        Args:
            question: What to ask.
            images: One image, several, or none.
            labels: The possible answers, at least one, different from each other.
            abstain: The probability, 0 to 1, below which the likeliest label is not chosen. None
                always chooses.

        Raises:
            RequestError: A bad image, label or threshold, or more than the context holds.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish.
        """
        label_scoring.check_abstain(abstain)
        check_labels(labels)
        request = _request(label_scoring.short_answer_question(question), images, (), None, {}, "choose")
        return label_scoring.classify(labels, self.backend.score(request, labels), abstain)

    def score(self, text: str, image: ImageSource) -> float:
        """Return how probably an image shows what a text says, 0 to 1: for ranking images.

        This is VQAScore (Lin et al. 2024): the probability of "Yes" to 'Does this figure show
        "{text}"? Please answer yes or no.', here as its share among yes and no.

        Raises:
            RequestError: A bad image, or more than the context holds.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish.
        """
        request = _request(label_scoring.shows_question(text), image, (), None, {}, "score")
        return label_scoring.yes_probability(self.backend.score(request, label_scoring.YES_OR_NO))

    async def achoose(
        self,
        question: str,
        images: Images,
        labels: Sequence[str],
        *,
        abstain: float | None = None,
    ) -> Classification:
        """`choose` without blocking the event loop; it runs to its end in a thread."""
        return await asyncio.to_thread(self.choose, question, images, labels, abstain=abstain)

    async def ascore(self, text: str, image: ImageSource) -> float:
        """`score` without blocking the event loop; it runs to its end in a thread."""
        return await asyncio.to_thread(self.score, text, image)

    def close(self) -> None:
        """Give the model back; its memory is freed when no other open wrapper uses it."""
        if not self._closed:
            self._closed = True
            if self._given is None:
                registry.engines.release(self.options, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Llava({self.options.model!r})"


def _request(
    question: str,
    images: Images,
    history: Sequence[Message],
    system: str | None,
    sampling: SamplingKeywords,
    where: str,
) -> Request:
    """Check everything that can be checked without the model."""
    if not isinstance(question, str):
        raise RequestError(f"The question is a {type(question).__name__}.", "Pass a string.")
    told = () if system is None else (Message("system", (system,)),)
    asked = Message("user", (*_open(images), question))
    return Request((*told, *history, asked), SamplingParams.from_keywords(sampling, where))


def _open(images: Images) -> list[ImageRef]:
    """Open one image or several; a single one needs no list around it."""
    if isinstance(images, list | tuple):
        return [open_image(image) for image in images]
    return [open_image(cast(ImageSource, images))]
