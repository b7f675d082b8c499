"""Structured prediction on pydantic models of other packages, with random weights.

Random weights write any text that the grammar allows, so only the grammar can make an answer valid.
An answer that `max_tokens` cuts off raises an error and counts neither as valid nor as wrong.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate

from llama_index.llms.llava import Llava
from llava_tools.errors import OutputError, SchemaError
from tests.checkpoints import SMALL, write_checkpoint
from tests.foreign_models import NAMES, load

PROMPT = PromptTemplate("Anything.")
#: Formats that llguidance does not know: the model refuses them before it generates.
REFUSED = {
    "banks.registries.directory:PromptFile",
    "langchain_core.documents.base:Blob",
    "langsmith.schemas:RunBase",
}


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llava]:
    """Random weights with room for large schemas."""
    folder = tmp_path_factory.mktemp("roomy")
    llm = Llava(model=str(write_checkpoint(folder, shape=replace(SMALL, context_length=4096))))
    yield llm
    llm.close()


async def _outcome(llm: Llava, name: str, temperature: float) -> str:
    sampling = {"temperature": temperature, "max_tokens": 120, "seed": 1}
    try:
        output = await llm.astructured_predict(load(name), PROMPT, llm_kwargs=sampling)
    except SchemaError:
        return "refused" if name in REFUSED else f"refused: {name}"
    except OutputError as error:
        return "cut off" if "cut off by max_tokens" in str(error) else f"wrong: {name}: {error}"
    return "valid" if type(output) is load(name) else f"wrong: {name}"


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0, 1])
async def test_answers_are_valid_or_the_schema_is_refused(llm: Llava, temperature: float) -> None:
    outcomes = Counter(await asyncio.gather(*[_outcome(llm, name, temperature) for name in NAMES]))
    assert set(outcomes) <= {"valid", "refused", "cut off"}, outcomes
    assert outcomes["refused"] == len(REFUSED)
    assert outcomes["valid"] >= 5


def test_a_tool_that_cannot_be_enforced_is_refused(llm: Llava) -> None:
    odd = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}, "required": ["a"]}
    with pytest.raises(ValueError, match="the tool f cannot be enforced"):
        llm.chat([ChatMessage("hi")], tools=[{"name": "f", "parameters": odd}])


def test_there_are_many_models() -> None:
    assert len(NAMES) >= 30
    assert len({name.split(".")[0] for name in NAMES}) >= 4
