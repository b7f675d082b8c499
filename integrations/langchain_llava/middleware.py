"""`ImageHandleMiddleware`: an agent of `create_agent` whose state holds handles, not images.

Before a model call, images in the state are put into an image store and become handles; so do
images in the results of tools. The request of each call then gets what its model can read: handles
for `ChatLlava`, bytes for other models that see, the text `[image img_…]` for those that do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

try:
    import langchain  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("langchain", "agents") from error

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langgraph.runtime import Runtime
from langgraph.types import Command

from langchain_llava.chat_models import ChatLlava
from langchain_llava.errors import translate, translated_errors
from langchain_llava.image_blocks import (
    Block,
    block_handle,
    handle_block,
    map_blocks,
    to_handle,
    with_inline_images,
)
from llava_tools.errors import ImageError, RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStoreLike, open_store

if TYPE_CHECKING:  # LangChain 1.0 exports fewer names, and not all of its classes are generic
    from langgraph.prebuilt.tool_node import ToolCallRequest

    ModelHandler = Callable[[ModelRequest[Any]], ModelResponse[Any]]
    AsyncModelHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ToolResult = ToolMessage | Command[Any]


class ImageHandleMiddleware(AgentMiddleware):
    """Keeps handles instead of images in an agent's state, and gives each model what it can read.

    A model that does not see gets the text `[image img_…]`, which it can pass on to the tools of a
    `LlavaToolkit`. Let it be the last middleware of the list, so that it reads the model that the
    others have chosen.

        agent = create_agent(planner, toolkit.get_tools(), middleware=[ImageHandleMiddleware()])

    What `invoke` gets is in the first checkpoint as it was; pass it through `with_handles` to keep
    its images out of checkpoints altogether.

    Setup:
        Install the extra `agents`.

    Args:
        image_store: Keeps the images: an `ImageStore` or the folder of one; by default the store of
            the process.
        image_inputs: Whether models take images whose `profile` does not say.
        allowed_hosts: Hosts ("host" or "host:port") in private networks that URLs may lead to.

    Raises:
        RequestError: An impossible store or host; in a run, a model of which it is not known
            whether it takes images.
        ImageError: In a run, a message's image cannot be used. In a tool's result it becomes a
            text for the model instead.
    """

    def __init__(
        self,
        image_store: ImageStoreLike = None,
        *,
        image_inputs: bool | None = None,
        allowed_hosts: Iterable[str] = (),
    ) -> None:
        super().__init__()
        with translated_errors():
            self._store = open_store(image_store)
            self._resolver = ImageResolver(self._store, allowed_hosts=allowed_hosts)
        self._image_inputs = image_inputs

    def before_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Replace the images of the state by handles."""
        with translated_errors():
            changed = []
            for message in state["messages"]:
                named = map_blocks(message, self._to_handle)
                if named is not message:
                    changed.append(named)
        return {"messages": changed} if changed else None  # of the same ids: replaced in place

    async def abefore_model(
        self, state: AgentState[Any], runtime: Runtime[Any]
    ) -> dict[str, Any] | None:
        """`before_model` in a thread, since images may have to be fetched."""
        return await asyncio.to_thread(self.before_model, state, runtime)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: ModelHandler
    ) -> ModelResponse[Any]:
        """Call the model with images as it can read them."""
        return handler(self._readable(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: AsyncModelHandler
    ) -> ModelResponse[Any]:
        """`wrap_model_call` for `ainvoke` and `astream`."""
        return await handler(await asyncio.to_thread(self._readable, request))

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolResult]
    ) -> ToolResult:
        """Replace the images of a tool's result by handles."""
        return self._without_images(handler(request))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> ToolResult:
        """`wrap_tool_call` for `ainvoke` and `astream`."""
        return await asyncio.to_thread(self._without_images, await handler(request))

    def _to_handle(self, block: Block) -> Block:
        return to_handle(block, self._resolver)

    def _to_handle_or_text(self, block: Block) -> Block:
        """Like `_to_handle`; a tool's image that cannot be used becomes a text for the model."""
        try:
            return self._to_handle(block)
        except ImageError as error:
            return _text(f"[image that cannot be used: {error}]")

    def _without_images(self, result: ToolResult) -> ToolResult:
        if isinstance(result, ToolMessage):
            return map_blocks(result, self._to_handle_or_text)
        update = result.update
        if isinstance(update, Mapping) and isinstance(update.get("messages"), list):
            named = [map_blocks(item, self._to_handle_or_text) for item in update["messages"]]
            return replace(result, update={**update, "messages": named})
        return result

    def _readable(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """Return the request with handles, bytes or texts, as its model takes images."""
        model = request.model
        if isinstance(model, ChatLlava) and open_store(model.image_store) == self._store:
            return request
        with translated_errors():
            named = [map_blocks(message, self._to_handle) for message in request.messages]
            if not any(map(_handles, named)):
                return request
            if not self._sees(model):
                return request.override(messages=[map_blocks(item, _to_text) for item in named])
            profile = getattr(model, "profile", None) or {}
            if profile.get("image_tool_message") is False:
                named = _after_tool_messages(named)
            return request.override(messages=with_inline_images(named, self._store))

    def _sees(self, model: BaseChatModel) -> bool:
        profile = getattr(model, "profile", None) or {}
        sees = profile.get("image_inputs", self._image_inputs)
        if sees is None:
            raise translate(
                RequestError(
                    f"There are images for {type(model).__name__}, whose profile does not say "
                    "whether it takes images.",
                    "Give ImageHandleMiddleware image_inputs=True or False.",
                )
            )
        return bool(sees)


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _to_text(block: Block) -> Block:
    handle = block_handle(block)
    return block if handle is None else _text(f"[image {handle}]")


def _handles(message: AnyMessage) -> list[str]:
    handles: list[str] = []

    def collect(block: Block) -> Block:
        handle = block_handle(block)
        handles.extend([] if handle is None else [handle])
        return block

    map_blocks(message, collect)
    return handles


def _after_tool_messages(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Move images from tool messages into a user message behind them, in whose place names stay."""
    moved: list[AnyMessage] = []
    handles: list[str] = []
    for message in [*messages, None]:
        if handles and not isinstance(message, ToolMessage):
            content: list[Any] = []
            for handle in dict.fromkeys(handles):
                content += [_text(f"[image {handle}]"), handle_block(handle)]
            moved.append(HumanMessage(content))
            handles = []
        if isinstance(message, ToolMessage):
            handles += _handles(message)
            moved.append(map_blocks(message, _to_text))
        elif message is not None:
            moved.append(message)
    return moved
