"""Mixed requests in one batch of a real engine: each gets its own answer, none is lost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from langchain_llava import ChatLlava


def tool(number: int) -> dict[str, Any]:
    """A tool that can only be called with one value."""
    fields = {"number": {"const": number}}
    schema = {"type": "object", "properties": fields, "required": ["number"]}
    return {"name": f"take_{number}", "description": "Take it.", "parameters": schema}


def form(number: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"place": {"const": f"n{number}"}, "side": {"enum": ["left", "right"]}},
        "required": ["place", "side"],
    }


async def test_thirty_two_mixed_requests(checkpoint: Path) -> None:
    model = ChatLlava(model=str(checkpoint), max_tokens=150)

    def ask(number: int) -> Any:
        question = f"Question {number}?"
        if number % 4 == 0:
            return model.ainvoke(question, max_tokens=6)
        if number % 4 == 1:
            tools = [tool(number), tool(number + 100)]
            return model.bind_tools(tools, tool_choice=f"take_{number}").ainvoke(question)
        if number % 4 == 2:
            return model.with_structured_output(form(number)).ainvoke(question)
        bound = model.bind_tools([tool(number)], tool_choice="any", parallel_tool_calls=False)
        return bound.ainvoke(question, temperature=1.0, seed=number)

    told = await asyncio.gather(*map(ask, range(32)))
    assert len(told) == 32
    for number, answer in enumerate(told):
        if number % 4 == 0:
            alone = await model.ainvoke(f"Question {number}?", max_tokens=6)
            assert answer.content == alone.content
            assert answer.usage_metadata["output_tokens"] <= 6
        elif number % 4 == 2:
            assert answer["place"] == f"n{number}"
            assert answer["side"] in ("left", "right")
        else:
            (call,) = answer.tool_calls
            assert (call["name"], call["args"]) == (f"take_{number}", {"number": number})
    model.close()


async def test_calls_stream_from_a_real_engine(checkpoint: Path) -> None:
    chat = ChatLlava(model=str(checkpoint), max_tokens=150)
    model: Any = chat.bind_tools([tool(7)], tool_choice="any")
    whole: Any = None
    pieces = []
    async for chunk in model.astream("Well?", parallel_tool_calls=False):
        pieces += chunk.tool_call_chunks
        whole = chunk if whole is None else whole + chunk
    assert [piece["name"] for piece in pieces if piece["name"]] == ["take_7"]
    assert json.loads("".join(piece["args"] or "" for piece in pieces)) == {"number": 7}
    assert whole.tool_calls[0]["args"] == {"number": 7}
    assert whole.usage_metadata["output_tokens"] > 10
