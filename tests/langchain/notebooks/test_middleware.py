"""`create_agent` with each middleware that LangChain ships, except the one that opens a shell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent, middleware
from langchain.agents.middleware import AgentMiddleware
from langchain_core.decisions import BaseDecisionModel, ClassifierResponse
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_llava import ChatLlava, image_block
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.errors import QueueFullError
from llava_tools.testing import ScriptedBackend

#: Opens a shell, which these tests do not.
LEFT_OUT = {"ShellToolMiddleware"}
#: Add tools with descriptions longer than the embedded model's context; scripted below.
WITH_TOOLS = {"FilesystemFileSearchMiddleware", "TodoListMiddleware"}
STAR = "What colour is the star?"
TEA = "What is the price of tea?"


@tool
def get_price(item: str) -> str:
    """Get the price of an item."""
    return "4.20"


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"sunny in {city}"


class Decisions(BaseDecisionModel):
    """A decision model that answers every question with the same value."""

    model: str = "fixed"
    answer: dict[str, Any]

    @property
    def _provider(self) -> str:
        return "fixed"

    def _classify(self, state: Any, questions: Any) -> ClassifierResponse:
        answers = dict.fromkeys(questions, self.answer)
        return ClassifierResponse.model_validate({"answers": answers, "model": self.model})


def _run(planner: ChatLlava, *middlewares: Any, question: Any = TEA, **options: Any) -> Any:
    tools = options.pop("tools", [get_price])
    agent: Any = create_agent(planner, tools, middleware=middlewares, **options)
    return agent.invoke({"messages": [HumanMessage(question)]}, {"recursion_limit": 30})


def _failing(times: int, error: Exception) -> ScriptedBackend:
    """A backend that fails some times before it answers."""
    left = [error] * times

    def answer(request: Request) -> str:
        if left:
            raise left.pop()
        return "at last"

    return ScriptedBackend(answer)


def _calls(tool_name: str, **arguments: Any) -> Callable[[Request], str]:
    """A planner that calls one tool once, and repeats its result."""

    def plan(request: Request) -> str:
        last = request.messages[-1]
        if last.role == "tool":
            return last.text
        return write_call(ToolCall("", tool_name, arguments))

    return plan


def _choice(label: str) -> dict[str, Any]:
    return {"type": "choice", "choice": label, "probabilities": {label: 1.0}, "confidence": 1.0}


#: A middleware of each class that changes nothing about a short run.
NEUTRAL: dict[str, Callable[[ChatLlava, Path], AgentMiddleware[Any, Any, Any]]] = {
    "AutoModeMiddleware": lambda model, folder: middleware.AutoModeMiddleware(
        tools=[get_price], classifier=Decisions(answer={"type": "noul", "noul": 0.1})
    ),
    "ContextEditingMiddleware": lambda model, folder: middleware.ContextEditingMiddleware(
        token_count_method="model"
    ),
    "HumanInTheLoopMiddleware": lambda model, folder: middleware.HumanInTheLoopMiddleware(
        {"get_price": False}
    ),
    "LLMToolEmulator": lambda model, folder: middleware.LLMToolEmulator(tools=[], model=model),
    "LLMToolSelectorMiddleware": lambda model, folder: middleware.LLMToolSelectorMiddleware(
        always_include=["get_price"]
    ),
    "ModelCallLimitMiddleware": lambda model, folder: middleware.ModelCallLimitMiddleware(
        run_limit=2
    ),
    "ModelFallbackMiddleware": lambda model, folder: middleware.ModelFallbackMiddleware(model),
    "ModelRefusalMiddleware": lambda model, folder: middleware.ModelRefusalMiddleware(),
    "ModelRetryMiddleware": lambda model, folder: middleware.ModelRetryMiddleware(),
    "ModelRouterMiddleware": lambda model, folder: middleware.ModelRouterMiddleware(
        choices={"eager": middleware.ModelChoice(model=model, criteria="Anything.")},
        instructions="Choose.",
        classifier=Decisions(answer=_choice("eager")),
    ),
    "PIIMiddleware": lambda model, folder: middleware.PIIMiddleware("email"),
    "ProviderToolSearchMiddleware": lambda model, folder: middleware.ProviderToolSearchMiddleware(),
    "SummarizationMiddleware": lambda model, folder: middleware.SummarizationMiddleware(
        model, trigger=("fraction", 0.9)
    ),
    "ToolCallLimitMiddleware": lambda model, folder: middleware.ToolCallLimitMiddleware(
        run_limit=5
    ),
    "ToolErrorMiddleware": lambda model, folder: middleware.ToolErrorMiddleware(
        lambda error, request: str(error)
    ),
    "ToolRetryMiddleware": lambda model, folder: middleware.ToolRetryMiddleware(),
}


def test_every_middleware_is_here() -> None:
    shipped = {
        name
        for name in middleware.__all__
        if inspect.isclass(value := getattr(middleware, name))
        and issubclass(value, AgentMiddleware)
        and value is not AgentMiddleware
    }
    assert shipped == {*NEUTRAL, *WITH_TOOLS, *LEFT_OUT}


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_the_embedded_model_answers_about_an_image(
    name: str, model: ChatLlava, night: Path, tmp_path: Path
) -> None:
    result = _run(model, NEUTRAL[name](model, tmp_path), question=[image_block(night), STAR])
    assert [message.text for message in result["messages"]] == [STAR, "yellow"]


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_the_embedded_model_calls_a_tool(name: str, model: ChatLlava, tmp_path: Path) -> None:
    agent: Any = create_agent(model, [get_price], middleware=[NEUTRAL[name](model, tmp_path)])
    result = await agent.ainvoke({"messages": [HumanMessage(TEA)]}, {"recursion_limit": 30})
    _, call, price, answer = result["messages"]
    assert [(c["name"], c["args"]) for c in call.tool_calls] == [("get_price", {"item": "tea"})]
    assert price.text == "4.20"
    assert "4.20" in answer.text


def test_todos_reach_the_state(night: Path) -> None:
    todo = {"content": "Look", "status": "in_progress"}
    planner = ChatLlava(backend=ScriptedBackend(_calls("write_todos", todos=[todo])))
    question = [image_block(night), STAR]
    assert _run(planner, middleware.TodoListMiddleware(), question=question)["todos"] == [todo]


def test_files_are_searched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("the star is yellow")
    search = middleware.FilesystemFileSearchMiddleware(root_path=str(tmp_path), use_ripgrep=False)
    planner = ChatLlava(backend=ScriptedBackend(_calls("grep_search", pattern="star")))
    assert _run(planner, search)["messages"][-1].text == "/notes.txt"


def test_summaries_replace_the_oldest_messages(model: ChatLlava, night: Path) -> None:
    history = [
        HumanMessage([image_block(night), "Describe the picture."]),
        AIMessage("a yellow star"),
        HumanMessage("How many circles are there?"),
        AIMessage("one"),
        HumanMessage([image_block(night), STAR]),
    ]
    summarize = middleware.SummarizationMiddleware(
        ChatLlava(backend=ScriptedBackend(["There is a star."])),
        trigger=("messages", 5),
        keep=("messages", 1),
    )
    agent: Any = create_agent(model, [], middleware=[summarize])
    summary, question, answer = agent.invoke({"messages": history})["messages"]
    assert "There is a star." in summary.text
    assert (question.text, answer.text) == (STAR, "yellow")


def test_a_fraction_of_the_context_triggers_the_summary() -> None:
    backend = ScriptedBackend(["A summary.", "Hello."], context_length=2048)
    planner = ChatLlava(backend=backend)
    summarize = middleware.SummarizationMiddleware(
        planner, trigger=("fraction", 0.5), keep=("messages", 1)
    )
    agent: Any = create_agent(planner, [], middleware=[summarize])
    history = [HumanMessage("word " * 900), AIMessage("yes"), HumanMessage("Hello!")]
    summary, question, answer = agent.invoke({"messages": history})["messages"]
    assert "A summary." in summary.text
    assert (question.text, answer.text) == ("Hello!", "Hello.")


@pytest.mark.parametrize("decision", ["approve", "edit", "reject"])
def test_a_person_decides_about_a_call(decision: str) -> None:
    agent: Any = create_agent(
        ChatLlava(backend=ScriptedBackend(_calls("get_price", item="tea"))),
        [get_price],
        middleware=[middleware.HumanInTheLoopMiddleware({"get_price": True})],
        checkpointer=InMemorySaver(),
    )
    thread = {"configurable": {"thread_id": "1"}, "recursion_limit": 10}
    (interrupt,) = agent.invoke({"messages": [HumanMessage(TEA)]}, thread)["__interrupt__"]
    (action,) = interrupt.value["action_requests"]
    assert (action["name"], action["args"]) == ("get_price", {"item": "tea"})
    answers = {
        "approve": {"type": "approve"},
        "edit": {
            "type": "edit",
            "edited_action": {"name": "get_price", "args": {"item": "green tea"}},
        },
        "reject": {"type": "reject", "message": "The price is secret."},
    }
    result = agent.invoke(Command(resume={"decisions": [answers[decision]]}), thread)
    price, answer = result["messages"][-2:]
    assert price.text.endswith("The price is secret." if decision == "reject" else "4.20")
    assert answer.text == price.text


def test_limits_end_the_run(model: ChatLlava) -> None:
    result = _run(model, middleware.ModelCallLimitMiddleware(run_limit=1))
    assert "limit" in result["messages"][-1].text
    result = _run(model, middleware.ToolCallLimitMiddleware(run_limit=0, exit_behavior="continue"))
    blocked = result["messages"][2]
    assert (blocked.status, blocked.tool_call_id) == (
        "error", result["messages"][1].tool_calls[0]["id"],
    )  # fmt: skip


def test_retries_and_fallbacks_answer_after_a_full_queue(model: ChatLlava, night: Path) -> None:
    full = QueueFullError("Full.", "Wait.")
    retry = middleware.ModelRetryMiddleware(initial_delay=0, on_failure="error")
    assert _run(ChatLlava(backend=_failing(1, full)), retry)["messages"][-1].text == "at last"
    fallback = middleware.ModelFallbackMiddleware(model)
    question = [image_block(night), STAR]
    result = _run(ChatLlava(backend=_failing(9, full)), fallback, question=question)
    assert result["messages"][-1].text == "yellow"


def test_errors_of_tools_are_repeated_or_reported() -> None:
    left = [ValueError("The shop is closed.")] * 2

    @tool
    def buy(item: str) -> str:
        """Buy an item."""
        if left:
            raise left.pop()
        return f"bought {item}"

    planner = ChatLlava(backend=ScriptedBackend(_calls("buy", item="tea")))
    report = middleware.ToolErrorMiddleware(lambda error, request: f"Failed: {error}")
    result = _run(planner, report, tools=[buy])
    assert result["messages"][-1].text == "Failed: The shop is closed."
    retry = middleware.ToolRetryMiddleware(max_retries=2, initial_delay=0)
    assert _run(planner, retry, tools=[buy])["messages"][-1].text == "bought tea"


def test_personal_data_are_redacted_in_questions_and_results() -> None:
    redact = middleware.PIIMiddleware("email", apply_to_input=True, apply_to_tool_results=True)

    @tool
    def who(name: str) -> str:
        """Find a person's address."""
        return "ada@example.org"

    backend = ScriptedBackend(_calls("who", name="Ada"))
    result = _run(
        ChatLlava(backend=backend), redact, tools=[who], question="Who is bob@example.org?"
    )
    assert result["messages"][-1].text == "[REDACTED_EMAIL]"
    assert backend.requests[0].messages[-1].text == "Who is [REDACTED_EMAIL]?"


def test_old_results_of_tools_are_cleared(night: Path) -> None:
    backend = ScriptedBackend(["Done."], context_length=4096)
    calls = [{"name": "get_price", "args": {"item": "tea"}, "id": f"c{n}"} for n in range(2)]
    history: list[Any] = [HumanMessage([image_block(night), STAR])]
    for call in calls:
        history += [AIMessage("", tool_calls=[call]), ToolMessage("4.20", tool_call_id=call["id"])]
    edit = middleware.ClearToolUsesEdit(trigger=100, keep=1)
    clear = middleware.ContextEditingMiddleware(edits=[edit], token_count_method="model")
    agent: Any = create_agent(ChatLlava(backend=backend), [get_price], middleware=[clear])
    agent.invoke({"messages": history})
    results = [m.text for m in backend.requests[-1].messages if m.role == "tool"]
    assert results == ["[cleared]", "4.20"]
    assert len(backend.requests[-1].messages[0].images) == 1


def test_the_embedded_model_selects_tools_within_the_limit(model: ChatLlava) -> None:
    select = middleware.LLMToolSelectorMiddleware(model=model, max_tools=1)
    backend = ScriptedBackend(["Done."])
    _run(ChatLlava(backend=backend), select, tools=[get_price, get_weather])
    assert len(backend.requests[-1].constraint.tools) == 1


def test_the_embedded_model_emulates_a_tool(model: ChatLlava) -> None:
    emulate = middleware.LLMToolEmulator(tools=[get_price], model=model)
    _, call, emulated, answer = _run(model, emulate)["messages"]
    assert (emulated.name, emulated.tool_call_id) == ("get_price", call.tool_calls[0]["id"])
    assert emulated.text not in ("", "4.20")
    assert answer.text


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_decisions_route_and_block(model: ChatLlava, night: Path) -> None:
    other = ChatLlava(backend=ScriptedBackend(["I see nothing."]))
    route = middleware.ModelRouterMiddleware(
        choices={
            "sees": middleware.ModelChoice(model=model, criteria="Images."),
            "reads": middleware.ModelChoice(model=other, criteria="Texts."),
        },
        instructions="Choose a model.",
        classifier=Decisions(answer=_choice("sees")),
    )
    result = _run(other, route, question=[image_block(night), STAR])
    assert result["messages"][-1].text == "yellow"
    risky = Decisions(answer={"type": "noul", "noul": 0.9})
    block = middleware.AutoModeMiddleware(tools=[get_price], classifier=risky)
    planner = ChatLlava(backend=ScriptedBackend(_calls("get_price", item="tea")))
    assert "blocked" in _run(planner, block)["messages"][-1].text


def test_deferred_tools_need_a_provider_that_searches(model: ChatLlava) -> None:
    defer = middleware.ProviderToolSearchMiddleware(searchable_tools=["get_price"])
    with pytest.raises(ValueError, match="tool search"):
        _run(model, defer)


def test_several_at_once(model: ChatLlava, night: Path) -> None:
    names = ["PIIMiddleware", "ModelRetryMiddleware", "ToolRetryMiddleware"]
    several = [NEUTRAL[name](model, night.parent) for name in names]
    result = _run(
        model,
        *several,
        question=[image_block(night), STAR],
        system_prompt=SystemMessage("Answer the user's question."),
    )
    assert result["messages"][-1].text == "yellow"
