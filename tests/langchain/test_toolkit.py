"""`LlavaToolkit`: LangChain's own suites for every tool, and what agents get to read."""

from __future__ import annotations

import json
from dataclasses import replace
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
from langchain_llava.errors import LlavaEngineClosedError
from llava_tools import Llava, open_image, tools
from llava_tools.chat import image_handles
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.images.store import ImageStore, shared_store
from llava_tools.retrieval import Hit
from llava_tools.testing import ScriptedBackend
from llava_tools.tools import TOOLS
from llava_tools.tools.locate import Located

WIDE = Image.new("RGB", (400, 200), "navy")
TALL = Image.new("RGB", (20, 40), "navy")

EXAMPLES: dict[str, dict[str, Any]] = {
    "look": {"question": "What is it?"},
    "describe": {"detail": "brief"},
    "read_text": {},
    "locate": {"thing": "the red car"},
    "count": {"things": "dogs"},
    "compare": {"question": "What colour?"},
    "choose": {"question": "Which?", "labels": ["cat", "dog"], "abstain": 0.5},
    "zoom": {"box": [0, 0, 50, 50], "question": "What is it?"},
}


def toolkit(*script: str, **options: Any) -> LlavaToolkit:
    model = Llava(backend=ScriptedBackend(script or ("ok",)))
    return LlavaToolkit(llava=model, store=ImageStore(), **options)


def tool_of(kit: LlavaToolkit, name: str) -> BaseTool:
    (tool,) = [tool for tool in kit.get_tools() if tool.name == name]
    return tool


def call(tool: BaseTool, **arguments: Any) -> ToolMessage:
    message = tool.invoke(Called(name=tool.name, args=arguments, id="1", type="tool_call"))
    assert isinstance(message, ToolMessage)
    return message


class _Suite:
    """One tool of a toolkit with an image in it."""

    name = ""
    script = "ok"

    @property
    def tool_constructor(self) -> BaseTool:
        return tool_of(self._kit(), self.name)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        kit = self._kit()
        handle = kit.add(WIDE)
        example = EXAMPLES[self.name]
        if self.name == "compare":
            return {"images": [handle, kit.add(TALL)], **example}
        return {"image": handle, **example}

    def _kit(self) -> LlavaToolkit:
        model = Llava(backend=ScriptedBackend([self.script]))
        return LlavaToolkit(llava=model)


def _suites(name: str) -> list[type]:
    script = {"locate": "[0.25, 0.5, 0.5, 0.75]", "count": "3"}.get(name, "ok")
    return [
        type(f"Test{kind}{name.title()}", (_Suite, suite), {"name": name, "script": script})
        for kind, suite in (("Unit", ToolsUnitTests), ("Integration", ToolsIntegrationTests))
    ]


for _suite in (suite for name in TOOLS for suite in _suites(name)):
    globals()[_suite.__name__] = _suite


class Shelf:
    """Two pages, the second of which is found first."""

    def search(self, query: str, k: int) -> list[Hit]:
        hit = Hit("a.pdf", 2, 1.0, "", "about " + query, "", TALL.size, "")
        return [hit, replace(hit, page=1, snippet="")][:k]

    def open(self, hit: Hit) -> ImageRef:
        return open_image(TALL if hit.page == 2 else WIDE)


class _Find:
    @property
    def tool_constructor(self) -> BaseTool:
        return tool_of(toolkit(index=Shelf()), "find")

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": "coffee", "k": 2}


class TestUnitFind(_Find, ToolsUnitTests):
    pass


class TestIntegrationFind(_Find, ToolsIntegrationTests):
    pass


def test_found_pages_can_be_looked_at() -> None:
    kit = toolkit("tall", index=Shelf())
    assert [tool.name for tool in kit.get_tools()] == [*TOOLS, "find"]
    found = call(tool_of(kit, "find"), query="coffee", k=2)
    assert json.loads(str(found.content)) == {
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
    page = found.artifact.pages[0].image
    told = call(tool_of(kit, "look"), image=page, question="Which form?")
    assert json.loads(str(told.content)) == {"text": "tall"}
    with pytest.raises(ValueError, match="needs an index"):
        toolkit(names=["find"])


def test_every_tool_has_an_example() -> None:
    assert list(EXAMPLES) == list(TOOLS) == [tool.name for tool in toolkit().get_tools()]


def test_the_agent_reads_json_and_the_program_gets_the_result() -> None:
    kit = toolkit("[0.25, 0.5, 0.5, 0.75]")
    message = call(tool_of(kit, "locate"), image=kit.add(WIDE), thing="the red car")
    assert json.loads(str(message.content))["box"] == [100, 100, 200, 200]
    assert isinstance(message.artifact, Located)
    assert message.artifact._repr_png_() is not None
    assert message.status == "success"


def test_a_zoomed_image_can_be_used_by_the_next_tool() -> None:
    kit = toolkit("42")
    zoomed = call(tool_of(kit, "zoom"), image=kit.add(WIDE), box=[0, 0, 50, 50]).artifact
    told = call(tool_of(kit, "look"), image=zoomed.image, question="What number?")
    assert json.loads(str(told.content)) == {"text": "42"}


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("look", {"image": "img_1", "question": "?"}, "no picture 'img_1'"),
        ("look", {"image": "/etc/passwd", "question": "?"}, "no picture '/etc/passwd'"),
        ("look", {"question": "?"}, "image: Field required"),
        ("zoom", {"image": None, "box": [900, 0, 950, 9]}, "400 x 200 pixels"),
        ("count", {"image": None, "things": "dogs"}, "The answer is not JSON"),
    ],
)
def test_what_the_planner_did_wrong_goes_back_to_it(
    name: str, arguments: dict[str, Any], told: str
) -> None:
    kit = toolkit("no number")
    if arguments.get("image", "") is None:
        arguments = arguments | {"image": kit.add(WIDE)}
    message = call(tool_of(kit, name), **arguments)
    assert message.status == "error"
    assert told in str(message.content)


def test_it_can_be_raised_instead() -> None:
    tool = tool_of(toolkit(raise_errors=True), "look")
    with pytest.raises(ToolException, match="no picture"):
        call(tool, image="img_1", question="?")


async def test_other_errors_are_raised() -> None:
    kit = toolkit()
    handle = kit.add(WIDE)
    kit.llava.close()
    tool = tool_of(kit, "look")
    with pytest.raises(LlavaEngineClosedError):
        call(tool, image=handle, question="?")
    with pytest.raises(LlavaEngineClosedError):
        await tool.ainvoke({"image": handle, "question": "?"})


def test_what_a_planner_is_told_is_what_openai_tools_say() -> None:
    kit = toolkit()
    for tool, described in zip(kit.get_tools(), tools.openai_tools(), strict=True):
        told = convert_to_openai_tool(tool)["function"]
        ours = described["function"]
        assert (told["name"], told["description"]) == (ours["name"], ours["description"])
        assert told["parameters"]["properties"] == ours["parameters"]["properties"]
        assert image_handles.PATTERN in json.dumps(told)


def test_files_where_they_are_allowed(tmp_path: Path) -> None:
    WIDE.save(tmp_path / "wide.png")
    kit = toolkit("ok", allowed_directories=[tmp_path], names=["look"])
    (tool,) = kit.get_tools()
    assert image_handles.PATTERN not in json.dumps(convert_to_openai_tool(tool))
    assert call(tool, image="wide.png", question="?").status == "success"
    assert call(tool, image="../wide.png", question="?").status == "error"


def test_the_gallery_of_the_process_is_the_default() -> None:
    handle = LlavaToolkit(llava=Llava(backend=ScriptedBackend())).add(WIDE)
    assert handle in shared_store()


def test_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Did you mean 'zoom'"):
        LlavaToolkit(names=["zom"])
    with pytest.raises(RequestError, match="no folder"):
        LlavaToolkit(allowed_directories=[tmp_path / "missing"]).get_tools()
    with pytest.raises(ValueError, match="Extra inputs"):
        LlavaToolkit(model="7b")  # type: ignore[call-arg]


def _plan(request: Request) -> str:
    """Zoom into the image, look at what that gave, then answer."""
    results = [message.text for message in request.messages if message.role == "tool"]
    named = image_handles.known(request.messages)
    if not results:
        return write_call(ToolCall("", "zoom", {"image": named[0], "box": [0, 0, 50, 50]}))
    if len(results) == 1:
        arguments = {"image": named[-1], "question": "What number?"}
        return write_call(ToolCall("", "look", arguments))
    return f"It says {json.loads(results[1])['text']}."


def test_an_agent_with_eyes_and_a_small_checkpoint() -> None:
    kit = LlavaToolkit(llava=Llava(backend=ScriptedBackend(["42"])))
    noise = Image.effect_noise((600, 400), 90).convert("RGB")
    saver = InMemorySaver()
    planner = ChatLlava(backend=ScriptedBackend(_plan))
    agent = create_agent(planner, kit.get_tools(), checkpointer=saver)
    thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
    asked = HumanMessage(f"What number is in {kit.add(noise)}?")
    said = agent.invoke({"messages": [asked]}, thread)["messages"]
    assert [message.status for message in said if isinstance(message, ToolMessage)] == [
        "success",
        "success",
    ]
    assert said[-1].text == "It says 42."
    assert max(len(data) for _, data in saver.blobs.values()) < 10_000
