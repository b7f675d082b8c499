"""`LlavaToolRetriever`: the tools that fit a request best, for agents and routers."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.base_selector import SelectorResult
from llama_index.core.objects import ObjectRetriever, SimpleToolNodeMapping
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import BaseTool

from llama_index.llms.llava import Llava
from llama_index.selectors.llava.base import LlavaMultiSelector, LlavaSelection
from llava_tools.errors import RequestError, check_count


class LlavaToolRetriever(ObjectRetriever[BaseTool]):
    """Retrieves the tools that are likeliest for a request, without an index.

    For the `tool_retriever` of an agent, since a small planner does better with few tools, and for
    `ToolRetrieverRouterQueryEngine`. Agents also look up the tool of a call: a query that is a
    tool's name retrieves that tool.

    Args:
        tools: The tools; their names differ.
        llm: The model that selects; the embedded one by default.
        max_tools: Number of tools to retrieve, at least 1.

    Raises:
        RequestError: Two tools have one name, or an impossible number.
    """

    def __init__(
        self, tools: Sequence[BaseTool], llm: Llava | None = None, *, max_tools: int = 3
    ) -> None:
        check_count("max_tools", max_tools)
        names = [tool.metadata.get_name() for tool in tools]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise RequestError(f"Two tools are named {repeated[0]!r}.", "Rename one of them.")
        selector = LlavaMultiSelector(llm)
        super().__init__(
            _ToolNodeRetriever(tools, selector, max_tools), SimpleToolNodeMapping(tools)
        )


class _ToolNodeRetriever(BaseRetriever):
    """Retrieves the nodes of tools; a node's score is the tool's probability."""

    def __init__(
        self, tools: Sequence[BaseTool], selector: LlavaMultiSelector, max_tools: int
    ) -> None:
        super().__init__()
        self._metadata = [tool.metadata for tool in tools]
        mapping = SimpleToolNodeMapping(tools)
        self._nodes = [mapping.to_node(tool) for tool in tools]
        self._selector = selector
        self._max_tools = max_tools

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._named(query_bundle) or self._likeliest(
            self._selector.select(self._metadata, query_bundle)
        )

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._named(query_bundle) or self._likeliest(
            await self._selector.aselect(self._metadata, query_bundle)
        )

    def _named(self, query: QueryBundle) -> list[NodeWithScore]:
        """Return the node of the tool whose name the query is."""
        return [
            NodeWithScore(node=node, score=1.0)
            for node in self._nodes
            if node.metadata["name"] == query.query_str
        ]

    def _likeliest(self, selection: SelectorResult) -> list[NodeWithScore]:
        assert isinstance(selection, LlavaSelection)
        nodes = [
            NodeWithScore(node=node, score=probability)
            for node, probability in zip(self._nodes, selection.probabilities, strict=True)
        ]
        return sorted(nodes, key=NodeWithScore.get_score, reverse=True)[: self._max_tools]
