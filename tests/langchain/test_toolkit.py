"""`LlavaToolkit`: LangChain's standard suites for each tool, results, errors, agents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.messages import ToolCall as Called
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from langgraph.checkpoint.memory import InMemorySaver
from PIL import Image

from langchain_llava import ChatLlava, LlavaToolkit
from langchain_llava import compat as langchain
from langchain_llava.errors import LlavaEngineClosedError
from llava_tools import Llava, open_image, tools
from llava_tools.chat import image_handles
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.images.store import ImageStore, shared_store
from llava_tools.testing import ScriptedBackend
from llava_tools.tools import TOOLS
from llava_tools.tools.locate import LocateResult
from tests.langchain.visual_tools import ARGUMENTS, SCRIPTS, TALL, WIDE, TwoPages


def toolkit(*script: str, **options: Any) -> LlavaToolkit:
    model = Llava(backend=ScriptedBackend(script or ("ok",)))
    return LlavaToolkit(llm=model, image_store=ImageStore(), **options)


def tool_of(kit: LlavaToolkit, name: str) -> BaseTool:
    (tool,) = [tool for tool in kit.get_tools() if tool.name == name]
    return tool


def call(tool: BaseTool, **arguments: Any) -> ToolMessage:
    message = tool.invoke(Called(name=tool.name, args=arguments, id="1", type="tool_call"))
    assert isinstance(message, ToolMessage)
    return message


class _Suite:
    """The tool `name` of a toolkit with one image."""

    name = ""
    script = "ok"

    @property
    def tool_constructor(self) -> BaseTool:
        return tool_of(self._kit(), self.name)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        kit = self._kit()
        handle = kit.add(WIDE)
        example = ARGUMENTS[self.name]
        if self.name == "compare":
            return {"images": [handle, kit.add(TALL)], **example}
        return {"image": handle, **example}

    def _kit(self) -> LlavaToolkit:
        model = Llava(backend=ScriptedBackend([self.script]))
        return LlavaToolkit(llm=model)


def _suites(name: str) -> list[type]:
    script = SCRIPTS.get(name, "ok")
    return [
        type(f"Test{level}{name.title()}", (_Suite, suite), {"name": name, "script": script})
        for level, suite in (("Unit", ToolsUnitTests), ("Integration", ToolsIntegrationTests))
    ]


for _suite in (suite for name in TOOLS for suite in _suites(name)):
    globals()[_suite.__name__] = _suite


class _Find:
    @property
    def tool_constructor(self) -> BaseTool:
        return tool_of(toolkit(index=TwoPages()), "find")

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": "coffee", "k": 2}


class TestUnitFind(_Find, ToolsUnitTests):
    pass


class TestIntegrationFind(_Find, ToolsIntegrationTests):
    pass


def test_other_tools_look_at_pages_from_find() -> None:
    kit = toolkit("tall", index=TwoPages())
    assert [tool.name for tool in kit.get_tools()] == [*TOOLS, "find"]
    pages = call(tool_of(kit, "find"), query="coffee", k=2)
    assert json.loads(str(pages.content)) == {
        "pages": [
            {
                "image": open_image(TALL).handle,
                "document": "a.pdf",
                "page": 2,
                "snippet": "about coffee",
            },
            {"image": open_image(WIDE).handle, "document": "a.pdf", "page": 1},
        ]
    }
    page = pages.artifact.pages[0].image
    message = call(tool_of(kit, "look"), image=page, question="Which form?")
    assert json.loads(str(message.content)) == {"text": "tall"}
    with pytest.raises(ValueError, match="needs an index"):
        toolkit(tools=["find"])


def test_every_tool_has_an_example() -> None:
    assert list(ARGUMENTS) == list(TOOLS) == [tool.name for tool in toolkit().get_tools()]


def test_content_is_json_and_artifact_is_the_result() -> None:
    kit = toolkit("[0.25, 0.5, 0.5, 0.75]")
    message = call(tool_of(kit, "locate"), image=kit.add(WIDE), thing="the red car")
    assert json.loads(str(message.content))["box"] == [100, 100, 200, 200]
    assert isinstance(message.artifact, LocateResult)
    assert message.artifact._repr_png_() is not None
    assert message.status == "success"


def test_next_tool_looks_at_a_zoomed_image() -> None:
    kit = toolkit("42")
    zoomed = call(tool_of(kit, "zoom"), image=kit.add(WIDE), box=[0, 0, 50, 50]).artifact
    message = call(tool_of(kit, "look"), image=zoomed.image, question="What number?")
    assert json.loads(str(message.content)) == {"text": "42"}


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("look", {"image": "img_1", "question": "?"}, "no picture 'img_1'"),
        ("look", {"image": "/etc/passwd", "question": "?"}, "no picture '/etc/passwd'"),
        ("look", {"question": "?"}, "image: Field required"),
        ("zoom", {"image": None, "box": [900, 0, 950, 9]}, "400 x 200 pixels"),
        ("count", {"image": None, "things": "dogs"}, "The answer is not JSON"),
    ],
)
def test_planner_receives_errors_that_it_can_correct(
    name: str, arguments: dict[str, Any], error: str
) -> None:
    kit = toolkit("no number")
    if arguments.get("image", "") is None:
        arguments = arguments | {"image": kit.add(WIDE)}
    message = call(tool_of(kit, name), **arguments)
    assert message.status == "error"
    assert error in str(message.content)


def test_raise_errors() -> None:
    tool = tool_of(toolkit(raise_errors=True), "look")
    with pytest.raises(ToolException, match="no picture"):
        call(tool, image="img_1", question="?")


async def test_other_errors_are_raised() -> None:
    kit = toolkit()
    handle = kit.add(WIDE)
    kit.llm.close()
    tool = tool_of(kit, "look")
    with pytest.raises(LlavaEngineClosedError):
        call(tool, image=handle, question="?")
    with pytest.raises(LlavaEngineClosedError):
        await tool.ainvoke({"image": handle, "question": "?"})


def test_descriptions_equal_openai_tools() -> None:
    kit = toolkit()
    for tool, described in zip(kit.get_tools(), tools.openai_tools(), strict=True):
        function = convert_to_openai_tool(tool)["function"]
        expected = described["function"]
        assert (function["name"], function["description"]) == (
            expected["name"],
            expected["description"],
        )
        assert function["parameters"]["properties"] == expected["parameters"]["properties"]
        assert image_handles.PATTERN in json.dumps(function)


def test_files_in_allowed_directories(tmp_path: Path) -> None:
    WIDE.save(tmp_path / "wide.png")
    kit = toolkit("ok", allowed_directories=[tmp_path], tools=["look"])
    (tool,) = kit.get_tools()
    assert image_handles.PATTERN not in json.dumps(convert_to_openai_tool(tool))
    assert call(tool, image="wide.png", question="?").status == "success"
    assert call(tool, image="../wide.png", question="?").status == "error"


def test_default_store_is_that_of_the_process() -> None:
    handle = LlavaToolkit(llm=Llava(backend=ScriptedBackend())).add(WIDE)
    assert handle in shared_store()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": ["zom"]}, "Did you mean 'zoom'"),
        ({"names": ("x",)}, "LlavaToolkit takes no option 'names'"),
        ({"model": "7b"}, "LlavaToolkit takes no option 'model'"),
        ({"llm": "7b"}, "llm='7b' is not possible. Use an instance of Llava or ChatLlava."),
        ({"tools": "look"}, "tools='look' is not possible"),
        ({"raise_errors": "perhaps"}, "raise_errors='perhaps' is not possible"),
        ({"allowed_directories": ["/none/such"]}, "no folder"),
        ({"allowed_hosts": ["http://x/y"]}, "http://x/y"),
    ],
)
def test_wrong_options_raise_as_the_chat_models_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        LlavaToolkit(**options)
    assert isinstance(caught.value, langchain.ModelInvalidRequestError)
    assert "\n" not in str(caught.value)


def _plan(request: Request) -> str:
    """Zoom into the image, look at the result, then answer."""
    results = [message.text for message in request.messages if message.role == "tool"]
    handles = image_handles.handles_in(request.messages)
    if not results:
        return write_call(ToolCall("", "zoom", {"image": handles[0], "box": [0, 0, 50, 50]}))
    if len(results) == 1:
        arguments = {"image": handles[-1], "question": "What number?"}
        return write_call(ToolCall("", "look", arguments))
    return f"It says {json.loads(results[1])['text']}."


def test_agent_with_visual_tools_has_small_checkpoints() -> None:
    kit = LlavaToolkit(llm=Llava(backend=ScriptedBackend(["42"])))
    noise = Image.effect_noise((600, 400), 90).convert("RGB")
    saver = InMemorySaver()
    planner = ChatLlava(backend=ScriptedBackend(_plan))
    agent = create_agent(planner, kit.get_tools(), checkpointer=saver)
    thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
    question = HumanMessage(f"What number is in {kit.add(noise)}?")
    messages = agent.invoke({"messages": [question]}, thread)["messages"]
    assert [message.status for message in messages if isinstance(message, ToolMessage)] == [
        "success",
        "success",
    ]
    assert messages[-1].text == "It says 42."
    assert max(len(data) for _, data in saver.blobs.values()) < 10_000
