"""The template for servers writes what the engine reads."""

from __future__ import annotations

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llava_tools.chat.formats import FORMATS, ConversationFormat
from llava_tools.chat.prepare import prepare
from llava_tools.chat.prompt import render
from llava_tools.cli.main import main
from llava_tools.core.requests import Message, Request
from llava_tools.remote.chat_template import write_chat_template
from llava_tools.remote.protocol import encode_messages
from tests.strategies import make_image

CONVERSATIONS = {
    "a question": [Message("user", ("Hi. ",))],
    "an image": [Message("user", (make_image(1), make_image(2), "Which?"))],
    "an image alone": [Message("user", (make_image(1),))],
    "an empty system message": [Message("system", ("",)), Message("user", ("Hi",))],
    "turns": [
        Message("system", ("Be kind.\n",)),
        Message("user", (make_image(1), "What?")),
        Message("assistant", (" A {{ cat }}.",)),
        Message("user", ("It's 'fine'?",)),
    ],
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("trim", [True, False])
def test_the_template_writes_the_engines_prompt(
    name: str, messages: list[Message], trim: bool
) -> None:
    row: ConversationFormat = FORMATS[name]  # type: ignore[index]
    environment = ImmutableSandboxedEnvironment(trim_blocks=trim, lstrip_blocks=trim)
    template = environment.from_string(write_chat_template(row))
    prepared = prepare(Request(tuple(messages)), row)
    sent = encode_messages(prepared, lambda image: "data:,")
    text = template.render(messages=sent, add_generation_prompt=True)
    assert text == render(prepared.pieces).replace("<image>", row.image_token)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat-template", "llama3"]) == 0
    assert capsys.readouterr().out == write_chat_template(FORMATS["llama3"])
    assert main(["chat-template"]) == 0
    assert capsys.readouterr().out == write_chat_template(FORMATS["vicuna_v1"])
