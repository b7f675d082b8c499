"""`LlavaEngine`: the in-process backend. Requests in, streams out; see the package docstring."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

import torch
from torch import nn

from llava_tools.chat import prompt
from llava_tools.chat.prepare import prepare
from llava_tools.chat.token_limit import check_text, max_new_tokens
from llava_tools.core.backend import Stream, check_labels, check_left_out
from llava_tools.core.image_grid import ImageGrid
from llava_tools.core.outputs import Usage
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine import scoring, vision_tower
from llava_tools.engine.attention import make_attention
from llava_tools.engine.blocks import BlockManager
from llava_tools.engine.context_length import longest_context
from llava_tools.engine.decode_graphs import make_decode_graphs
from llava_tools.engine.decoder import make_decoder
from llava_tools.engine.device import activate, require_memory
from llava_tools.engine.grammar_masks import GrammarCache
from llava_tools.engine.image_batcher import ImageBatcher
from llava_tools.engine.image_cache import ImageFeatureCache
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.loading.checkpoint import LoadedModel
from llava_tools.engine.loading.processor import preprocess
from llava_tools.engine.loop import EngineLoop
from llava_tools.engine.masking import ImageMasker
from llava_tools.engine.memory_plan import plan_memory
from llava_tools.engine.process import check_process, is_forked
from llava_tools.engine.request_state import PromptImage, RequestState
from llava_tools.engine.runner import ModelRunner
from llava_tools.engine.stream import EngineStream
from llava_tools.engine.vision_stream import VisionStream
from llava_tools.errors import EngineClosedError, QueueFullError, RequestError
from llava_tools.images import ImageRef
from llava_tools.options import DEFAULT_CONTEXT_LENGTH, EngineOptions
from llava_tools.structured.constrained_stream import constrained

#: Stands for an image in a prompt's token ids until its request was admitted.
_IMAGE = -1

_SCORING = SamplingParams(logprobs=True)


class LlavaEngine:
    """Runs a loaded LLaVA for many callers at once.

    Args:
        loaded: The model with its tokenizer and image processor; its language model is used up.
        options: The options that it was loaded with.

    Attributes:
        decoder: The language model.
        loop: Runs it.
        cache: The KV of all requests.
        image_batcher: Runs the vision tower.

    Raises:
        ModelError: The KV of a single request does not fit into memory.
    """

    measures_evidence = True

    def __init__(self, loaded: LoadedModel, options: EngineOptions) -> None:
        self.loaded = loaded
        self.model_name = loaded.name
        self.fingerprint = loaded.fingerprint
        self.calibration = loaded.calibration
        self.context_length = _context_length(loaded, options)
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        device = loaded.model.device
        self.device = f"{device} {dtype}"  # as `info` shows it
        self._options = options
        self._tokenizer = loaded.tokenizer
        self._most_characters = self.context_length * loaded.tokenizer.longest_token
        token_embedding = cast(nn.Embedding, loaded.model.get_input_embeddings())
        vocab_size = token_embedding.num_embeddings
        bits = options.quantization if device.type == "cpu" else None  # else by bitsandbytes
        with activate(device):  # the model is tried
            self.decoder = decoder = make_decoder(loaded.model, make_attention(device), bits)
        encode = VisionStream(loaded.model)
        plan = plan_memory(
            loaded.model.config,
            decoder,
            token_embedding,
            encode,
            self.context_length,
            loaded.image_tokens,
        )
        self.cache = KVCache(decoder.kv_shape, plan.blocks, device)
        graphs = make_decode_graphs(decoder, token_embedding, self.cache, self.context_length)
        self.loop = EngineLoop(
            ModelRunner(decoder, token_embedding, decoder.attention, self.cache, graphs),
            BlockManager(plan.blocks, prefix_caching=options.prefix_caching),
            loaded.eos_token_ids,
            plan.step_tokens,
            on_dropped=self._release_dropped,
        )
        self.image_batcher = ImageBatcher(encode, plan.images_at_once)
        self._images = ImageFeatureCache(
            self._encode,
            vocab_size,
            loaded.image_tokens,
            plan.kept_images,
            prefix_caching=options.prefix_caching,
        )
        self._grammars = GrammarCache(loaded.tokenizer.tokenizer, vocab_size)
        self._dropped: queue.SimpleQueue[RequestState] = queue.SimpleQueue()
        self._request_numbers = itertools.count()
        self._free_slots = threading.BoundedSemaphore(options.max_concurrent_requests)
        self._admitted: set[str] = set()  # ids of the requests that hold a slot
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether no request is in flight and none holds a slot."""
        self._release_dropped()
        return not self._admitted and self.loop.idle

    def stream(self, request: Request) -> Stream:
        """See `Backend.stream`. The request's new images are encoded before this returns.

        Raises:
            RequestError: A bad image or conversation, a prompt that is too long, or a schema that
                cannot be enforced.
            QueueFullError: `max_concurrent_requests` requests are in flight.
            MemoryExhaustedError: There is no memory for it or its images; other requests go on.
            EngineClosedError: The engine was closed.
            EngineError: This process was forked from the one that loaded the engine.
        """
        state = self._new_state(request.sampling)
        best_effort = False
        with require_memory("the request"):
            prepared = prepare(request, self._tokenizer.conversation)
            pieces, constraint = prepared.pieces, prepared.constraint
            if not constraint.unconstrained:
                state.constraint, best_effort = self._grammars.matcher(constraint)
            check_text(pieces, self._most_characters, self.context_length)
            ids = self._tokenize(pieces)
        state.max_tokens = self._fit(ids, request.sampling.max_tokens)
        self._admit(state)
        try:
            self._expand_images(ids, pieces, state)
            self.loop.submit(state)
        except BaseException:
            self._release(state)
            raise
        eos = self.loaded.eos_token_ids
        stream = EngineStream(state, self._tokenizer, eos, self._release, self._dropped.put)
        usage = Usage(len(state.prompt_ids), image_tokens=state.image_tokens)
        stop = request.sampling.stop
        return constrained(stream, constraint, best_effort=best_effort, stop=stop, usage=usage)

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """See `Backend.score`."""
        with self._scored(request, labels) as (state, answers):
            states = (self._label_state(state, answer) for answer in answers)
            return scoring.score(self.loop, states)

    @property
    def image_grid(self) -> ImageGrid:
        """See `EvidenceBackend.image_grid`."""
        padded = self.loaded.processor.do_pad
        return vision_tower.image_grid(self.loaded.model.config, padded=padded)

    def score_without(
        self,
        request: Request,
        label: str,
        left_out: Sequence[Sequence[int]],
        cancelled: threading.Event | None = None,
    ) -> list[float]:
        """See `EvidenceBackend.score_without`. All scores count as one request."""
        with self._scored(request, [label]) as (state, (answer,)):
            check_left_out(left_out, state.image_tokens)
            masker = ImageMasker(state, self._images.new_ids)
            states = (
                masker.leave_out(self._label_state(state, answer), positions)
                for positions in left_out
            )
            return scoring.score(self.loop, states, cancelled)

    def count_tokens(self, request: Request) -> int:
        """See `Backend.count_tokens`. No image is opened."""
        conversation = self._tokenizer.conversation
        with require_memory("the request"):
            pieces = prompt.build(request.messages, request.constraint, conversation)
            return self._length(self._tokenize(pieces))

    def token_ids(self, text: str) -> list[int]:
        """See `Backend.token_ids`. `<s>` is not among them."""
        with require_memory("the text"):
            return self._tokenizer.encode(text)

    def close(self) -> None:
        """See `Backend.close`."""
        if not self._closed:
            self._closed = True
            self.loop.close()

    def _new_state(self, sampling: SamplingParams) -> RequestState:
        check_process()
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
        self._admitted.add(state.request_id)

    def _expand_images(
        self, ids: list[int], pieces: Sequence[prompt.Piece], state: RequestState
    ) -> None:
        """Give a request its prompt, with the virtual ids of its images, and their features."""
        images = (piece for piece in pieces if isinstance(piece, ImageRef))
        for token in ids:
            if token != _IMAGE:
                state.prompt_ids.append(token)
                continue
            image = next(images)
            with require_memory(f"the image {image.source}"):
                encoded = self._images.get(image)
            state.images.append(PromptImage(len(state.prompt_ids), encoded.features))
            state.prompt_ids += encoded.ids

    @contextmanager
    def _scored(
        self, request: Request, labels: Sequence[str]
    ) -> Iterator[tuple[RequestState, list[list[int]]]]:
        """Admit a request for scores; yield it with its prompt, and the tokens of the labels."""
        check_labels(labels)
        state = self._new_state(_SCORING)
        with require_memory("the request"):
            pieces = prepare(request, self._tokenizer.conversation).pieces
            check_text(pieces, self._most_characters, self.context_length)
            ids = self._tokenize(pieces)
            answers = [scoring.label_ids(label, self._tokenizer) for label in labels]
        self._fit(ids, max(map(len, answers)))
        self._admit(state)  # all scores count as one request
        try:
            self._expand_images(ids, pieces, state)
            yield state, answers
        finally:
            self._release(state)

    def _label_state(self, request: RequestState, label: list[int]) -> RequestState:
        state = self._new_state(_SCORING)
        state.prompt_ids, state.images, state.label = request.prompt_ids, request.images, label
        return state

    def _encode(self, image: ImageRef) -> torch.Tensor:
        """Return an image's features: [image_tokens, hidden] in the model's dtype."""
        (pixels,) = preprocess(self.loaded.processor, [image])
        return self.image_batcher(pixels)

    def _release_dropped(self) -> None:
        """Release the requests whose streams were garbage-collected before their end."""
        with suppress(queue.Empty):
            while True:
                self._release(self._dropped.get_nowait())

    def _release(self, state: RequestState) -> None:
        """Free everything that a request held; called once, however it ended."""
        if is_forked():  # the parent's request, and its locks may be held by the parent's threads
            return
        self.loop.cancel(state)
        self._admitted.discard(state.request_id)
        self._free_slots.release()


def _context_length(loaded: LoadedModel, options: EngineOptions) -> int:
    """Return the context length to run with; more than the model was built for is an error."""
    maximum = longest_context(loaded.model.config.text_config)
    length = options.context_length or min(maximum, DEFAULT_CONTEXT_LENGTH)
    if length > maximum:
        raise RequestError(
            f"context_length={length} is more than {loaded.name} was built for ({maximum}).",
            f"Use at most {maximum}.",
        )
    return length
