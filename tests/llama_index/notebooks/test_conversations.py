"""Ten turns about one image: agents and chat engines, with the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock

from llama_index.llms.llava import Llava, LlavaMemory

#: Questions about the image, each followed by another.
QUESTIONS = [
    ("What colour is the star?", "yellow"),
    ("What is the background colour?", "black"),
    ("What colour is the circle?", "white"),
    ("Is there a cross?", "no"),
    ("Is there a star?", "yes"),
] * 2


def _first(night: Path) -> ChatMessage:
    blocks = [ImageBlock(image=night.read_bytes()), TextBlock(text=QUESTIONS[0][0])]
    return ChatMessage(blocks=blocks)


def _messages(night: Path) -> list[Any]:
    return [_first(night), *(question for question, _ in QUESTIONS[1:])]


def _expected(answers: list[str]) -> None:
    assert [answer.lower().rstrip(".") for answer in answers] == [a for _, a in QUESTIONS]


@pytest.mark.parametrize("agent_type", [FunctionAgent, AgentWorkflow])
async def test_agents_with_memory(agent_type: Any, llm: Llava, night: Path) -> None:
    agent: Any = FunctionAgent(llm=llm, name="looker")
    if agent_type is AgentWorkflow:
        agent = AgentWorkflow(agents=[agent], root_agent="looker")
    memory = LlavaMemory.from_defaults(llm)
    _expected([str(await agent.run(m, memory=memory)) for m in _messages(night)])
    assert len(await memory.aget_all()) == 20


async def test_a_chat_engine(llm: Llava, night: Path) -> None:
    memory = LlavaMemory.from_defaults(llm, chat_history=[_first(night)])
    memory.put(ChatMessage("yellow", role="assistant"))
    engine = SimpleChatEngine.from_defaults(llm=llm, memory=memory)
    answers = ["yellow", *(str(engine.chat(question)) for question, _ in QUESTIONS[1:5])]
    answers += ["".join(engine.stream_chat(question).response_gen) for question, _ in QUESTIONS[5:]]
    _expected(answers)
