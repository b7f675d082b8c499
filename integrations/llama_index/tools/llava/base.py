"""`LlavaToolSpec`: the visual tools of `llava_tools.tools` as LlamaIndex tools.

Any model can plan with them, even one without vision: handles name the images, and even a
`ReActAgent` passes those on. The model reads results as short JSON; the program gets them as the
tool output's `raw_output`, which displays itself in a notebook. Errors are raised; agents report
them to the model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from llama_index.core.tools import FunctionTool, ToolMetadata
from llama_index.core.tools.tool_spec.base import SPEC_FUNCTION_TYPE, BaseToolSpec

from llama_index.llms.llava import Llava as LlamaIndexLlava
from llama_index.tools.llava.functions import add_signature
from llama_index.tools.llava.request_sender import LlmSender
from llava_tools.errors import RequestError
from llava_tools.images import ImageSource
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStoreLike
from llava_tools.model import Llava
from llava_tools.tools import SearchIndex, VisualTool, result_type, select_tools


class LlavaToolSpec(BaseToolSpec):
    """Visual tools for agents: look, describe, read_text, locate, count, compare, choose, zoom.

        spec = LlavaToolSpec(Llava("7b"))
        handle = spec.add("street.jpg")
        agent = FunctionAgent(llm=planner, tools=spec.to_tool_list())
        await agent.run(user_msg=f"What do you see in {handle}?")

    For an MCP server, each tool is a method with typed parameters that returns text:

        for name in spec.spec_functions:
            server.tool(getattr(spec, name))

    Nothing is loaded until a tool runs. The tools also open the images of conversations with
    `llama_index.llms.llava`, by their handles.

    Args:
        llm: The model that looks at the images; the embedded one by default. With a
            `llama_index.llms.llava.Llava`, its callbacks see the tools' requests.
        tools: Names of the tools; by default all but the optional ones (`show_evidence`).
        image_store: Where handles are looked up: an `ImageStore` or the folder of one; by default
            that of `llm`, else the store of the process.
        allowed_directories: Folders whose files the planner may name. None by default, since a
            document from an untrusted source may have suggested the name.
        allowed_hosts: Hosts ("host" or "host:port") whose http(s) URLs the planner may name.
        index: The index that the tool `find` searches, such as a `llava_tools.retrieval.PageIndex`;
            without one there is no such tool.
        existence_threshold: Minimum probability, 0 to 1, that an image shows what a call is about;
            below it, the result is an `AbsentResult`. None for no check.

    Raises:
        RequestError: An unknown tool, an impossible threshold, a folder or host that cannot be
            allowed, or another `llm`.
    """

    def __init__(
        self,
        llm: Llava | LlamaIndexLlava | None = None,
        *,
        tools: Iterable[str] | None = None,
        image_store: ImageStoreLike = None,
        allowed_directories: Iterable[str | Path] = (),
        allowed_hosts: Iterable[str] = (),
        index: SearchIndex | None = None,
        existence_threshold: float | None = None,
    ) -> None:
        selected = select_tools(tools, index, existence_threshold)
        self.spec_functions = [tool.name for tool in selected]
        self._index = index
        self._existence_threshold = existence_threshold
        if not isinstance(llm, Llava | LlamaIndexLlava | None):
            raise RequestError(
                f"llm is a {type(llm).__module__}.{type(llm).__name__}, and LLaVA looks at the "
                "images.",
                "Pass a Llava of llava_tools or llama_index.llms.llava; the agent has the planner.",
            )
        self._model: Llava | LlmSender
        if isinstance(llm, LlamaIndexLlava):
            self._model = LlmSender(llm)
            image_store = llm.image_store if image_store is None else image_store
        else:
            self._model = Llava() if llm is None else llm
        self._resolver = ImageResolver(image_store, allowed_directories, allowed_hosts)
        self._functions: dict[str, Callable[..., Any]] = {}
        for tool in selected:
            run, arun = self._text_functions(tool)
            self._functions |= {tool.name: run, f"a{tool.name}": arun}

    def add(self, source: ImageSource) -> str:
        """Add an image from your own code, and return its handle for the prompt.

        Raises:
            ImageError: It cannot be read, is no image, or is too large.
        """
        return self._resolver.add(source)

    def to_tool_list(
        self,
        spec_functions: list[SPEC_FUNCTION_TYPE] | None = None,
        func_to_metadata_mapping: dict[str, ToolMetadata] | None = None,
    ) -> list[FunctionTool]:
        """Return the tools.

        Args:
            spec_functions: Names of some of the tools; all tools of this spec by default.
            func_to_metadata_mapping: From the name of a tool to metadata that replace its own.

        Raises:
            RequestError: There is no tool of a name.
        """
        functions = self.spec_functions if spec_functions is None else spec_functions
        names = [name if isinstance(name, str) else name[0] for name in functions]
        metadata = func_to_metadata_mapping or {}
        selected = select_tools(names, self._index, self._existence_threshold)
        return [self._tool(tool, metadata.get(tool.name)) for tool in selected]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the function of a tool, `look`, or its async twin, `alook`.

        Its parameters are typed. It returns the text for an agent.
        """
        functions: dict[str, Callable[..., Any]] = self.__dict__.get("_functions", {})
        if name not in functions:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return functions[name]

    def _tool(self, tool: VisualTool[Any, Any], metadata: ToolMetadata | None) -> FunctionTool:
        spec = tool.for_resolver(self._resolver)
        default = ToolMetadata(spec.description, spec.name, fn_schema=spec.arguments)
        run, arun = self._runners(spec)
        return FunctionTool.from_defaults(
            add_signature(run, spec, result_type(spec)),
            async_fn=add_signature(arun, spec, result_type(spec)),
            tool_metadata=metadata or default,
        )

    def _text_functions(self, tool: VisualTool[Any, Any]) -> Iterator[Callable[..., Any]]:
        """Yield the function that returns a tool's result as text, and its async twin."""
        spec = tool.for_resolver(self._resolver)
        run, arun = self._runners(spec)

        def run_text(**arguments: Any) -> str:
            return str(run(**arguments))

        async def arun_text(**arguments: Any) -> str:
            return str(await arun(**arguments))

        yield add_signature(run_text, spec, str)
        yield add_signature(arun_text, spec, str)

    def _runners(
        self, spec: VisualTool[Any, Any]
    ) -> tuple[Callable[..., Any], Callable[..., Awaitable[Any]]]:
        def run(**arguments: Any) -> Any:
            return spec.run(self._model, spec.parse(arguments), self._resolver)

        async def arun(**arguments: Any) -> Any:
            return await spec.arun(self._model, spec.parse(arguments), self._resolver)

        return run, arun
