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
from llava_tools.chat.token_limit import max_new_tokens
from llava_tools.core.backend import Stream, check_labels
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine import scoring, vision_tower
from llava_tools.engine.continuous_batching.runtime import PagedRuntime
from llava_tools.engine.cpu import llama
from llava_tools.engine.device import require_memory
from llava_tools.engine.grammar_masks import GrammarCache
from llava_tools.engine.image_batcher import MAX_IMAGES, ImageBatcher
from llava_tools.engine.image_cache import ImageAwareEmbedding, ImageFeatureCache
from llava_tools.engine.loading.checkpoint import LoadedModel
from llava_tools.engine.loading.processor import preprocess
from llava_tools.engine.request_state import RequestState
from llava_tools.engine.stream import EngineStream
from llava_tools.errors import EngineClosedError, QueueFullError, RequestError
from llava_tools.images import ImageRef
from llava_tools.options import DEFAULT_CONTEXT_LENGTH, EngineOptions
from llava_tools.structured.parser import constrained

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

#: Stands for an image in a prompt's token ids until its request was admitted.
_IMAGE = -1

_SCORING = SamplingParams(logprobs=True)


class LlavaEngine:
    """Runs a loaded LLaVA for many callers at once.

    Args:
        loaded: The model with its tokenizer and image processor. The input embedding of its
            language model is replaced by one that takes virtual ids of images.
        options: The options that it was loaded with.

    Attributes:
        runtime: Runs the language model.
        image_batcher: Runs the vision tower.
    """

    def __init__(self, loaded: LoadedModel, options: EngineOptions) -> None:
        self.loaded = loaded
        self.model_name = loaded.name
        self.context_length = _context_length(loaded, options)
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        self.device = f"{loaded.model.device} {dtype}"  # as `info` shows it
        self._options = options
        self._tokenizer = loaded.tokenizer
        decoder = paged_decoder(loaded.model)
        token_embedding = cast(nn.Embedding, decoder.get_input_embeddings())
        self._vocab_size = token_embedding.num_embeddings
        on_gpu = loaded.model.device.type == "cuda"
        self.image_batcher = ImageBatcher(self._encode_pixels, MAX_IMAGES if on_gpu else 1)
        self._pixels_lock = threading.Lock()  # one image at a time has all its pixels in memory
        self._images = ImageFeatureCache(
            self._encode,
            self._vocab_size,
            loaded.image_tokens,
            prefix_caching=options.prefix_caching,
        )
        decoder.set_input_embeddings(ImageAwareEmbedding(token_embedding, self._images))
        self._grammars = GrammarCache(loaded.tokenizer.tokenizer, self._vocab_size)
        self._dropped: queue.SimpleQueue[RequestState] = queue.SimpleQueue()
        self.runtime = PagedRuntime(
            decoder,
            loaded.eos_token_ids,
            self.context_length,
            prefix_caching=options.prefix_caching,
            on_dropped=self._release_dropped,
        )
        self._request_numbers = itertools.count()
        self._free_slots = threading.BoundedSemaphore(options.max_concurrent_requests)
        self._image_ids: dict[str, list[range]] = {}  # acquired, by the request that holds them
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether no request is in flight and no image is held for one."""
        return not self._image_ids and self.runtime.idle

    def stream(self, request: Request) -> Stream:
        """See `Backend.stream`. The request's new images are encoded before this returns.

        Raises:
            RequestError: A bad image or conversation, a prompt that is too long, or a schema that
                cannot be enforced.
            QueueFullError: `max_concurrent_requests` requests are in flight.
            MemoryExhaustedError: There is no memory for its images; other requests go on.
            EngineClosedError: The engine was closed.
        """
        state = self._new_state(request.sampling)
        prepared = prepare(request, self._tokenizer.conversation)
        pieces, constraint = prepared.pieces, prepared.constraint
        best_effort = False
        if not constraint.unconstrained:
            state.constraint, best_effort = self._grammars.matcher(constraint)
        ids = self._tokenize(pieces)
        state.max_tokens = self._fit(ids, request.sampling.max_tokens)
        self._admit(state)
        try:
            self.runtime.submit(self._expand_images(ids, pieces, state), state)
        except BaseException:
            self._release(state)
            raise
        eos = self.loaded.eos_token_ids
        stream = EngineStream(state, self._tokenizer, eos, self._release, self._dropped.put)
        return constrained(stream, constraint, best_effort=best_effort)

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """See `Backend.score`."""
        check_labels(labels)
        state = self._new_state(_SCORING)
        pieces = prepare(request, self._tokenizer.conversation).pieces
        ids = self._tokenize(pieces)
        answers = [scoring.label_ids(label, self._tokenizer) for label in labels]
        self._fit(ids, max(map(len, answers)))
        self._admit(state)  # it counts as one request and holds the images for all labels
        scores: list[float] = []
        try:
            ids = self._expand_images(ids, pieces, state)
            for start in range(0, len(answers), scoring.MAX_LABELS_AT_ONCE):
                scores += self._score(ids, answers[start : start + scoring.MAX_LABELS_AT_ONCE])
            return scores
        finally:
            self._release(state)

    def count_tokens(self, request: Request) -> int:
        """See `Backend.count_tokens`. No image is opened."""
        conversation = self._tokenizer.conversation
        pieces = prompt.build(request.messages, request.constraint, conversation)
        return self._length(self._tokenize(pieces))

    def token_ids(self, text: str) -> list[int]:
        """See `Backend.token_ids`. `<s>` is not among them."""
        return self._tokenizer.encode(text)

    def close(self) -> None:
        """See `Backend.close`."""
        if not self._closed:
            self._closed = True
            self.runtime.close()

    def _new_state(self, sampling: SamplingParams) -> RequestState:
        if self._closed:
            raise EngineClosedError("The engine is closed.", "Make a new one.")
        self._release_dropped()
        return RequestState(f"r{next(self._request_numbers)}", sampling, time.perf_counter())

    def _tokenize(self, pieces: Sequence[prompt.Piece]) -> list[int]:
        """Return the ids of a prompt, with one placeholder for each image."""
        return self._tokenizer.tokenize(pieces, lambda image: (_IMAGE,))

    def _length(self, ids: list[int]) -> int:
        """Return the prompt's tokens once its placeholders are expanded."""
        return len(ids) + ids.count(_IMAGE) * (self.loaded.image_tokens - 1)

    def _fit(self, ids: list[int], max_tokens: int | None) -> int:
        """See `token_limit.max_new_tokens`."""
        images, per_image = ids.count(_IMAGE), self.loaded.image_tokens
        return max_new_tokens(self._length(ids), images, per_image, max_tokens, self.context_length)

    def _admit(self, state: RequestState) -> None:
        """Reserve a slot for a request until `_release`."""
        if not self._free_slots.acquire(blocking=False):
            limit = self._options.max_concurrent_requests
            raise QueueFullError(
                f"{limit} requests are in flight, the most this engine takes.",
                "Try again later, or set a larger max_concurrent_requests.",
            )
        self._image_ids[state.request_id] = []

    def _expand_images(
        self, ids: list[int], pieces: Sequence[prompt.Piece], state: RequestState
    ) -> list[int]:
        """Return a prompt's ids with the virtual ids of its images, held until `_release`."""
        images = (piece for piece in pieces if isinstance(piece, ImageRef))
        expanded: list[int] = []
        for token in ids:
            if token != _IMAGE:
                expanded.append(token)
                continue
            image = next(images)
            with require_memory(f"the image {image.source}"):
                image_ids = self._images.acquire(image)
            self._image_ids[state.request_id].append(image_ids)
            expanded += image_ids
            state.image_tokens += len(image_ids)
        return expanded

    def _score(self, ids: list[int], answers: list[list[int]]) -> list[float]:
        """Force each answer after a prompt; return their log-probabilities."""
        states: list[RequestState] = []
        try:
            for answer in answers:
                state = self._new_state(_SCORING)
                state.constraint = scoring.ForcedTokens(answer, self._vocab_size)
                state.max_tokens = len(answer)
                states.append(state)
                self.runtime.submit(ids, state)
                if len(states) == 1:  # wait until it has computed the prompt, which all share
                    state.outputs.put(state.outputs.get())
            return scoring.sum_logprobs(states)
        finally:
            for state in states:
                self.runtime.cancel(state)

    def _encode(self, image: ImageRef) -> torch.Tensor:
        """Return an image's features: [image_tokens, hidden] in the model's dtype."""
        model = self.loaded.model
        with self._pixels_lock:
            (pixels,) = preprocess(self.loaded.processor, [image]).to(model.device, model.dtype)
        return self.image_batcher(pixels)

    @torch.inference_mode()
    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        return vision_tower.features(self.loaded.model, pixels)

    def _release_dropped(self) -> None:
        """Release the requests whose streams were garbage-collected before their end."""
        with suppress(queue.Empty):
            while True:
                self._release(self._dropped.get_nowait())

    def _release(self, state: RequestState) -> None:
        """Free everything that a request held; called once, however it ended."""
        self.runtime.cancel(state)
        for ids in self._image_ids.pop(state.request_id, ()):
            self._images.release(ids)
        self._free_slots.release()


def paged_decoder(model: LlavaForConditionalGeneration) -> PreTrainedModel:
    """Return the language model of a LLaVA as a causal model of its own that shares all weights.

    On a CPU the language model is replaced by a faster one, in the LLaVA too.
    """
    with torch.device("meta"):
        decoder: PreTrainedModel = AutoModelForCausalLM.from_config(
            model.config.text_config, attn_implementation="sdpa", trust_remote_code=False
        )
    decoder.model = model.model.language_model
    decoder.lm_head = model.lm_head
    if llama.is_supported(decoder):
        llama.replace(model, decoder)
    decoder.eval()
    return decoder


def _context_length(loaded: LoadedModel, options: EngineOptions) -> int:
    """Return the context length to run with; more than the model was built for is an error."""
    maximum = int(cast(Any, loaded.model.config.text_config).max_position_embeddings)
    length = options.context_length or min(maximum, DEFAULT_CONTEXT_LENGTH)
    if length > maximum:
        raise RequestError(
            f"context_length={length} is more than {loaded.name} was built for ({maximum}).",
            f"Use at most {maximum}.",
        )
    return length
