"""Sends the samples of a benchmark to a backend, many at once, and logs each answer as it comes.

Threads take turns at groups of samples, most of them about one image: the questions of a group are
sent one after the other, so that the image is opened and encoded once and its part of the prompt is
computed once. Images are opened when their turn comes, so that memory does not grow with the data
set. Only the caller's thread writes to the log.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from llava_tools.core.backend import Backend
from llava_tools.core.outputs import Answer, collect
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.retry import RetryingStream
from llava_tools.core.unicode import well_formed
from llava_tools.errors import RequestError
from llava_tools.evaluation.answer_log import AnswerLog, LoggedAnswer
from llava_tools.evaluation.selection import group_samples
from llava_tools.evaluation.task import Answers, Progress, Sample
from llava_tools.images import ImageRef, open_image
from llava_tools.images.sources import shorten

#: Images about which questions are in flight at once, by default.
AT_ONCE = 32
#: How often a request is sent again after an error that may pass, such as a full queue.
_MAX_RETRIES = 4
#: Seconds after which the wait for an answer looks for an interrupt, which another thread than the
#: main one may have received.
_INTERVAL = 0.1
#: Seconds for threads to end after their streams were closed.
_GRACE = 5.0


def answer_samples(
    backend: Backend,
    samples: Sequence[Sample],
    log: AnswerLog,
    *,
    at_once: int = AT_ONCE,
    progress: Progress | None = None,
) -> Answers:
    """Answer the samples that the log has no answer for; return the answers of all.

    The prompt is that of LLaVA 1.5's evaluation: the system sentence of the conversation format,
    the image, the question. Each token is the likeliest one.

    Args:
        backend: Answers.
        samples: With different ids.
        log: Has earlier answers; gets each new one at once.
        at_once: Images about which questions are in flight at once; >= 1.
        progress: Called at the start and after each answer with the number of answered samples and
            that of all.

    Raises:
        RequestError: A sample cannot be answered; the message names it. Answers to others are kept.
        EngineError: The backend could not finish; likewise.
    """
    pending = [sample for sample in samples if sample.id not in log.answers]
    show = progress or (lambda done, total: None)
    left = {sample.id for sample in pending}
    show(len(samples) - len(left), len(samples))

    def write(answer: LoggedAnswer) -> None:
        log.append(answer)
        left.remove(answer.id)
        show(len(samples) - len(left), len(samples))

    _Workers(backend, group_samples(pending), at_once).run(write)
    return {sample.id: log.answers[sample.id] for sample in samples}


class _Workers:
    """Threads that answer groups of samples."""

    def __init__(self, backend: Backend, groups: Sequence[list[Sample]], at_once: int) -> None:
        self._backend = backend
        self._groups = iter(groups)
        self._results: queue.SimpleQueue[LoggedAnswer | BaseException | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards what follows, and the iterator above
        self._streams: set[RetryingStream] = set()
        self._stopped = False
        self._threads = [
            # Daemons: a backend that does not return must not keep the interpreter alive.
            threading.Thread(target=self._work, name="llava-tools-evaluation", daemon=True)
            for _ in range(min(at_once, len(groups)))
        ]

    def run(self, write: Callable[[LoggedAnswer], None]) -> None:
        """Answer all groups; at an error or an interrupt, close the streams in flight.

        Args:
            write: Called, in this thread, with each answer.
        """
        try:
            # A function of its own: in a loop that stands in the `try` itself, an interrupt that
            # comes with a jump would skip the `finally` (CPython 3.11).
            self._write_results(write)
        finally:
            self._stop()
            while not self._results.empty():  # answers that came meanwhile
                if isinstance(result := self._results.get(), LoggedAnswer):
                    write(result)

    def _write_results(self, write: Callable[[LoggedAnswer], None]) -> None:
        """Start the threads, and write their answers until all have ended."""
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
        while running:
            try:
                result = self._results.get(timeout=_INTERVAL)
            except queue.Empty:
                continue
            if isinstance(result, BaseException):
                raise result
            if result is None:
                running -= 1
            else:
                write(result)

    def _stop(self) -> None:
        """Close all streams, and wait for the threads."""
        with self._lock:
            self._stopped = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        deadline = time.monotonic() + _GRACE
        for thread in self._threads:
            if thread.is_alive():  # an interrupt may have come before it was started
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        """Answer groups until there are no more; put the answers, or an error, and at last None."""
        try:
            while (group := self._next_group()) is not None:
                self._answer_group(group)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            if not self._stopped:  # else it says that its stream was closed
                self._results.put(error)
        finally:
            self._results.put(None)

    def _next_group(self) -> list[Sample] | None:
        with self._lock:
            return None if self._stopped else next(self._groups, None)

    def _answer_group(self, group: Sequence[Sample]) -> None:
        """Answer the samples of a group in their order; an image stays open for the next one."""
        image: ImageRef | None = None
        previous: Sample | None = None
        for sample in group:
            try:
                if previous is None or sample.image != previous.image:
                    source = sample.read_image()
                    image = None if source is None else open_image(source)
                previous = sample
                answer = self._answer(_request(sample, image))
            except RequestError as error:
                raise RequestError(
                    f"The sample {shorten(sample.id)} cannot be answered: {error.message}",
                    error.hint,
                ) from error
            self._results.put(
                LoggedAnswer(
                    sample.id,
                    well_formed(answer.text.strip()),
                    answer.usage.prompt_tokens,
                    answer.usage.completion_tokens,
                    answer.finish_reason,
                )
            )

    def _answer(self, request: Request) -> Answer:
        # It may be closed before and while the backend starts it.
        stream = RetryingStream(partial(self._backend.stream, request), _MAX_RETRIES)
        with self._lock:
            if self._stopped:
                stream.close()
            self._streams.add(stream)
        try:
            return collect(stream, self._backend.model_name)
        finally:
            stream.close()
            with self._lock:
                self._streams.discard(stream)


def _request(sample: Sample, image: ImageRef | None) -> Request:
    """Return the request of LLaVA 1.5's evaluation: the image, then the question; greedy."""
    content = (sample.question,) if image is None else (image, sample.question)
    return Request((Message("user", content),), SamplingParams(max_tokens=sample.max_tokens))
