"""The conversation format of a checkpoint, from its chat template and its vocabulary.

The order: the option `conversation`; what is known of a published checkpoint whose template is not
that of its training; the checkpoint's own chat template, if it writes one of the formats; special
tokens of a format in the vocabulary; else LLaVA 1.5's own format, if the vocabulary ends a text
with `</s>` as Llama's does. Where template and vocabulary disagree, or the format is known but not
supported, nothing is guessed: the error names the option.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tools.chat.formats import (
    CHATML,
    FORMATS,
    JOYCAPTION,
    LLAMA3,
    PHI3,
    VICUNA_V1,
    ConversationFormat,
    ConversationName,
)
from llava_tools.chat.prompt import Turn, join_turns, render
from llava_tools.engine.loading.json_file import read_object
from llava_tools.engine.loading.template_process import render_template
from llava_tools.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)

#: What prompts of formats that are not supported contain, and the models that use them.
_UNSUPPORTED = {
    "[INST]": "Mistral-Instruct and Llama 2",
    "<start_of_turn>": "Gemma",
    "<|START_OF_TURN_TOKEN|>": "Command R",
    "<|start_of_role|>": "Granite",
    "<|header_start|>": "Llama 4",
}
#: Published checkpoints, by the ends of their names, whose chat template is not the one that they
#: were trained with. BakLLaVA's is Mistral-Instruct's; SkunkworksAI/BakLLaVA, scripts/finetune.sh,
#: trains it with `--version v1`.
_TRAINED_WITH = {"bakLlava-v1-hf": VICUNA_V1}
_HINT = (
    f"Name the format that the model was trained on: conversation={', '.join(map(repr, FORMATS))}."
)
_QUESTION = "Which one?"

#: The formats whose turns of text differ; LLaVA 1.5's own is the first.
_DISTINCT = (VICUNA_V1, CHATML, LLAMA3, PHI3)


def choose_format(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    image_token: int,
    option: ConversationName | None,
    name: str,
) -> ConversationFormat:
    """Return the conversation format of the checkpoint in a folder.

    If its chat template writes a system sentence of its own, that replaces the format's.
    `image_token` is the id of the placeholder of images.

    Raises:
        ModelError: It is not known, or not supported; the message calls the model `name`.
    """
    if option is not None:
        return FORMATS[option]
    if trained := _TRAINED_WITH.get(Path(name).name):
        return trained
    template = _chat_template(folder, tokenizer)
    prompt = "" if template is None else _render(tokenizer, template)
    vocabulary = {str(token.content) for token in tokenizer.added_tokens_decoder.values()}
    by_template, by_vocabulary = _recognize(prompt), _from_vocabulary(vocabulary)
    if by_template and by_vocabulary and by_template.name != by_vocabulary.name:
        raise ModelError(
            f"The chat template of {name!r} writes {by_template.name!r}, but its vocabulary has "
            f"the special tokens of {by_vocabulary.name!r}.",
            _HINT,
        )
    placeholder = tokenizer.added_tokens_decoder.get(image_token)
    if by_template in (None, LLAMA3) and str(placeholder) == JOYCAPTION.image_token:
        return JOYCAPTION
    if by_template:
        return _with_system(by_template, prompt)
    for text, models in _UNSUPPORTED.items():
        if text in prompt or text in vocabulary:
            raise ModelError(
                f"{name!r} has the conversation format of {models} ({text}), which is not "
                "supported.",
                _HINT,
            )
    if by_vocabulary:
        stops = {by_vocabulary.end_of_turn.text, *(t.text for t in by_vocabulary.other_stops)}
        if tokenizer.eos_token not in stops:  # TinyLLaVA 1.1B is trained with Vicuna's format
            raise ModelError(
                f"The vocabulary of {name!r} has the special tokens of {by_vocabulary.name!r}, but "
                f"ends texts with {tokenizer.eos_token}.",
                _HINT,
            )
        if template is not None:
            _log.warning(
                "The chat template of %s writes no known format; %r is that of its vocabulary.",
                name,
                by_vocabulary.name,
            )
        return by_vocabulary
    if template is not None or tokenizer.eos_token != "</s>":
        raise ModelError(f"The conversation format of {name!r} is not known.", _HINT)
    return VICUNA_V1


def _chat_template(folder: Path, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the template of the whole model, else that of its language model, else None."""
    path = folder / "chat_template.json"
    template: Any = tokenizer.chat_template
    if path.is_file():
        try:
            template = read_object(path)["chat_template"]
        except (ValueError, KeyError) as error:
            raise ModelError(
                f"{path} is damaged: {error}.", "Download the checkpoint again."
            ) from error
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) and template.strip() else None


def _render(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    """Return the prompt that a template writes for a question; "" if it writes none.

    Templates of text models take a string, those of image models a list of parts.
    """
    contents: tuple[Any, ...] = (_QUESTION, [{"type": "text", "text": _QUESTION}])
    conversations = [[{"role": "user", "content": content}] for content in contents]
    for prompt in render_template(template, conversations, tokenizer.special_tokens_map):
        if prompt is not None and _QUESTION in prompt and "{'type'" not in prompt:
            return prompt
    return ""


def _recognize(prompt: str) -> ConversationFormat | None:
    """Return the format whose turn of a user, white space aside, ends a prompt."""
    for row in _DISTINCT:
        turn = render(join_turns("", [Turn("user", _QUESTION, ())], row))
        if "".join(prompt.split()).endswith("".join(turn.split())):
            return row
    return None


def _from_vocabulary(vocabulary: set[str]) -> ConversationFormat | None:
    """Return the format whose special tokens a vocabulary has; LLaVA 1.5's own has none."""
    for row in _DISTINCT[1:]:
        if vocabulary.issuperset(token.text for token in row.special_tokens):
            return row
    return None


def _with_system(row: ConversationFormat, prompt: str) -> ConversationFormat:
    """Return a format with the system sentence that a template writes by default, if any."""
    begin, end, user = (
        "".join(marker if isinstance(marker, str) else marker.text for marker in markers)
        for markers in (row.system_turn.before, row.system_turn.after, row.user_turn.before)
    )
    system = prompt[: prompt.rfind(user)]
    if not begin or begin not in system or end not in system:
        return row
    return replace(row, system=system[system.index(begin) + len(begin) : system.rindex(end)])
