"""`LlavaSelector`: a runnable that always returns one of its options, with probabilities."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableSerializable
from pydantic import Field

from langchain_llava.chat_models import ChatLlava
from langchain_llava.errors import translated_errors
from langchain_llava.messages import to_messages
from langchain_llava.options import CheckedOptions
from langchain_llava.request_sender import ChatSender
from llava_tools.core.requests import Message
from llava_tools.errors import RequestError, refuse_unknown
from llava_tools.label_scoring import Classification
from llava_tools.tools.selection import aselect_option, select_option


class LlavaSelector(CheckedOptions, RunnableSerializable[Any, Classification]):
    """Selects one of several options for the user's last message, with its images.

    The options' names are scored as answers, so that even a small model always returns one of them;
    nothing is generated. The input is a text, messages, or a state with `messages`.

    Instantiate:
        ```python
        from langchain_llava import ChatLlava, LlavaSelector

        selector = LlavaSelector(
            llm=ChatLlava(),
            options={"day": "Scenes in daylight.", "night": "Scenes in the dark."},
        )
        ```

    Invoke:
        ```python
        choice = selector.invoke("When do the stars shine, by night?")
        print(choice.label, choice.probabilities)
        ```

    LangGraph:
        `builder.add_conditional_edges(START, selector.route, list(selector.options))`.

    Raises:
        RequestError: There is no option to select; an unknown or impossible argument.
    """

    llm: ChatLlava = Field(default_factory=ChatLlava)
    """The model that selects."""
    options: Mapping[str, str] = Field(min_length=1)
    """Names of the options, and what each is for. Speaking names help: they are what is scored."""
    abstain: float | None = None
    """The minimum probability, 0 to 1, of the selected option, below which the label is None."""

    @property
    def route(self) -> Runnable[Any, str | None]:
        """This selector as a runnable that returns the option's name only."""
        return self | RunnableLambda(_label)

    def invoke(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Classification:
        """Select an option.

        Raises:
            RequestError: The input has no message of a user, or a block that LLaVA cannot read.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish.
        """
        _refuse(kwargs)
        return self._call_with_config(self._select, input, config)

    async def ainvoke(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Classification:
        """`invoke` without blocking the event loop."""
        _refuse(kwargs)
        return await self._acall_with_config(self._aselect, input, config)

    def _select(
        self, request: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig
    ) -> Classification:
        with translated_errors():
            question = self._question(request)
            return select_option(
                ChatSender(self.llm, config, self.llm.image_store),
                question.text,
                question.images,
                self.options,
                abstain=self.abstain,
            )

    async def _aselect(
        self, request: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
    ) -> Classification:
        with translated_errors():
            # In a thread: images may have to be fetched.
            question = await asyncio.to_thread(self._question, request)
            return await aselect_option(
                ChatSender(self.llm, config, self.llm.image_store),
                question.text,
                question.images,
                self.options,
                abstain=self.abstain,
            )

    def _question(self, request: Any) -> Message:
        (message,) = to_messages([last_user_message(request)], self.llm._resolver)
        return message


def last_user_message(request: Any) -> HumanMessage:
    """Return the user's last message of a text, messages, a prompt or a state with `messages`.

    Raises:
        RequestError: There is none.
    """
    if isinstance(request, PromptValue):
        request = request.to_messages()
    elif isinstance(request, Mapping) and "messages" in request:
        request = request["messages"]
    elif not isinstance(request, str | BaseMessage | list | tuple):
        request = getattr(request, "messages", [])
    messages = convert_to_messages([request] if isinstance(request, str | BaseMessage) else request)
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return message
    raise RequestError("There is no message of a user.", "Pass the user's message or question.")


def _refuse(kwargs: Mapping[str, Any]) -> None:
    with translated_errors():
        refuse_unknown(kwargs, (), "A LlavaSelector call")


def _label(choice: Classification) -> str | None:
    return choice.label
