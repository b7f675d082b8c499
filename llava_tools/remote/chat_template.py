"""A chat template for servers, in Jinja, that writes prompts as `chat.prompt` does.

Servers like vLLM and SGLang render the messages that they get with such a template. Checkpoints
come with one, but that of LLaVA 1.5's llava-hf checkpoints differs from what the model was trained
on: it has no system sentence and no end after an answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from llava_tools.chat.formats import ConversationFormat, Marker

_TEXT = """\
{%- macro text(content) -%}
  {%- if content is string -%}{{ content }}
  {%- else -%}
    {%- for part in content if part['type'] == 'text' -%}{{ part['text'] }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
"""
_IMAGES = """\
    {%- if message['content'] is not string -%}
      {%- for part in message['content'] if part['type'] != 'text' -%}{{ IMAGE }}{%- endfor -%}
    {%- endif -%}
"""


def write_chat_template(conversation: ConversationFormat) -> str:
    """Return the template of a conversation format.

    It takes messages whose content is a string or a list of parts. A system message is written as
    it is; without one the prompt has no system sentence, since this project's client sends it.
    """
    system, user = conversation.system_turn, conversation.user_turn
    assistant = conversation.assistant_turn
    without_system = ""
    if conversation.keeps_empty_system:
        markers = _literal((*system.before, *system.after))
        without_system = f"{{%- if messages[0]['role'] != 'system' -%}}{markers}{{%- endif -%}}\n"
    before_answer = (*assistant.before, conversation.answer_prefix)
    image = (*conversation.image.before, conversation.image_token, *conversation.image.after)
    images = _IMAGES.replace("{{ IMAGE }}", _literal(image))
    return (
        _TEXT
        + without_system
        + "{%- for message in messages -%}\n"
        + "  {%- if message['role'] == 'system' -%}\n"
        + _turn(system.before, "", system.after)
        + "  {%- elif message['role'] == 'assistant' -%}\n"
        + _turn(before_answer, "", assistant.after)
        + "  {%- else -%}\n"
        + _turn(user.before, images, user.after)
        + "  {%- endif -%}\n"
        + "{%- endfor -%}\n"
        + f"{{%- if add_generation_prompt -%}}{_literal(assistant.before)}{{%- endif -%}}\n"
    )


def _turn(before: Iterable[Marker], images: str, after: Iterable[Marker]) -> str:
    content = "    {{- text(message['content']) -}}\n"
    return f"    {_literal(before)}\n{images}{content}    {_literal(after)}\n"


def _literal(markers: Iterable[Marker]) -> str:
    """Return Jinja that writes markers; `-` keeps the template's own white space out."""
    text = "".join(marker if isinstance(marker, str) else marker.text for marker in markers)
    return "{{- " + repr(text) + " -}}"
