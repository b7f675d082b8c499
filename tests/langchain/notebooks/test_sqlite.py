"""Conversations in SQLite: a second process goes on with the first one's images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_llava import ChatLlava, image_block

#: Shows an image in the first run, and asks about it in the second one.
SCRIPT = """
import sys
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langchain_llava import ChatLlava, image_block

image, question = sys.argv[1:]
shown = [image_block(image, "images")] if image else []
with SqliteSaver.from_conn_string("checkpoints.sqlite") as saver:
    agent = create_agent(ChatLlava(image_store="images"), [], checkpointer=saver)
    messages = {"messages": [HumanMessage([*shown, question])]}
    result = agent.invoke(messages, {"configurable": {"thread_id": "1"}})
print(len(result["messages"]), result["messages"][-1].text)
"""


def _run(folder: Path, image: str, question: str) -> str:
    command = [sys.executable, "-c", SCRIPT, image, question]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.mark.slow
def test_the_embedded_model_goes_on_in_another_process(night: Path, tmp_path: Path) -> None:
    first = _run(tmp_path, str(night), "Describe the picture.")
    assert first == "2 a yellow star and a white circle on a black background"
    assert _run(tmp_path, "", "What colour is the star?") == "4 yellow"


async def test_turns_of_one_process_share_a_thread(
    model: ChatLlava, night: Path, tmp_path: Path
) -> None:
    thread: Any = {"configurable": {"thread_id": "1"}}
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "a.sqlite")) as saver:
        agent: Any = create_agent(model, [], checkpointer=saver)
        question = HumanMessage([image_block(night), "Describe the picture."])
        await agent.ainvoke({"messages": [question]}, thread)
        result = await agent.ainvoke({"messages": ["What colour is the star?"]}, thread)
        assert [m.text for m in result["messages"]][3:] == ["yellow"]
        # Back to the first answer, and on with another question.
        states = [state async for state in agent.aget_state_history(thread)]
        (first,) = [s for s in states if len(s.values["messages"]) == 2 and not s.next]
        other = {"messages": ["What is the background colour?"]}
        result = await agent.ainvoke(other, first.config)
        assert [m.text for m in result["messages"]][3:] == ["black"]
