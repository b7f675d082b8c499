"""`LlavaToolkit`: the visual tools of `llava_tools.tools` as LangChain tools.

Any model can plan with them, also one that cannot see: images are named by handles. What a tool
finds goes to the model as short JSON, and to the program as the tool message's artifact, which
shows itself in a notebook. What the model did wrong (an unknown image, a box outside of it) goes
back to the model as an error that says what to do; everything else is raised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, cast

from langchain_core.tools import BaseTool, BaseToolkit, ToolException
from pydantic import ConfigDict, Field, ValidationError, model_validator

from langchain_llava.errors import twin
from llava_tools.errors import LlavaToolsError, OutputError, RequestError
from llava_tools.images import ImageSource
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.model import Llava
from llava_tools.tools import Findable, Result, VisualTool, named
from llava_tools.tools.spec import faults


class LlavaTool(BaseTool):
    """One visual tool. Made by `LlavaToolkit`.

    Attributes:
        spec: What it does.
        llava: Who looks.
        resolver: Which images may be named.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    spec: VisualTool[Any, Any] = Field(exclude=True, repr=False)
    llava: Llava = Field(exclude=True, repr=False)
    resolver: ImageResolver = Field(exclude=True, repr=False)

    def _run(self, **arguments: Any) -> tuple[str, Result]:
        try:
            result = self.spec.run(self.llava, self.spec.parse(arguments), self.resolver)
        except LlavaToolsError as error:
            raise _told(error) from error
        return str(result), cast(Result, result)

    async def _arun(self, **arguments: Any) -> tuple[str, Result]:
        try:
            result = await self.spec.arun(self.llava, self.spec.parse(arguments), self.resolver)
        except LlavaToolsError as error:
            raise _told(error) from error
        return str(result), cast(Result, result)


class LlavaToolkit(BaseToolkit):
    """Eyes for an agent: look, describe, read_text, locate, count, compare, choose, zoom.

        toolkit = LlavaToolkit(llava=Llava("7b"))
        handle = toolkit.add("street.jpg")
        agent = create_agent(planner, toolkit.get_tools())
        agent.invoke({"messages": [("user", f"What do you see in {handle}?")]})

    With an index there is `find` as well, whose pages the other tools can be shown. Nothing is
    loaded until a tool runs. Images of a `ChatLlava` conversation are known by their handles too.

    Raises:
        RequestError: An unknown tool, or a folder or host that cannot be allowed.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    llava: Llava = Field(default_factory=Llava)
    """Who looks; the embedded model by default."""
    names: tuple[str, ...] | None = None
    """Which tools; all by default."""
    store: ImageStore | None = None
    """Where handles lead; by default the image store of the process, which `ChatLlava` fills too."""
    allowed_directories: tuple[Path, ...] = ()
    """Folders whose files the planner may name. None by default: it may have read a name in a
    document that a stranger wrote."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts ("host" or "host:port") whose http(s) URLs the planner may name."""
    index: Findable | None = None
    """Where `find` looks, such as a `llava_tools.retrieval.PageIndex`."""
    raise_errors: bool = False
    """Raise what the planner did wrong as a `ToolException` instead of telling the planner."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        named(self.names, self.index)
        return self

    def add(self, source: ImageSource) -> str:
        """Show the agent an image of your own, and return its handle for the prompt.

        Raises:
            ImageError: It cannot be had, is no image, or is too large.
        """
        return self._resolver().add(source)

    def get_tools(self) -> list[BaseTool]:
        """Return the tools."""
        resolver = self._resolver()
        specs = [tool.for_resolver(resolver) for tool in named(self.names, self.index)]
        return [
            LlavaTool(
                name=spec.name,
                description=spec.description,
                args_schema=spec.arguments,
                response_format="content_and_artifact",
                handle_tool_error=not self.raise_errors,
                handle_validation_error=False if self.raise_errors else _bad_arguments,
                spec=spec,
                llava=self.llava,
                resolver=resolver,
            )
            for spec in specs
        ]

    def _resolver(self) -> ImageResolver:
        return ImageResolver(self.store, self.allowed_directories, self.allowed_hosts)


def _told(error: LlavaToolsError) -> Exception:
    """Return what to raise: a `ToolException` for what the planner can mend, else LangChain's."""
    if isinstance(error, RequestError | OutputError):
        return ToolException(str(error))
    return twin(error)


def _bad_arguments(error: Any) -> str:
    assert isinstance(error, ValidationError)
    return f"The arguments are wrong: {faults(error)}."
