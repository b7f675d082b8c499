"""`LlavaToolkit`: the visual tools of `llava_tools.tools` as LangChain tools.

Any model can plan with them, even one without vision, because handles name the images. The model
reads a tool's result as short JSON; the program gets it as the artifact of the tool message, which
displays itself in a notebook. Errors that the model can correct (an unknown image, a box outside
of it) go back to the model with a hint; all other errors are raised. What a tool wants to know of
its own model are child runs of the tool's run (request_sender.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.runnables import RunnableConfig, ensure_config, patch_config
from langchain_core.tools import BaseTool, BaseToolkit, ToolException
from pydantic import ConfigDict, Field, ValidationError, model_validator

from langchain_llava.chat_models import ChatLlava
from langchain_llava.errors import translated_errors
from langchain_llava.options import CheckedOptions
from langchain_llava.request_sender import ChatSender, chat_model
from llava_tools.errors import OutputError, RequestError
from llava_tools.images import ImageSource
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.model import Llava
from llava_tools.tools import SearchIndex, ToolResult, VisualTool, select_tools
from llava_tools.tools.spec import argument_errors


class LlavaTool(BaseTool):
    """One visual tool of a `LlavaToolkit`.

    Attributes:
        spec: The framework-free tool.
        llm: The model that looks at the images.
        resolver: Opens the images that calls name.
        image_store: The store of `resolver`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    spec: VisualTool[Any, Any] = Field(exclude=True, repr=False)
    llm: Llava | ChatLlava = Field(exclude=True, repr=False)
    resolver: ImageResolver = Field(exclude=True, repr=False)
    image_store: ImageStore | Path | str | None = Field(exclude=True, repr=False)

    def _run(
        self,
        config: RunnableConfig,
        run_manager: CallbackManagerForToolRun | None = None,
        **arguments: Any,
    ) -> tuple[str, ToolResult]:
        with _planner_errors():
            model = chat_model(self.llm)
            sender = ChatSender(model, _child_config(config, run_manager), self.image_store)
            result = self.spec.run(sender, self.spec.parse(arguments), self.resolver)
        return str(result), cast(ToolResult, result)

    async def _arun(
        self,
        config: RunnableConfig,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
        **arguments: Any,
    ) -> tuple[str, ToolResult]:
        with _planner_errors():
            # In a thread: the model may have to be loaded.
            model = await asyncio.to_thread(chat_model, self.llm)
            sender = ChatSender(model, _child_config(config, run_manager), self.image_store)
            result = await self.spec.arun(sender, self.spec.parse(arguments), self.resolver)
        return str(result), cast(ToolResult, result)


class LlavaToolkit(CheckedOptions, BaseToolkit):
    """Vision for an agent: look, describe, read_text, locate, count, compare, choose, zoom.

    The first call of a tool loads the model. With an `index` there is also the tool `find`, whose
    pages the other tools can look at. Handles of images in `ChatLlava` conversations work too.

    Setup:
        Install the extras `torch` and `langchain`.

    Instantiate:
        ```python
        from langchain_llava import LlavaToolkit

        toolkit = LlavaToolkit()
        ```

    Tools:
        ```python
        handle = toolkit.add("examples/images/night.png")
        tools = {tool.name: tool for tool in toolkit.get_tools()}
        tools["look"].invoke({"image": handle, "question": "What colour is the star?"})
        ```

    Agent:
        `create_agent(planner, toolkit.get_tools())`, with any chat model that calls tools; its
        messages name images by their handles.

    Raises:
        RequestError: An unknown option or tool, or a directory or host that cannot be allowed.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    llm: Llava | ChatLlava = Field(default_factory=Llava)
    """The model that looks at the images; the embedded one by default. Of a `ChatLlava`, callbacks,
    cache, rate limiter, tags, metadata, timeout and retries count, but not the system prompt and
    the sampling options: the tools have prompts of their own."""
    tools: tuple[str, ...] | None = None
    """Names of the tools; by default all but the optional ones (`show_evidence`)."""
    image_store: ImageStore | Path | str | None = None
    """Where handles are looked up: an `ImageStore` or the folder of one; by default that of `llm`,
    else the store of the process, which `ChatLlava` uses too."""
    allowed_directories: tuple[Path, ...] = ()
    """Directories whose files the planner may name. None by default, because the planner may have
    read a file name in an untrusted document."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts ("host" or "host:port") whose http(s) URLs the planner may name."""
    index: SearchIndex | None = None
    """What `find` searches, such as a `llava_tools.retrieval.PageIndex`."""
    existence_threshold: float | None = None
    """Minimum probability, 0 to 1, that an image shows what a call is about; below it, the planner
    reads that it is not there, and the artifact is an `AbsentResult`. None for no check."""
    raise_errors: bool = False
    """Raise errors that the planner could correct as `ToolException`."""

    @model_validator(mode="after")
    def _check_tools(self) -> Self:
        self._specs()
        self._resolver()  # raises if the store or a directory cannot be used
        return self

    def add(self, source: ImageSource) -> str:
        """Keep an image from the developer's own code, and return its handle for the prompt.

        Raises:
            ImageError: The image cannot be read, is no image, or is too large.
        """
        return self._resolver().add(source)

    def get_tools(self) -> list[BaseTool]:
        """Return the tools."""
        resolver = self._resolver()
        specs = [tool.for_resolver(resolver) for tool in self._specs()]
        return [
            LlavaTool(
                name=spec.name,
                description=spec.description,
                args_schema=spec.arguments,
                response_format="content_and_artifact",
                handle_tool_error=not self.raise_errors,
                handle_validation_error=False if self.raise_errors else _wrong_arguments,
                spec=spec,
                llm=self.llm,
                resolver=resolver,
                image_store=self._store,
            )
            for spec in specs
        ]

    def _specs(self) -> list[VisualTool[Any, Any]]:
        return select_tools(self.tools, self.index, self.existence_threshold)

    @property
    def _store(self) -> ImageStore | Path | str | None:
        if self.image_store is None and isinstance(self.llm, ChatLlava):
            return self.llm.image_store
        return self.image_store

    def _resolver(self) -> ImageResolver:
        return ImageResolver(self._store, self.allowed_directories, self.allowed_hosts)


def _child_config(
    config: RunnableConfig | None,
    run_manager: CallbackManagerForToolRun | AsyncCallbackManagerForToolRun | None,
) -> RunnableConfig:
    """Return the config of runs below a tool's run; LangChain passes that of the tool's run."""
    if run_manager is None:
        return ensure_config(config)
    return patch_config(config, callbacks=run_manager.get_child())


@contextmanager
def _planner_errors() -> Iterator[None]:
    """Raise errors that the planner can correct as `ToolException`, others as LangChain's."""
    try:
        with translated_errors():
            yield
    except (RequestError, OutputError) as error:
        raise ToolException(str(error)) from error


def _wrong_arguments(error: Any) -> str:
    assert isinstance(error, ValidationError)
    return f"The arguments are wrong: {argument_errors(error)}."
