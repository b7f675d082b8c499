"""`LlmSender`: sends the requests of visual tools through a LlamaIndex `Llava`.

Each request is a chat to LlamaIndex: instrumentation, callbacks, token counters and rate limiters
see it. Its messages name images by handles. A score is the chat whose answer is the best label.
Evidence is no chat: nothing is generated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ContentBlock, TextBlock
from llama_index.core.llms.callbacks import llm_chat_callback

from llama_index.llms.llava import Llava
from llama_index.llms.llava.image_handles import handle_block
from llama_index.llms.llava.results import to_response
from llava_tools.core.backend import calibration_of
from llava_tools.core.calibration import Calibration
from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Request
from llava_tools.core.streaming import aanswer, answer, gather
from llava_tools.evidence import EvidenceMap, ameasure, measure
from llava_tools.tools.requests import EvidenceRequest, ScoringRequest


class LlmSender:
    """A `llava_tools.tools.requests.RequestSender`."""

    def __init__(self, llm: Llava) -> None:
        self._llm = llm

    def answer(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """See `RequestSender.answer`."""
        if len(requests) == 1:
            return [self._answer(requests[0])]
        with ThreadPoolExecutor(len(requests)) as executor:  # they share a batch
            futures = [executor.submit(copy_context().run, self._answer, r) for r in requests]
            return [future.result() for future in futures]

    def score(self, request: ScoringRequest) -> Sequence[float]:
        """See `RequestSender.score`."""
        scores: Sequence[float] = ()

        def chat(_: Llava, messages: Sequence[ChatMessage]) -> ChatResponse:
            nonlocal scores
            scores = self._llm._loader()().score(request.request, request.labels)
            return _label_response(request.labels, scores)

        _traced(chat)(self._llm, _messages(request.request))
        return scores

    def calibration(self) -> Calibration:
        """See `RequestSender.calibration`."""
        return calibration_of(self._llm._loader()())

    def evidence(self, request: EvidenceRequest) -> EvidenceMap:
        """See `RequestSender.evidence`."""
        return measure(self._llm._loader()(), request.request, request.answer)

    async def aanswer(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """See `RequestSender.aanswer`."""
        return await gather(self._aanswer(request) for request in requests)

    async def ascore(self, request: ScoringRequest) -> Sequence[float]:
        """See `RequestSender.ascore`. The scoring itself cannot be stopped."""
        scores: Sequence[float] = ()

        async def chat(_: Llava, messages: Sequence[ChatMessage]) -> ChatResponse:
            nonlocal scores
            backend = await asyncio.to_thread(self._llm._loader())
            scores = await asyncio.to_thread(backend.score, request.request, request.labels)
            return _label_response(request.labels, scores)

        await _traced(chat)(self._llm, _messages(request.request))
        return scores

    async def aevidence(self, request: EvidenceRequest) -> EvidenceMap:
        """See `RequestSender.aevidence`."""
        return await ameasure(self._llm._loader(), request.request, request.answer)

    def _answer(self, request: Request) -> Answer:
        answers: list[Answer] = []

        def chat(_: Llava, messages: Sequence[ChatMessage]) -> ChatResponse:
            answers.append(answer(self._llm._loader()(), request))
            return to_response(answers[0])

        _traced(chat)(self._llm, _messages(request))
        return answers[0]

    async def _aanswer(self, request: Request) -> Answer:
        answers: list[Answer] = []

        async def chat(_: Llava, messages: Sequence[ChatMessage]) -> ChatResponse:
            answers.append(await aanswer(self._llm._loader(), request))
            return to_response(answers[0])

        await _traced(chat)(self._llm, _messages(request))
        return answers[0]


def _traced(chat: Callable[..., Any]) -> Callable[..., Any]:
    """Return a chat that LlamaIndex's callbacks and instrumentation see."""
    traced: Callable[..., Any] = llm_chat_callback()(chat)
    return traced


def _messages(request: Request) -> list[ChatMessage]:
    return [
        ChatMessage(role=message.role, blocks=[_block(part) for part in message.content])
        for message in request.messages
    ]


def _block(part: Any) -> ContentBlock:
    return TextBlock(text=part) if isinstance(part, str) else handle_block(part.handle)


def _label_response(labels: Sequence[str], scores: Sequence[float]) -> ChatResponse:
    best = max(range(len(labels)), key=scores.__getitem__)
    message = ChatMessage(labels[best], role="assistant")
    return ChatResponse(message=message, raw={"scores": dict(zip(labels, scores, strict=True))})
