"""`LlavaSelector`: inputs, routes, graphs, and 200 of 200 valid choices."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RouterRunnable, RunnableLambda, RunnablePassthrough
from langgraph.graph import END, START, MessagesState, StateGraph
from PIL import Image

from langchain_llava import ChatLlava, LlavaSelector, image_block
from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.testing import ScriptedBackend
from tests.tools import routes

OPTIONS = {"mail": "Sends letters.", "maps": "Finds routes."}


def _score(request: Request, label: str) -> float:
    """Prefer the option whose name the question has."""
    name = "mail" if '"mail"' in label else "maps"
    return math.log(0.9 if name in request.messages[-1].text else 0.1)


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(scores=_score)


@pytest.fixture
def selector(backend: ScriptedBackend) -> LlavaSelector:
    return LlavaSelector(llm=ChatLlava(backend=backend), options=OPTIONS)


class _State:
    messages = (HumanMessage("maps"),)


CONVERSATION = [
    SystemMessage("Be brief."),
    HumanMessage("mail"),
    AIMessage("Sent."),
    HumanMessage("maps"),
    AIMessage("Where to?"),
]


@pytest.mark.parametrize(
    "request_",
    [
        "maps",
        HumanMessage("maps"),
        CONVERSATION,
        [("human", "maps")],
        [{"role": "user", "content": "maps"}],
        {"messages": CONVERSATION},
        _State(),
        ChatPromptTemplate([("human", "{name}")]).invoke({"name": "maps"}),
    ],
    ids=lambda item: type(item).__name__,
)
async def test_every_input_is_judged_by_the_users_last_message(
    selector: LlavaSelector, backend: ScriptedBackend, request_: Any
) -> None:
    choice = selector.invoke(request_)
    assert choice.label == "maps"
    assert choice.probabilities == pytest.approx({"mail": 0.1, "maps": 0.9})
    assert (await selector.ainvoke(request_)) == choice
    assert [m.text for m in backend.requests[0].messages] == ["maps"]


def test_images_of_the_message_are_seen(selector: LlavaSelector, backend: ScriptedBackend) -> None:
    block = image_block(Image.new("RGB", (8, 8), "red"))
    assert selector.invoke([HumanMessage([block, "Any mail?"])]).label == "mail"
    assert [image.handle for image in backend.requests[0].messages[0].images] == [block["file_id"]]


def test_the_selector_leads_langchains_routes(selector: LlavaSelector) -> None:
    branches: dict[str, Any] = {
        name: RunnableLambda(lambda text, name=name: f"{name}: {text}") for name in OPTIONS
    }
    routed = {"key": selector.route, "input": RunnablePassthrough()} | RouterRunnable(branches)
    assert routed.invoke("a mail") == "mail: a mail"
    chosen = RunnableLambda(lambda text: branches[str(selector.invoke(text))])
    assert chosen.invoke("some maps") == "maps: some maps"


async def test_the_selector_is_a_conditional_edge(selector: LlavaSelector) -> None:
    builder = StateGraph(MessagesState)
    for name in OPTIONS:
        builder.add_node(name, lambda state, name=name: {"messages": [AIMessage(f"by {name}")]})
        builder.add_edge(name, END)
    builder.add_conditional_edges(START, selector.route, list(selector.options))
    graph = builder.compile()
    request: Any = {"messages": [HumanMessage("maps, please")]}
    assert graph.invoke(request)["messages"][-1].text == "by maps"
    assert (await graph.ainvoke(request))["messages"][-1].text == "by maps"


def test_below_the_minimum_probability_there_is_no_route(backend: ScriptedBackend) -> None:
    llm = ChatLlava(backend=backend)
    selector = LlavaSelector(llm=llm, options=OPTIONS, abstain=0.95)
    assert selector.invoke("maps").label is None
    assert selector.route.invoke("maps") is None


def test_impossible_inputs_raise(selector: LlavaSelector) -> None:
    empty: Any
    for empty in ([], {"messages": [AIMessage("Hello.")]}, 7):
        with pytest.raises(RequestError, match="no message of a user"):
            selector.invoke(empty)
    with pytest.raises(RequestError, match="'temperature'"):
        selector.invoke("maps", temperature=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "LlavaSelector needs options. Set options=…."),
        ({"options": {}}, "options={} is not possible. Dictionary should have at least 1 item"),
        ({"options": ["mail"]}, "options=['mail'] is not possible."),
        ({"options": OPTIONS, "abstan": 0.9}, "no option 'abstan'. Did you mean 'abstain'?"),
        ({"options": OPTIONS, "llm": Llava()}, "llm=Llava('tiny') is not possible."),
    ],
)
def test_wrong_arguments_are_errors_of_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        LlavaSelector(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "number"), [("embedded", 60), ("random", 200)])
def test_all_choices_are_valid(weights: str, number: int, checkpoint: Path) -> None:
    llm = ChatLlava() if weights == "embedded" else ChatLlava(model=str(checkpoint))
    selector = LlavaSelector(llm=llm, options=routes.OPTIONS)
    choices = selector.batch(routes.requests(number), {"max_concurrency": 16})
    llm.close()
    assert len(choices) == number
    for choice in choices:
        assert choice.label in routes.OPTIONS
        assert sum(choice.probabilities.values()) == pytest.approx(1)
        assert choice.probabilities[choice.label] == max(choice.probabilities.values())
    assert len({choice.label for choice in choices}) > 1
