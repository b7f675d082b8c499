"""`Llava`, the main class of the Python API: questions and images in, answers out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Self, Unpack, cast

from llava_tools import evidence, label_scoring, model_cache
from llava_tools.core import streaming
from llava_tools.core.backend import (
    Backend,
    Stream,
    calibration_of,
    check_labels,
    evidence_backend,
)
from llava_tools.core.leased_backend import LeasedBackend
from llava_tools.core.outputs import Answer, Chunk
from llava_tools.core.requests import Message, Request, SamplingKeywords, SamplingParams
from llava_tools.core.streaming import aanswer, astream
from llava_tools.errors import EngineClosedError, RequestError
from llava_tools.evidence import EvidenceMap
from llava_tools.images import ImageSource, open_image
from llava_tools.label_scoring import Classification
from llava_tools.options import EngineKeywords, EngineOptions
from llava_tools.warmup import Progress, warm_up

Images = ImageSource | Sequence[ImageSource]


class Llava:
    """LLaVA 1.5 on this machine.

    The first question loads the engine, which all objects with equal options share in a process.
    May be used from many threads and tasks at once: their requests run in one batch.

    Args:
        model: `tiny` (the embedded model, the default), `0.5b`, `7b`, `13b`, a hub id or a folder.
        backend: A custom backend instead (see `llava_tools.testing.ScriptedBackend`).
        **options: Fields of `EngineOptions`: device, dtype, quantization, revision, base_url, ...

    Raises:
        RequestError: An unknown option or an impossible value.
    """

    def __init__(
        self,
        model: str = "tiny",
        *,
        backend: Backend | None = None,
        **options: Unpack[EngineKeywords],
    ) -> None:
        self.options = EngineOptions.from_keywords(model, options, "Llava")
        self._backend = backend
        self._closed = False

    @property
    def backend(self) -> Backend:
        """The engine; loads the model at the first access.

        Raises:
            ModelError: The model cannot be loaded.
            EngineClosedError: This object was closed.
        """
        self._check_open()
        if self._backend is not None:
            return self._backend
        if math.isinf(self.options.idle_seconds):
            return model_cache.engines.acquire(self.options, self)
        return LeasedBackend(self._lease)

    def warm_up(self, progress: Progress | None = None) -> None:
        """Load the model and answer test questions, so that the first real one does not wait.

        Args:
            progress: See `llava_tools.warmup.Progress`.

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
        """Answer a question about images, or without any.

        Args:
            question: The text of the question.
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
        return streaming.answer(self.backend, request)

    def stream(
        self,
        question: str,
        images: Images = (),
        *,
        history: Sequence[Message] = (),
        system: str | None = None,
        **sampling: Unpack[SamplingKeywords],
    ) -> Stream:
        """`ask` as a stream of chunks. Closing or dropping the stream stops the generation."""
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
        """Choose among labels by their probabilities as the answer, without sampling.

        The prompt is the one that LLaVA was trained with for short answers. The probabilities are
        calibrated if the model has a calibration.

        Args:
            question: The text of the question.
            images: One image, several, or none.
            labels: The possible answers: at least one, all different.
            abstain: The minimum probability, 0 to 1, of the chosen label; None for no minimum.

        Raises:
            RequestError: A bad image, label or threshold, or more than the context holds.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish.
        """
        label_scoring.check_abstain(abstain)
        check_labels(labels)
        request = _request(
            label_scoring.short_answer_question(question), images, (), None, {}, "choose"
        )
        backend = self.backend
        scaling = calibration_of(backend).choice
        return label_scoring.classify(labels, backend.score(request, labels), abstain, scaling)

    def score(self, text: str, image: ImageSource) -> float:
        """Return the probability, 0 to 1, that an image shows what a text describes.

        It ranks images by VQAScore (Lin et al. 2024): the probability of "Yes" to 'Does this
        figure show "{text}"? Please answer yes or no.', here as its share among yes and no,
        calibrated if the model has a calibration.

        Raises:
            RequestError: A bad image, or more than the context holds.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish.
        """
        request = _request(label_scoring.shows_question(text), image, (), None, {}, "score")
        backend = self.backend
        scores = backend.score(request, label_scoring.YES_OR_NO)
        return label_scoring.yes_probability(scores, calibration_of(backend).yes_no)

    def evidence(
        self,
        question: str,
        images: Images,
        answer: str | None = None,
        *,
        image_index: int = 0,
    ) -> EvidenceMap:
        """Measure which part of an image an answer depends on; see `llava_tools.evidence`.

        Takes as long as some dozens of prompts; the image is encoded once.

        Args:
            question: The text of the question.
            images: One image or several.
            answer: The whole answer; None for the model's own, the likeliest.
            image_index: Of several images, the one that is mapped, from 0.

        Raises:
            RequestError: A bad image or answer, more than the context holds, or a model that does
                not run in this process.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish.
        """
        request = _request(question, images, (), None, {}, "evidence")
        evidence.check_image_index(request, image_index)
        backend = self.backend
        evidence_backend(backend)  # before it answers
        if answer is None:
            answer = streaming.answer(backend, request).text.strip()
        return evidence.measure(backend, request, answer, image_index)

    async def aevidence(
        self,
        question: str,
        images: Images,
        answer: str | None = None,
        *,
        image_index: int = 0,
    ) -> EvidenceMap:
        """`evidence` without blocking the event loop; cancelling the task stops it."""
        request = _request(question, images, (), None, {}, "aevidence")
        evidence.check_image_index(request, image_index)
        backend = await asyncio.to_thread(lambda: self.backend)
        evidence_backend(backend)
        if answer is None:
            answer = (await aanswer(lambda: backend, request)).text.strip()
        return await evidence.ameasure(lambda: backend, request, answer, image_index)

    async def achoose(
        self,
        question: str,
        images: Images,
        labels: Sequence[str],
        *,
        abstain: float | None = None,
    ) -> Classification:
        """`choose` in a thread, without blocking the event loop; it cannot be cancelled."""
        return await asyncio.to_thread(self.choose, question, images, labels, abstain=abstain)

    async def ascore(self, text: str, image: ImageSource) -> float:
        """`score` in a thread, without blocking the event loop; it cannot be cancelled."""
        return await asyncio.to_thread(self.score, text, image)

    def close(self) -> None:
        """Release the model; its memory is freed when no other object uses it."""
        if not self._closed:
            self._closed = True
            if self._backend is None:
                model_cache.engines.release(self.options, self)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosedError("This Llava is closed.", "Make a new one.")

    def _lease(self) -> model_cache.ModelLease[Backend]:
        self._check_open()
        return model_cache.engines.lease(self.options, self, self.options.idle_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
    """Create a request; everything that needs no model is checked here."""
    if not isinstance(question, str):
        raise RequestError(f"The question is a {type(question).__name__}.", "Pass a string.")
    sources = images if isinstance(images, list | tuple) else [cast(ImageSource, images)]
    system_messages = () if system is None else (Message("system", (system,)),)
    user_message = Message("user", (*map(open_image, sources), question))
    return Request(
        (*system_messages, *history, user_message), SamplingParams.from_keywords(sampling, where)
    )
