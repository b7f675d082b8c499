"""`LlavaEngine`: the in-process backend. Requests in, streams out; see the package docstring."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from llava_tools.chat import prompt
from llava_tools.chat.prepare import prepare
from llava_tools.core.backend import Stream, check_labels
from llava_tools.core.outputs import Usage
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine import scoring, vision_tower
from llava_tools.engine.continuous_batching.runtime import PagedRuntime
from llava_tools.engine.cpu import llama
from llava_tools.engine.device import enough_memory
from llava_tools.engine.grammar_masks import Grammars
from llava_tools.engine.image_batcher import MOST, ImageBatcher
from llava_tools.engine.image_cache import ImageAwareEmbedding, ImageFeatureCache
from llava_tools.engine.loading.checkpoint import Loaded
from llava_tools.engine.request_state import RequestState
from llava_tools.engine.stream import EngineStream
from llava_tools.errors import EngineClosedError, QueueFullError, RequestError
from llava_tools.images import ImageRef
from llava_tools.options import EngineOptions
from llava_tools.structured.parser import constrained

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

_SPELLED = SamplingParams(logprobs=True)


class LlavaEngine:
    """Runs a loaded LLaVA for many callers at once.

    Args:
        loaded: The model with its tokenizer and image processor.
        options: What it was loaded with.

    Attributes:
        loaded: As given. Its language model's input embedding knows images from here on.
    """

    def __init__(self, loaded: Loaded, options: EngineOptions) -> None:
        self.loaded = loaded
        self._options = options
        self._text = loaded.text
        self._context = _context(loaded, options)
        decoder = paged_decoder(loaded.model)
        words = cast(nn.Embedding, decoder.get_input_embeddings())
        self._words = words.num_embeddings
        on_gpu = loaded.model.device.type == "cuda"
        self._together = ImageBatcher(self._seen, MOST if on_gpu else 1)
        self._decoding = threading.Lock()  # one image at a time has all its pixels in memory
        self._images = ImageFeatureCache(
            self._features, self._words, loaded.image_tokens, prefix_caching=options.prefix_caching
        )
        decoder.set_input_embeddings(ImageAwareEmbedding(words, self._images))
        self._ends = loaded.ends
        self._grammars = Grammars(loaded.text.tokenizer, self._words)
        self._dropped: queue.SimpleQueue[RequestState] = queue.SimpleQueue()
        self._runtime = PagedRuntime(
            decoder,
            self._ends,
            self._context,
            prefix_caching=options.prefix_caching,
            on_dropped=self._sweep,
        )
        self._serial = itertools.count()
        self._places = threading.BoundedSemaphore(options.max_concurrent_requests)
        self._held: dict[str, list[range]] = {}
        self._closed = False

    @property
    def model_name(self) -> str:
        """Name of the model; the embedded one says what it is."""
        return self.loaded.name

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._context

    @property
    def image_tokens(self) -> int:
        """Tokens that an image takes."""
        return self._images.tokens_per_image

    @property
    def device(self) -> str:
        """Device and dtype, as `info` shows them."""
        model = self.loaded.model
        return f"{model.device} {str(model.dtype).removeprefix('torch.')}"

    @property
    def kv(self) -> tuple[int, int]:
        """Tokens whose keys and values it can hold, and the bytes that each takes."""
        return self._runtime.kv

    def stream(self, request: Request) -> Stream:
        """Encode the request's new images, queue it, and return its answer on the way.

        Raises:
            RequestError: Not answerable: a bad image or conversation, too long, or a schema that
                cannot be enforced.
            QueueFullError: `max_concurrent_requests` requests are in flight.
            MemoryExhaustedError: There is no memory for its images; other requests go on.
            EngineClosedError: The engine was closed.
        """
        ticket = self._ticket(request.sampling)
        prepared = prepare(request)
        pieces = prompt.pieces_of(prepared.system, prepared.turns)
        constraint, count = prepared.constraint, prepared.images
        best_effort = False
        if not constraint.free:
            ticket.matcher, best_effort = self._grammars.matcher(constraint)
        length = self._length(pieces)
        ticket.max_tokens = prompt.fit(
            length, count, self.image_tokens, request.sampling.max_tokens, self._context
        )
        self._enter(ticket)
        try:
            ids = self._ids(pieces, ticket)
            usage = Usage(prompt_tokens=len(ids), image_tokens=count * self.image_tokens)
            submitted = time.perf_counter()
            self._runtime.submit(ids, ticket)
        except BaseException:
            self._leave(ticket)
            raise
        stream = EngineStream(
            ticket, self._text, self._ends, usage, submitted, self._leave, self._dropped.put
        )
        return constrained(stream, constraint, best_effort=best_effort)

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """Return the log-probabilities of labels as answers; see `Backend.score`."""
        check_labels(labels)
        lead = self._ticket(_SPELLED)
        prepared = prepare(request)
        pieces = prompt.pieces_of(prepared.system, prepared.turns)
        ends = [scoring.spell(label, self._text) for label in labels]
        longest = max(map(len, ends))
        prompt.fit(self._length(pieces), prepared.images, self.image_tokens, longest, self._context)
        self._enter(lead)  # it holds the images, and one place for all labels
        scores: list[float] = []
        try:
            ids = self._ids(pieces, lead)
            for start in range(0, len(ends), scoring.AT_ONCE):
                scores += self._spelled(ids, ends[start : start + scoring.AT_ONCE])
        finally:
            self._leave(lead)
        return scores

    def count_tokens(self, request: Request) -> int:
        """Return the prompt's tokens without looking at any image."""
        return self._length(prompt.build(request.messages, constraint=request.constraint))

    def token_ids(self, text: str) -> list[int]:
        """Return the ids of plain text, without `<s>`."""
        return self._text.encode(text)

    def close(self) -> None:
        """Fail what is in flight and drop the model."""
        if not self._closed:
            self._closed = True
            self._runtime.close()

    def _ticket(self, sampling: SamplingParams) -> RequestState:
        if self._closed:
            raise EngineClosedError("The engine is closed.", "Make a new one.")
        self._sweep()
        return RequestState(f"r{next(self._serial)}", sampling, time.perf_counter())

    def _enter(self, ticket: RequestState) -> None:
        """Take a place for a request; `_leave` gives it back."""
        if not self._places.acquire(blocking=False):
            raise QueueFullError(
                f"{self._options.max_concurrent_requests} requests are in flight, the most this engine takes.",
                "Try again later, or set a larger max_queue.",
            )
        self._held[ticket.request_id] = []

    def _ids(self, pieces: list[prompt.Piece], ticket: RequestState) -> list[int]:
        """Return the prompt's ids; its images are held for the request state from here on."""

        def image(ref: ImageRef) -> range:
            with enough_memory(f"the picture {ref.source}"):
                ids = self._images.acquire(ref)
            self._held[ticket.request_id].append(ids)
            return ids

        return self._text.tokenize(pieces, image)

    def _length(self, pieces: list[prompt.Piece]) -> int:
        return len(self._text.tokenize(pieces, lambda ref: range(self.image_tokens)))

    def _spelled(self, ids: list[int], labels: list[list[int]]) -> list[float]:
        """Let the model spell each label after a prompt; return their log-probabilities."""
        tickets = []
        try:
            for label in labels:
                ticket = self._ticket(_SPELLED)
                ticket.matcher = scoring.Spelling(label, self._words)
                ticket.max_tokens = len(label)
                tickets.append(ticket)
                self._runtime.submit(ids, ticket)
                if len(tickets) == 1:
                    scoring.begun(ticket)  # so that the others find the prompt computed
            return scoring.read(tickets)
        finally:
            for ticket in tickets:
                self._runtime.cancel(ticket)

    def _features(self, image: ImageRef) -> torch.Tensor:
        """Encode one image: [image_tokens, hidden] in the model's dtype."""
        model = self.loaded.model
        with self._decoding:
            (pixels,) = self.loaded.pixels([image]).to(model.device, model.dtype)
        return self._together(pixels)

    @torch.inference_mode()
    def _seen(self, pixels: torch.Tensor) -> torch.Tensor:
        return vision_tower.features(self.loaded.model, pixels)

    def _sweep(self) -> None:
        """Free what streams held that were dropped without being closed."""
        with suppress(queue.Empty):
            while True:
                self._leave(self._dropped.get_nowait())

    def _leave(self, ticket: RequestState) -> None:
        """Free everything that a request held; called once, whichever way it ended."""
        self._runtime.cancel(ticket)
        for ids in self._held.pop(ticket.request_id, ()):
            self._images.release(ids)
        self._places.release()


def paged_decoder(model: LlavaForConditionalGeneration) -> PreTrainedModel:
    """Return the language model of a LLaVA as a causal model of its own, sharing all weights.

    On a CPU the language model is replaced by one that runs faster there, in the LLaVA too.
    """
    with torch.device("meta"):
        decoder: PreTrainedModel = AutoModelForCausalLM.from_config(
            model.config.text_config, attn_implementation="sdpa"
        )
    decoder.model = model.model.language_model
    decoder.lm_head = model.lm_head
    if llama.suits(decoder):
        llama.replace(model, decoder)
    decoder.eval()
    return decoder


def _context(loaded: Loaded, options: EngineOptions) -> int:
    """Return the context to run with; asking for more than the model was built for is an error."""
    text: Any = loaded.model.config.text_config
    built_for: int = text.max_position_embeddings
    if options.context_length is not None and options.context_length > built_for:
        raise RequestError(
            f"context={options.context_length} is more than {loaded.name} was built for ({built_for}).",
            f"Use at most {built_for}.",
        )
    return options.context_length or built_for
