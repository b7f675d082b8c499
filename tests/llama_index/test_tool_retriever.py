"""`LlavaToolRetriever` in agents and in `ToolRetrieverRouterQueryEngine`."""

from __future__ import annotations

import math
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.query_engine import CustomQueryEngine, ToolRetrieverRouterQueryEngine
from llama_index.core.tools import FunctionTool, QueryEngineTool

from llama_index.llms.llava import Llava
from llama_index.selectors.llava import LlavaToolRetriever
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.testing import ScriptedBackend
from tests.tools import routes


def _tools() -> list[FunctionTool]:
    def run() -> str:
        return "done"

    return [
        FunctionTool.from_defaults(run, name=name, description=text)
        for name, text in routes.OPTIONS.items()
    ]


def _llm() -> Llava:
    """Ranks options by the place of their names in the query."""

    def score(request: Request, label: str) -> float:
        words = request.messages[-1].text.split()
        places = [place for place, word in enumerate(words) if f'"{word}"' in label]
        return -1.0 - places[0] if places else math.log(1e-9)

    return Llava(backend=ScriptedBackend(["combined"], scores=score))


@pytest.mark.parametrize("run", ["retrieve", "aretrieve"])
@pytest.mark.parametrize(
    ("query", "max_tools", "names"),
    [
        ("shop maps mail", 1, ["shop"]),
        ("shop maps mail", 2, ["shop", "maps"]),
        ("mail", 3, ["mail"]),  # the lookup of a call's tool
    ],
)
async def test_the_likeliest_tools_are_retrieved(
    run: str, query: str, max_tools: int, names: list[str]
) -> None:
    retriever = LlavaToolRetriever(_tools(), _llm(), max_tools=max_tools)
    tools = retriever.retrieve(query) if run == "retrieve" else await retriever.aretrieve(query)
    assert [tool.metadata.name for tool in tools] == names


async def test_an_agent_calls_a_retrieved_tool() -> None:
    offered = []

    def plan(request: Request) -> str:
        offered.append({tool.name for tool in request.constraint.tools})
        last = request.messages[-1]
        return last.text if last.role == "tool" else write_call(ToolCall("", "maps", {}))

    retriever = LlavaToolRetriever(_tools(), _llm(), max_tools=2)
    agent = FunctionAgent(llm=Llava(backend=ScriptedBackend(plan)), tool_retriever=retriever)
    result: Any = await agent.run(user_msg="shop maps mail")
    assert result.response.content == "done"
    assert offered == [{"shop", "maps"}] * 2


class Engine(CustomQueryEngine):
    """Answers with its name."""

    name: str

    def custom_query(self, query_str: str) -> str:
        return self.name


@pytest.mark.parametrize(("max_tools", "answer"), [(1, "shop"), (2, "combined")])
def test_a_router_queries_the_retrieved_tools(max_tools: int, answer: str) -> None:
    tools: list[Any] = [
        QueryEngineTool.from_defaults(Engine(name=name), name=name, description=text)
        for name, text in routes.OPTIONS.items()
    ]
    llm = _llm()
    retriever: Any = LlavaToolRetriever(tools, llm, max_tools=max_tools)
    engine = ToolRetrieverRouterQueryEngine(retriever, llm)
    assert str(engine.query("shop maps mail")) == answer


def test_impossible_arguments_raise() -> None:
    with pytest.raises(RequestError, match="max_tools=0"):
        LlavaToolRetriever(_tools(), max_tools=0)
    with pytest.raises(RequestError, match="Two tools are named 'mail'"):
        LlavaToolRetriever([*_tools(), _tools()[4]])
