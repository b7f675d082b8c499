"""`ChatSender`: sends requests of tools, selectors and retrievers through a `ChatLlava`.

Each request is an ordinary call of the chat model, a child of their run: callbacks, tracers,
usage, caches, rate limiters, tags and metadata see it as any other. The call names images by their
handles. What the chat model adds to conversations of its own (a system prompt, sampling options) is
left out, since a tool's request is complete. Evidence is no call: nothing is generated.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_executor_for_config

from langchain_llava import results
from langchain_llava.chat_models import ChatLlava
from langchain_llava.image_blocks import handle_block
from llava_tools.core.backend import calibration_of
from llava_tools.core.calibration import Calibration
from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.streaming import gather
from llava_tools.evidence import EvidenceMap, ameasure, measure
from llava_tools.images.store import ImageStore, ImageStoreLike, open_store
from llava_tools.model import Llava
from llava_tools.options import SAMPLING_OPTIONS
from llava_tools.tools.requests import EvidenceRequest, ScoringRequest

_OWN_OPTIONS = ("system", *SAMPLING_OPTIONS)


def chat_model(llm: Llava | ChatLlava) -> ChatLlava:
    """Return the chat model that sends a model's requests; a `Llava` is loaded.

    Raises:
        ModelError: It cannot be loaded.
        EngineClosedError: It was closed.
    """
    if isinstance(llm, ChatLlava):
        return llm
    return ChatLlava(model=llm.options.model, backend=llm.backend)


class RequestImages(ImageStore):
    """The images of one request, which other requests cannot push out; `key` is another store's."""

    def __init__(self, key: str) -> None:
        super().__init__(max_bytes=sys.maxsize)
        self._key = key


class ChatSender:
    """A `llava_tools.tools.requests.RequestSender`.

    Args:
        model: Answers the requests.
        config: That of the runs.
        image_store: Where the images come from. A user's own store parts his answers from others'
            in LangChain's caches.
    """

    def __init__(
        self, model: ChatLlava, config: RunnableConfig, image_store: ImageStoreLike
    ) -> None:
        self._model = model
        self._config = config
        self._store_key = "" if image_store is None else open_store(image_store).key

    def answer(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """See `RequestSender.answer`."""
        if len(requests) == 1:
            return [results.to_answer(self._invoke(requests[0]))]
        with get_executor_for_config(self._config) as executor:
            return [results.to_answer(message) for message in executor.map(self._invoke, requests)]

    def score(self, request: ScoringRequest) -> Sequence[float]:
        """See `RequestSender.score`."""
        return _scores(self._invoke(request.request, request.labels), request.labels)

    def calibration(self) -> Calibration:
        """See `RequestSender.calibration`."""
        return calibration_of(self._model._loader()())

    def evidence(self, request: EvidenceRequest) -> EvidenceMap:
        """See `RequestSender.evidence`."""
        return measure(self._model._loader()(), request.request, request.answer)

    async def aanswer(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """See `RequestSender.aanswer`."""
        running = asyncio.Semaphore(self._config.get("max_concurrency") or len(requests))

        async def send(request: Request) -> Answer:
            async with running:
                return results.to_answer(await self._ainvoke(request))

        return await gather(send(request) for request in requests)

    async def ascore(self, request: ScoringRequest) -> Sequence[float]:
        """See `RequestSender.ascore`."""
        return _scores(await self._ainvoke(request.request, request.labels), request.labels)

    async def aevidence(self, request: EvidenceRequest) -> EvidenceMap:
        """See `RequestSender.aevidence`."""
        return await ameasure(self._model._loader(), request.request, request.answer)

    def _invoke(self, request: Request, labels: Sequence[str] | None = None) -> AIMessage:
        model, messages = self._model_for(request), _messages(request)
        return model.invoke(messages, self._config, **_keywords(request, labels))

    async def _ainvoke(self, request: Request, labels: Sequence[str] | None = None) -> AIMessage:
        model, messages = self._model_for(request), _messages(request)
        return await model.ainvoke(messages, self._config, **_keywords(request, labels))

    def _model_for(self, request: Request) -> ChatLlava:
        """Return the model without options of its own, with a store that holds the images."""
        images = RequestImages(self._store_key)
        for message in request.messages:
            for image in message.images:
                images.add(image)
        return self._model.model_copy(update={**dict.fromkeys(_OWN_OPTIONS), "image_store": images})


def _messages(request: Request) -> list[HumanMessage]:
    return [HumanMessage(_content(message)) for message in request.messages]


def _content(message: Message) -> list[str | dict[str, Any]]:
    assert message.role == "user", "Requests of tools are single questions."
    return [
        {"type": "text", "text": part} if isinstance(part, str) else handle_block(part.handle)
        for part in message.content
    ]


def _keywords(request: Request, labels: Sequence[str] | None) -> dict[str, Any]:
    """Return the keywords of a call: the options that are not the defaults."""
    defaults = SamplingParams()
    sampling = {name: getattr(request.sampling, name) for name in SAMPLING_OPTIONS}
    keywords = {n: value for n, value in sampling.items() if value != getattr(defaults, n)}
    if labels is not None:
        keywords["labels"] = list(labels)
    return {**keywords, **_format(request.constraint)}


def _format(constraint: Constraint) -> dict[str, Any]:
    keywords: dict[str, Any] = {}
    if constraint.tools:
        keywords["tools"] = [_tool_dict(tool) for tool in constraint.tools]
        keywords["tool_choice"] = constraint.tool_choice
        keywords["parallel_tool_calls"] = constraint.parallel_tool_calls
    if constraint.schema is not None:
        schema = {"name": "answer", "schema": constraint.schema}
        keywords["response_format"] = {"type": "json_schema", "json_schema": schema}
    if keywords:
        keywords |= {"describe": constraint.describe, "strict": constraint.strict}
    return keywords


def _tool_dict(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _scores(message: AIMessage, labels: Sequence[str]) -> list[float]:
    (item,) = results.to_answer(message).logprobs
    scores = dict(item.top)
    return [scores[label] for label in labels]
