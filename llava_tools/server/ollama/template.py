"""The conversation format as a template in Ollama's language, for clients that show it."""

from __future__ import annotations

from collections.abc import Mapping

from llava_tools.chat.formats import FORMATS, ConversationName, Marker, Markers, SpecialToken
from llava_tools.server.ollama.names import size_of
from llava_tools.server.service import Service

#: Formats of the models with short names; that of others is in their checkpoint.
_FORMATS: Mapping[str, ConversationName] = {
    "tiny": "vicuna_v1",
    "0.5b": "chatml",
    "7b": "vicuna_v1",
    "13b": "vicuna_v1",
}


def write_template(service: Service) -> str:
    """Return the template of the model; "" if its format is not known before it is loaded."""
    name = service.model.options.conversation or _FORMATS.get(size_of(service))
    if name is None:
        return ""
    conversation = FORMATS[name]
    return (
        _write(conversation.system_turn, "{{ .System }}")
        + _write(conversation.user_turn, "{{ .Prompt }}")
        + _write(conversation.assistant_turn, conversation.answer_prefix + "{{ .Response }}")
    )


def _write(markers: Markers, text: str) -> str:
    return "".join(map(_text, markers.before)) + text + "".join(map(_text, markers.after))


def _text(marker: Marker) -> str:
    return marker.text if isinstance(marker, SpecialToken) else marker
