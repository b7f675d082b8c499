"""`base_url` in `Llava`, the command line and the integrations."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_llava import ChatLlava
from langchain_llava import compat as langchain
from llava_tools import Llava
from llava_tools.cli.main import main
from llava_tools.errors import EngineError, RequestError, ServerError
from llava_tools.remote import RemoteBackend
from tests.remote.requests import ADD, CALL, SCHEMA, Serve, make_image


def test_llava_and_command_line(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve("A star.", api_key="secret")
    with Llava(base_url=server.url, api_key="secret") as model:
        answer = model.ask("What?", make_image())
    assert (answer.text, answer.model, answer.usage.image_tokens) == ("A star.", "llava", 576)
    assert "secret" not in repr(model.options)
    assert main(["ask", "What?", "--base-url", serve("A box.").url]) == 0
    out = capsys.readouterr()
    assert (out.out, out.err) == ("A box.\n", "")


async def test_chat_llava(serve: Serve) -> None:
    server = serve("A star, I think.", CALL, '{"n": 5}', "A star, I think.")
    model = ChatLlava(base_url=server.url, api_key="secret")
    message = HumanMessage(
        [
            {"type": "text", "text": "What?"},
            {"type": "image", "base64": _base64(), "mime_type": "image/png"},
        ]
    )
    assert "".join(str(chunk.text) for chunk in model.stream([message])) == "A star, I think."
    tools = [{"name": "add", "description": "Add.", "parameters": ADD.parameters}]
    result = model.bind_tools(tools).invoke([message])
    assert [(call["name"], call["args"]) for call in result.tool_calls] == [("add", {"a": 3})]
    assert model.with_structured_output({"title": "Form", **SCHEMA}).invoke("How many?") == {"n": 5}
    answer = await model.ainvoke([message])
    assert answer.text == "A star, I think."
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] > 576
    assert answer.response_metadata["model_name"] == "llava"
    assert "secret" not in str(model._identifying_params)
    server.faults = [500] * 9
    with pytest.raises(langchain.ModelConnectionError):
        ChatLlava(base_url=server.url, backend=RemoteBackend(server.url, retry_delays=())).invoke(
            "What?"
        )
    model.close()


def test_llama_index(serve: Serve) -> None:
    from llama_index.llms.llava import Llava as LlamaIndexLlava

    server = serve("A star.", api_key="secret")
    model = LlamaIndexLlava(base_url=server.url, api_key="secret")
    assert model.complete("What?").text == "A star."
    assert "".join(chunk.delta or "" for chunk in model.stream_complete("What?")) == "A star."
    assert "secret" not in model.to_json()
    model.close()


def _base64() -> str:
    return base64.b64encode(make_image().data).decode()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url='localhost:8000'"),
        ({"base_url": "http://x/v1", "quantization": "4bit"}, "does not go with base_url"),
        ({"base_url": "http://x/v1", "local_files_only": True}, "does not go with base_url"),
    ],
)
def test_options_of_the_server_are_refused_next_to_base_url(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        Llava(**options)


def test_server_is_not_contacted_before_the_first_request() -> None:
    assert Llava(base_url="http://127.0.0.1:9/v1").options.base_url
    assert issubclass(ServerError, EngineError)
