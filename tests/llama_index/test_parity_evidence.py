"""show_evidence does and returns the same in both frameworks, with each kind of llm."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from langchain_llava import ChatLlava, LlavaToolkit
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llama_index.tools.llava import LlavaToolSpec
from llava_tools import Llava
from llava_tools.core.label_backend import LabelBackend
from llava_tools.errors import RequestError
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from llava_tools.tools.show_evidence import EvidenceResult
from tests.evidence.scripted import DEPENDENT, SQUARE, depends_on_square

NAME = "show_evidence"
QUESTION = {"question": "What colour is the star?"}


def _backend() -> ScriptedBackend:
    return ScriptedBackend(["yellow"], scores_without=depends_on_square)


def _tools(backend: Any, *, own_llm: bool) -> tuple[Any, Any, dict[str, Any], ImageStore]:
    """Return the tool of both frameworks, the arguments of a call, and the store of images."""
    store = ImageStore()
    ours: Any = ChatLlava(backend=backend) if own_llm else Llava(backend=backend)
    theirs: Any = LlamaIndexLlava(backend=backend) if own_llm else Llava(backend=backend)
    toolkit = LlavaToolkit(llm=ours, tools=(NAME,), image_store=store)
    spec = LlavaToolSpec(theirs, tools=[NAME], image_store=store)
    (our_tool,), (their_tool,) = toolkit.get_tools(), spec.to_tool_list()
    return our_tool, their_tool, {"image": toolkit.add(SQUARE), **QUESTION}, store


def _call(ours: Any, theirs: Any, arguments: dict[str, Any], *, is_async: bool) -> tuple[Any, Any]:
    call = {"type": "tool_call", "name": NAME, "id": "1", "args": arguments}
    if is_async:
        return asyncio.run(ours.ainvoke(call)), asyncio.run(theirs.acall(**arguments))
    return ours.invoke(call), theirs.call(**arguments)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("own_llm", [False, True], ids=["Llava", "framework's llm"])
@pytest.mark.parametrize("answer", [None, "blue"])
def test_results_are_equal(is_async: bool, own_llm: bool, answer: str | None) -> None:
    ours, theirs, arguments, store = _tools(_backend(), own_llm=own_llm)
    arguments |= {} if answer is None else {"answer": answer}
    message, output = _call(ours, theirs, arguments, is_async=is_async)
    assert message.status == "success"
    assert message.artifact == output.raw_output
    assert isinstance(message.artifact, EvidenceResult)
    assert (message.artifact.answer, message.artifact.box) == (answer or "yellow", DEPENDENT)
    assert message.artifact.image in store
    assert message.content == output.content == str(output.raw_output)
    assert len(message.content) < 120
    assert message.artifact._repr_png_() == output.raw_output._repr_png_()


def test_agents_do_not_get_it_unless_it_is_named() -> None:
    assert NAME not in {tool.name for tool in LlavaToolkit().get_tools()}
    assert NAME not in LlavaToolSpec().spec_functions
    assert hasattr(LlavaToolSpec(tools=[NAME]), NAME)


def test_schemas_are_equal() -> None:
    ours, theirs, *_ = _tools(_backend(), own_llm=False)
    assert ours.description == theirs.metadata.description
    schema = theirs.metadata.fn_schema.model_json_schema()
    assert ours.args_schema.model_json_schema() == schema


class _Counter(BaseCallbackHandler):
    """Counts the runs of chat models."""

    runs = 0

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.runs += 1


@pytest.mark.parametrize(("answer", "runs"), [(None, 1), ("blue", 0)])
def test_only_the_answer_is_a_run_of_the_chat_model(answer: str | None, runs: int) -> None:
    ours, _, arguments, _ = _tools(_backend(), own_llm=True)
    counter = _Counter()
    ours.invoke(arguments | {"answer": answer}, {"callbacks": [counter]})
    assert counter.runs == runs


class _WithoutEvidence(LabelBackend):
    """A backend that cannot leave out parts of images, as a server's."""

    measures_evidence = False


@pytest.mark.parametrize("own_llm", [False, True], ids=["Llava", "framework's llm"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_server_is_refused_alike_with_what_to_do_instead(own_llm: bool, is_async: bool) -> None:
    backend = _WithoutEvidence(_backend(), ["yellow"])
    ours, theirs, arguments, _ = _tools(backend, own_llm=own_llm)
    call = {"type": "tool_call", "name": NAME, "id": "1", "args": arguments}
    message = asyncio.run(ours.ainvoke(call)) if is_async else ours.invoke(call)
    with pytest.raises(RequestError, match="Leave out base_url") as caught:
        asyncio.run(theirs.acall(**arguments)) if is_async else theirs.call(**arguments)
    assert (message.status, message.content) == ("error", str(caught.value))
