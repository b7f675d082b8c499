"""`LlavaDecisionModel`: answers of each type, and langchain's middlewares that decide by it."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("langchain_core.decisions", reason="needs langchain-core 1.8")

from langchain.agents import create_agent
from langchain.agents.middleware import AutoModeMiddleware, ModelChoice, ModelRouterMiddleware
from langchain_core.decisions import Box, Choice, Noul, NoulCriteria, Score
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from PIL import Image

from langchain_llava import ChatLlava, image_block
from langchain_llava.decisions import LlavaDecisionModel
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.testing import ScriptedBackend
from tests.langchain.tools import call

PROBABILITIES = {
    "mail": 0.6, "maps": 0.2, "level_0": 0.25, "level_1": 0.25, "level_2": 0.5,
    "Yes": 0.4, "yes": 0.2, "No": 0.1, "no": 0.1,
}  # fmt: skip


def _score(request: Request, label: str) -> float:
    if request.messages[-1].text == "N/A":
        return -1.0
    names = [name for name in PROBABILITIES if name == label or f'"{name}"' in label]
    return math.log(PROBABILITIES[names[0]])


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(scores=_score)


@pytest.fixture
def model(backend: ScriptedBackend) -> LlavaDecisionModel:
    return LlavaDecisionModel(llm=ChatLlava(backend=backend))


QUESTIONS: dict[str, Any] = {
    "route": Choice(instructions="Which?", criteria={"mail": "Letters.", "maps": None}),
    "urgent": Noul(instructions="Is it urgent?", criteria=NoulCriteria(true="It burns.")),
    "anger": Score(instructions="How angry?", criteria=["calm", {"mood": "cross"}, "mad"]),
}


@pytest.mark.parametrize("run", ["invoke", "ainvoke"])
async def test_each_type_of_question_has_its_answer(
    model: LlavaDecisionModel, backend: ScriptedBackend, run: str
) -> None:
    request: Any = {"state": "The house burns.", "questions": QUESTIONS}
    response = model.invoke(request) if run == "invoke" else await model.ainvoke(request)
    route, anger = response.choices["route"], response.scores["anger"]
    assert route.choice == "mail"
    assert route.confidence == pytest.approx(0.75)
    assert route.probabilities == pytest.approx({"mail": 0.75, "maps": 0.25})
    assert response.nouls["urgent"].noul == pytest.approx(0.75)
    assert anger.score == pytest.approx(1.25)
    assert anger.legend == {0: "calm", 1: {"mood": "cross"}, 2: "mad"}
    assert (response.model, model._provider) == ("tiny", "llava")
    texts = [item.messages[0].text for item in backend.requests]
    assert texts[0] == "The house burns.\nWhich?"
    assert texts[2].startswith("The house burns.\nIs it urgent?\ntrue: It burns.\n")
    described = backend.requests[3].constraint.tools
    assert [item.description for item in described] == ["calm", '{"mood": "cross"}', "mad"]


RED = image_block(Image.new("RGB", (8, 8), "red"))


@pytest.mark.parametrize(
    ("state", "text", "images"),
    [
        (HumanMessage([RED, "Look."]), "user: Look.", 1),
        ([HumanMessage("Hi."), AIMessage("Yes?")], "user: Hi.\nassistant: Yes?", 0),
        ({"page": RED, "tries": [1, None]}, '{"page": "[image 1]", "tries": [1, null]}', 1),
        ({"chat": [HumanMessage([RED])]}, '{"chat": ["user: "]}', 1),
        (
            AIMessage("", tool_calls=[{"name": "rm", "args": {"file": "a"}, "id": "1"}]),
            'assistant: [{"rm": {"file": "a"}}]',
            0,
        ),
    ],
)
def test_states_become_text_and_images(
    model: LlavaDecisionModel, backend: ScriptedBackend, state: Any, text: str, images: int
) -> None:
    model.invoke({"state": state, "questions": {"route": QUESTIONS["route"]}})
    message = backend.requests[0].messages[0]
    assert message.text == f"{text}\nWhich?"
    assert len(message.images) == images


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(RequestError, match="LlavaDecisionModel takes no option 'lm'"):
        LlavaDecisionModel(**{"lm": ChatLlava()})


def test_boxes_are_refused(model: LlavaDecisionModel) -> None:
    with pytest.raises(RequestError, match="no 'box' question"):
        model.invoke({"state": "", "questions": {"where": Box(instructions="The cat.")}})


def test_an_agent_is_routed_to_a_model(model: LlavaDecisionModel) -> None:
    choices = {
        name: ModelChoice(model=ChatLlava(backend=ScriptedBackend([f"by {name}"])), criteria=name)
        for name in ("maps", "mail")
    }
    router = ModelRouterMiddleware(choices=choices, instructions="Which?", classifier=model)
    agent = create_agent(ChatLlava(backend=ScriptedBackend(["by nobody"])), middleware=[router])
    state: Any = agent.invoke({"messages": [HumanMessage("Send a letter.")]})
    assert state["messages"][-1].text == "by mail"
    assert state["model_route"].confidence == pytest.approx(0.75)


def test_a_risky_call_is_blocked(model: LlavaDecisionModel) -> None:
    ran = []

    @tool
    def remove(file: str) -> str:
        """Remove a file."""
        ran.append(file)
        return "removed"

    def plan(request: Request) -> str:
        return "Done." if request.messages[-1].role == "tool" else call("remove", file="a")

    auto_mode = AutoModeMiddleware(tools=[remove], classifier=model)
    agent = create_agent(ChatLlava(backend=ScriptedBackend(plan)), [remove], middleware=[auto_mode])
    messages = agent.invoke({"messages": [HumanMessage("Clean up.")]})["messages"]
    assert messages[-2].status == "error"
    assert messages[-1].text == "Done."
    assert not ran


def test_the_embedded_model_decides_by_an_image() -> None:
    image = Image.new("RGB", (224, 224), "gray")
    image.paste("red", (60, 60, 160, 160))
    state = HumanMessage([image_block(image), "This drawing:"])
    criteria = {"red": "Red things.", "blue": "Blue things.", "green": "Green things."}
    question = Choice(instructions="What colour is the square?", criteria=criteria)
    response = LlavaDecisionModel().invoke({"state": state, "questions": {"colour": question}})
    assert response.choices["colour"].choice == "red"
