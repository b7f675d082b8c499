"""Agents whose weak planners finish.

from llama_index.agent.llava import LlavaFunctionAgent, LlavaReActAgent
await LlavaFunctionAgent(llm=Llava(), tools=[...]).run(user_msg="...")
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.agent.llava.base import LlavaFunctionAgent, LlavaReActAgent

__all__ = ["LlavaFunctionAgent", "LlavaReActAgent"]
