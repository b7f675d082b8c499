"""`LlavaFunctionAgent` and `LlavaReActAgent`: LlamaIndex's agents, which weak planners finish.

A tool whose calls bring nothing new is withdrawn (`llava_tools.chat.planning`), and an answer that
was refused goes back to the model once. Both also run as agents of an `AgentWorkflow`. For planners
that make ever new calls see LlamaIndex's `max_iterations` and `early_stopping_method`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from llama_index.core.agent.react.types import ResponseReasoningStep
from llama_index.core.agent.workflow import AgentOutput, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import BaseMemory
from llama_index.core.tools import AsyncBaseTool, ToolOutput
from pydantic import Field

from llava_tools.chat import planning
from llava_tools.errors import OutputError


class LlavaFunctionAgent(FunctionAgent):
    """A `FunctionAgent` that makes the same call with the same result only so often.

    A planner without any tool left answers in text. If `llama_index.llms.llava.Llava` refuses an
    answer with an `OutputError` (a tool call that `max_tokens` cuts off), the model reads what it
    wrote and what is wrong with it, once; a second refusal is raised.
    """

    repeat_limit: int = Field(default=planning.REPEAT_LIMIT, ge=1)
    """Number of equal results of the same call after which its tool is withdrawn, until another
    call brings something new. Raise it for planners that poll."""

    async def take_step(
        self,
        ctx: Any,
        llm_input: list[ChatMessage],
        tools: Sequence[AsyncBaseTool],
        memory: BaseMemory,
    ) -> AgentOutput:
        """Take a step, at most twice, without the exhausted tools."""
        exhausted = _exhausted_tools(await _results(ctx), self.repeat_limit)
        offered = [tool for tool in tools if tool.metadata.name not in exhausted]
        try:
            return await super().take_step(ctx, llm_input, offered, memory)
        except OutputError as error:
            attempt, hint = planning.attempt_and_hint(error)
        scratchpad = await ctx.store.get(self.scratchpad_key, default=[])
        retry = [ChatMessage(attempt, role="assistant"), ChatMessage(hint, role="user")]
        await ctx.store.set(self.scratchpad_key, [*scratchpad, *retry])
        return await super().take_step(ctx, llm_input, offered, memory)


class LlavaReActAgent(ReActAgent):
    """A `ReActAgent` that makes the same call with the same result only so often.

    Its calls are text, which no grammar bounds: a planner that calls a withdrawn tool nevertheless
    is shown the results and has to answer.
    """

    repeat_limit: int = Field(default=planning.REPEAT_LIMIT, ge=1)
    """See `LlavaFunctionAgent`."""

    async def take_step(
        self,
        ctx: Any,
        llm_input: list[ChatMessage],
        tools: Sequence[AsyncBaseTool],
        memory: BaseMemory,
    ) -> AgentOutput:
        """Take a step without the exhausted tools, or answer."""
        results = await _results(ctx)
        exhausted = _exhausted_tools(results, self.repeat_limit)
        offered = [tool for tool in tools if tool.metadata.name not in exhausted]
        output = await super().take_step(ctx, llm_input, offered, memory)
        if exhausted.isdisjoint(call.tool_name for call in output.tool_calls):
            return output
        lines = {f"{result.tool_name}: {result.tool_output.content}": None for result in results}
        text = "\n".join(["Results:", *lines, "Answer with them."])
        question = ChatMessage(text, role="user")
        response = await self.llm.achat([*llm_input, question])
        answer = response.message.content or ""
        reasoning = await ctx.store.get(self.reasoning_key, default=[])
        # Instead of the call, so that `finalize` remembers the answer.
        done = ResponseReasoningStep(thought="I have the results.", response=answer)
        await ctx.store.set(self.reasoning_key, [*reasoning[:-1], done])
        return AgentOutput(
            response=response.message, raw=response.raw, current_agent_name=self.name
        )


async def _results(ctx: Any) -> list[ToolCallResult]:
    """Return the results of the present run, which every agent keeps in its context."""
    return list(await ctx.store.get("current_tool_calls", default=[]))


def _exhausted_tools(results: Sequence[ToolCallResult], limit: int) -> frozenset[str]:
    calls = [
        planning.CompletedCall(result.tool_name, result.tool_kwargs, _key(result.tool_output))
        for result in results
    ]
    return planning.exhausted_tools(calls, limit)


def _key(output: ToolOutput) -> str:
    """Return what is equal for equal outputs; images are part of it."""
    return hashlib.sha256(f"{output.is_error} {output.blocks!r}".encode()).hexdigest()
