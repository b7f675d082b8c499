"""Every group of cases, by the name of its golden file."""

from __future__ import annotations

from importlib import import_module

from tests.golden.inputs import Cases

NAMES = (
    "prompts",
    "grammars",
    "streams",
    "stream_errors",
    "visual_tools",
    "langchain_requests",
    "langchain_answers",
    "langchain_tools",
    "llama_index_requests",
    "llama_index_answers",
    "llama_index_tools",
    "remote_requests",
    "errors",
)


def cases(group: str) -> Cases:
    found: Cases = import_module(f"tests.golden.{group}").CASES
    return found
