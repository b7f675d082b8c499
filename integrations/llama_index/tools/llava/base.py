"""`LlavaToolSpec`: the visual tools of `llava_tools.tools` as LlamaIndex tools.

Any model can plan with them, also one that cannot see: images are named by handles, which even a
`ReActAgent` passes on. What a tool finds goes to the model as short JSON, and to the program as the
tool output's `raw_output`, which shows itself in a notebook. Errors are raised; agents tell them to
the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from llama_index.core.tools import FunctionTool, ToolMetadata
from llama_index.core.tools.tool_spec.base import SPEC_FUNCTION_TYPE, BaseToolSpec

from llava_tools.images import ImageSource
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.model import Llava
from llava_tools.tools import Findable, Result, VisualTool, named


class LlavaToolSpec(BaseToolSpec):
    """Eyes for an agent: look, describe, read_text, locate, count, compare, choose, zoom.

        spec = LlavaToolSpec(Llava("7b"))
        handle = spec.add("street.jpg")
        agent = FunctionAgent(llm=planner, tools=spec.to_tool_list())
        await agent.run(user_msg=f"What do you see in {handle}?")

    Nothing is loaded until a tool runs. Images of a conversation with `llama_index.llms.llava`
    are known by their handles too.

    Args:
        llava: Who looks; the embedded model by default.
        names: Which tools; all by default.
        store: Where handles lead; by default that of the process.
        allowed_directories: Folders whose files the planner may name. None by default: it may have
            read a name in a document that a stranger wrote.
        allowed_hosts: Hosts ("host" or "host:port") whose http(s) URLs the planner may name.
        index: Where the tool `find` looks, such as a `llava_tools.retrieval.PageIndex`; without one
            there is no such tool.

    Raises:
        RequestError: An unknown tool, or a folder or host that cannot be allowed.
    """

    def __init__(
        self,
        llava: Llava | None = None,
        *,
        names: Iterable[str] | None = None,
        store: ImageStore | None = None,
        allowed_directories: Iterable[str | Path] = (),
        allowed_hosts: Iterable[str] = (),
        index: Findable | None = None,
    ) -> None:
        self.spec_functions = [tool.name for tool in named(names, index)]
        self._index = index
        self._llava = Llava() if llava is None else llava
        self._resolver = ImageResolver(store, allowed_directories, allowed_hosts)

    def add(self, source: ImageSource) -> str:
        """Show the agent an image of your own, and return its handle for the prompt.

        Raises:
            ImageError: It cannot be had, is no image, or is too large.
        """
        return self._resolver.add(source)

    def to_tool_list(
        self,
        spec_functions: list[SPEC_FUNCTION_TYPE] | None = None,
        func_to_metadata_mapping: dict[str, ToolMetadata] | None = None,
    ) -> list[FunctionTool]:
        """Return the tools.

        Args:
            spec_functions: Names of those that are wanted; all of this spec's by default.
            func_to_metadata_mapping: By name, how a tool is described instead.

        Raises:
            RequestError: There is no tool of a name.
        """
        given = self.spec_functions if spec_functions is None else spec_functions
        names = [name if isinstance(name, str) else name[0] for name in given]
        described = func_to_metadata_mapping or {}
        return [self._tool(tool, described.get(tool.name)) for tool in named(names, self._index)]

    def _tool(self, tool: VisualTool[Any, Any], metadata: ToolMetadata | None) -> FunctionTool:
        def run(**arguments: Any) -> Result:
            return cast(Result, tool.run(self._llava, tool.parse(arguments), self._resolver))

        async def arun(**arguments: Any) -> Result:
            found = await tool.arun(self._llava, tool.parse(arguments), self._resolver)
            return cast(Result, found)

        shown = tool.for_resolver(self._resolver)
        return FunctionTool.from_defaults(
            fn=run,
            async_fn=arun,
            tool_metadata=metadata
            or ToolMetadata(shown.description, shown.name, fn_schema=shown.arguments),
        )
