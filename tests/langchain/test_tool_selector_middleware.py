"""`LlavaToolSelectorMiddleware`: which tools of `create_agent` the planner is offered."""

from __future__ import annotations

import math
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool, StructuredTool

from langchain_llava import ChatLlava
from langchain_llava.tool_selector_middleware import LlavaToolSelectorMiddleware
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.testing import ScriptedBackend
from tests.tools import routes


def _tools() -> list[BaseTool]:
    def run() -> str:
        return "done"

    return [
        StructuredTool.from_function(run, name=name, description=text)
        for name, text in routes.OPTIONS.items()
    ]


def _score(request: Request, label: str) -> float:
    """Rank options by the place of their names in the user's message."""
    words = request.messages[-1].text.split()
    places = [place for place, word in enumerate(words) if f'"{word}"' in label]
    return -1.0 - places[0] if places else math.log(1e-9)


def _offered(middleware: LlavaToolSelectorMiddleware) -> tuple[Any, list[list[str]]]:
    """Return an agent, and the list to which the tools of each of its requests are added."""
    offered: list[list[str]] = []

    def plan(request: Request) -> str:
        offered.append([tool.name for tool in request.constraint.callable_tools])
        return "Done."

    model = ChatLlava(backend=ScriptedBackend(plan))
    return create_agent(model, _tools(), middleware=[middleware]), offered


@pytest.mark.parametrize("run", ["invoke", "ainvoke"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_tools": 1}, ["shop"]),
        ({"max_tools": 2}, ["maps", "shop"]),
        ({"max_tools": 1, "always_include": ["images"]}, ["shop", "images"]),
        ({"max_tools": 8}, list(routes.OPTIONS)),
        ({"max_tools": 7, "always_include": ["music"]}, list(routes.OPTIONS)),
    ],
)
async def test_the_likeliest_tools_are_offered_in_their_order(
    run: str, options: dict[str, Any], expected: list[str]
) -> None:
    llm = ChatLlava(backend=ScriptedBackend(scores=_score))
    agent, offered = _offered(LlavaToolSelectorMiddleware(llm, **options))
    state = {"messages": [HumanMessage("shop maps mail")]}
    if run == "invoke":
        agent.invoke(state)
    else:
        await agent.ainvoke(state)
    assert offered == [expected]


def test_an_impossible_number_of_tools_raises() -> None:
    with pytest.raises(RequestError, match="max_tools=0"):
        LlavaToolSelectorMiddleware(max_tools=0)


def test_the_embedded_model_selects_tools() -> None:
    agent, offered = _offered(LlavaToolSelectorMiddleware(max_tools=3))
    for question in ("I need the weather now.", "Open mail.", "Please use maps for me."):
        agent.invoke({"messages": [HumanMessage(question)]})
    assert [len(names) for names in offered] == [3, 3, 3]
    for names, expected in zip(offered, ("weather", "mail", "maps"), strict=True):
        assert expected in names
