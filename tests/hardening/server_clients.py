"""Clients of a model server: every surface through which one is used."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path

from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llava_tools import Llava
from llava_tools.cli.main import main
from llava_tools.core.outputs import collect
from llava_tools.evaluation.evaluate import evaluate
from llava_tools.evaluation.options import EvalOptions
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend
from tests.evaluation.scripted_judge import write_mm_vet
from tests.hardening.server_answer import TEXT
from tests.remote.requests import ADD

KEY, HEADER, PASSWORD = "key-that-is-secret", "header-that-is-secret", "pass-that-is-secret"
#: What nothing may show; the last is the user's name and password as a header has them.
SECRETS = (KEY, HEADER, PASSWORD, "dXNlcjpwYXNz")
_QUESTION = "What is this?"
_HEADERS = {"X-Team": HEADER}


def _ask(url: str) -> str:
    with Llava(base_url=url, api_key=KEY, default_headers=_HEADERS) as model:
        return model.ask(_QUESTION).text


def _stream(url: str) -> str:
    with (
        Llava(base_url=url, api_key=KEY, default_headers=_HEADERS) as model,
        closing(model.stream(_QUESTION)) as stream,
    ):
        return collect(stream, "").text


def _aask(url: str) -> str:
    async def ask() -> str:
        with Llava(base_url=url, api_key=KEY, default_headers=_HEADERS) as model:
            return (await model.aask(_QUESTION)).text

    return asyncio.run(ask())


def _chat(url: str) -> closing[ChatLlava]:
    return closing(ChatLlava(base_url=url, api_key=KEY, default_headers=_HEADERS))


def _invoke(url: str) -> str:
    with _chat(url) as chat:
        return chat.invoke(_QUESTION).text


def _chat_stream(url: str) -> str:
    with _chat(url) as chat:
        return "".join(chunk.text for chunk in chat.stream(_QUESTION))


def _batch(url: str) -> str:
    with _chat(url) as chat:
        first, second = chat.batch([_QUESTION, "Why?"])
        assert first.text == second.text
        return first.text


def _ainvoke(url: str) -> str:
    async def invoke() -> str:
        with _chat(url) as chat:
            return (await chat.ainvoke(_QUESTION)).text

    return asyncio.run(invoke())


def choose(url: str) -> str:
    with Llava(base_url=url, api_key=KEY, default_headers=_HEADERS) as model:
        assert model.choose(_QUESTION, (), ["yes"]).label == "yes"
        return TEXT


def token_ids(url: str) -> str:
    with _chat(url) as chat:
        assert all(number >= 0 for number in chat.get_token_ids("words"))
        return TEXT


def tool_call(url: str) -> str:
    tool = {"name": ADD.name, "description": ADD.description, "parameters": ADD.parameters}
    with _chat(url) as chat:
        return chat.bind_tools([tool], tool_choice="any").invoke(_QUESTION).text


def _llm(url: str) -> closing[LlamaIndexLlava]:
    return closing(LlamaIndexLlava(base_url=url, api_key=KEY, default_headers=_HEADERS))


def _complete(url: str) -> str:
    with _llm(url) as llm:
        return str(llm.complete(_QUESTION).text)


def _stream_complete(url: str) -> str:
    with _llm(url) as llm:
        return "".join(response.delta or "" for response in llm.stream_complete(_QUESTION))


def _acomplete(url: str) -> str:
    async def complete() -> str:
        with _llm(url) as llm:
            return str((await llm.acomplete(_QUESTION)).text)

    return asyncio.run(complete())


class CommandError(Exception):
    """A command ended with an error: its line, and its exit code."""


def _command(*words: str) -> str:
    """Run a command in this process and return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*words, "--quiet"])
    if code:
        # `eval` prints its table and the files, too.
        raise CommandError(err.getvalue().rstrip("\n"), code)
    assert err.getvalue() == "", err.getvalue()
    return out.getvalue()


def _ask_command(url: str) -> str:
    return _command("ask", "--base-url", url, _QUESTION).rstrip("\n")


#: The ways to ask a server: a URL to the text of its answer.
SURFACES: dict[str, Callable[[str], str]] = {
    "Llava.ask": _ask,
    "Llava.stream": _stream,
    "Llava.aask": _aask,
    "ChatLlava.invoke": _invoke,
    "ChatLlava.stream": _chat_stream,
    "ChatLlava.batch": _batch,
    "ChatLlava.ainvoke": _ainvoke,
    "LLM.complete": _complete,
    "LLM.stream_complete": _stream_complete,
    "LLM.acomplete": _acomplete,
    "llava-tools ask": _ask_command,
}


class Judged:
    """Answers of an evaluation, which a judge at a URL scores by the command line."""

    def __init__(self, folder: Path) -> None:
        write_mm_vet(folder / "data" / "mm-vet")
        self._out = folder / "out"
        options = EvalOptions(tasks="mm_vet", data=folder / "data", limit=1)
        evaluate(options, EngineOptions(), ScriptedBackend(["one"]), self._out, None)

    def __call__(self, url: str) -> str:
        for path in self._out.glob("mm_vet/*"):
            if path.is_file() and path.name != "answers.jsonl":  # of the judge before
                path.unlink()
        shown = _command("eval", "--score", str(self._out), "--judge-url", url)
        written = "".join(
            path.read_text(encoding="utf-8") for path in self._out.rglob("*") if path.is_file()
        )
        for secret in SECRETS:
            assert secret not in written, "a file has a secret"
        return TEXT if "MM-Vet" in shown else shown
