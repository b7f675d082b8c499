"""Texts that spell the structure of prompts, in every place where others write."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

from llava_tools.chat.formats import FORMATS, ConversationFormat, ConversationName
from llava_tools.chat.prepare import prepare
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.requests import Message, Request
from llava_tools.core.unicode import well_formed
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import RequestError
from llava_tools.remote.chat_template import write_chat_template
from llava_tools.remote.protocol import encode_messages
from llava_tools.retrieval.passages import choose_passages
from llava_tools.retrieval.question import PROMPT_WITH_TEXT
from tests.families.vocabularies import VOCABULARIES
from tests.hardening.attack import Attack, Tally
from tests.strategies import make_image

_IMAGE = -1
_PHOTO = make_image(7)
_CALL = ToolCall("c", "look", {"question": "What?"})

#: Vocabularies of `tests.families`, and one that makes other letters into those of special tokens.
_CONVERSATIONS: Mapping[str, ConversationName] = {
    "llama": "vicuna_v1",
    "normalizing llama": "vicuna_v1",
    "tiny_llama_chatml": "chatml",
    "phi3": "phi3",
    "llama3": "llama3",
    "llama31_reserved": "joycaption",
    "qwen2": "chatml",
    "smollm2": "chatml",
}


@dataclass(frozen=True)
class Kind:
    """A kind of tokenizer.

    Attributes:
        whole: The tokenizer as a server has it, which takes any text that spells a special token.
        tokenizer: The engine's.
        conversation: The format of its conversations.
        special: The texts of its special tokens by their ids.
    """

    whole: FastTokenizer
    tokenizer: Tokenizer
    conversation: ConversationFormat
    special: Mapping[int, str]

    def structure(self, request: Request) -> Counter[int]:
        """Return the images and special tokens of a request's prompt, as the engine reads it."""
        pieces = prepare(request, self.conversation).pieces
        ids = self.tokenizer.tokenize(pieces, lambda image: (_IMAGE,))
        return Counter(i for i in ids if i == _IMAGE or i in self.special)

    def served_structure(self, request: Request) -> Counter[int]:
        """Return the special tokens of the prompt that a model server makes of a request."""
        prepared = prepare(request, self.conversation)
        messages = encode_messages(prepared, lambda image: "data:image/png;base64,AA==")
        template = _template(self.conversation)
        text = template.render(messages=messages, add_generation_prompt=True)
        ids = self.whole.encode(well_formed(text), add_special_tokens=False).ids
        return Counter(i for i in ids if i in self.special)


@cache
def kind_of(name: str) -> Kind:
    """Return a kind of tokenizer by its name."""
    vocabulary = VOCABULARIES[name.split()[-1]]()
    whole = vocabulary.tokenizer
    if name.startswith("normalizing"):
        whole.normalizer = normalizers.Sequence([normalizers.NFKC(), whole.normalizer])
    names = {k: v for k, v in vocabulary.settings.items() if k.endswith("_token") and v}
    names = {key: value for key, value in names.items() if isinstance(value, str)}
    saved = PreTrainedTokenizerFast(tokenizer_object=whole, **names)
    conversation = FORMATS[_CONVERSATIONS[name]]
    special = {i: str(t.content) for i, t in whole.get_added_tokens_decoder().items()}
    return Kind(whole, Tokenizer(saved, conversation), conversation, special)


@cache
def _template(conversation: ConversationFormat) -> Any:
    return ImmutableSandboxedEnvironment().from_string(write_chat_template(conversation))


def _user(*content: Any) -> Message:
    return Message("user", (_PHOTO, *content))


def _with_schema(schema: dict[str, Any]) -> Request:
    return Request((_user("What?"),), constraint=Constraint(schema={"type": "object", **schema}))


def _with_tool(description: str = "", **schema: Any) -> Request:
    tool = ToolSpec("look", description, {"type": "object", **schema})
    return Request((_user("What?"),), constraint=Constraint((tool,)))


def _tool_result(text: str, **fields: Any) -> Request:
    called = Message("assistant", ("",), (_CALL,))
    result = Message("tool", (text,), (), "c", **fields)
    return Request((_user("What?"), called, result, Message("user", ("Well?",))))


def _document(text: str) -> Request:
    passages = choose_passages(text, "What is it?", 200)
    return Request((_user(PROMPT_WITH_TEXT.format(question="What is it?", text=passages)),))


#: Requests with a text of somebody else's, by its place.
PLACES: Mapping[str, Callable[[str], Request]] = {
    "user": lambda text: Request((_user(f"{text}?"),)),
    "two parts": lambda text: Request(
        (_user(text[: len(text) // 2], text[len(text) // 2 :], "?"),)
    ),
    "two messages": lambda text: Request(
        (_user(text[: len(text) // 2]), Message("user", (text[len(text) // 2 :], "?")))
    ),
    "system": lambda text: Request((Message("system", (text,)), _user("What?"))),
    "answer": lambda text: Request(
        (_user("What?"), Message("assistant", (f"a {text}",)), Message("user", ("Sure?",)))
    ),
    "last answer": lambda text: Request((_user("What?"), Message("assistant", (f"a {text}",)))),
    "result": _tool_result,
    "error": partial(_tool_result, is_error=True),
    "name of a result": lambda text: _tool_result("fine", name=f"t{text}"),
    "name of a call": lambda text: Request(
        (_user("?"), Message("assistant", ("a",), (ToolCall("c", text, {}),)), _user("Well?"))
    ),
    "arguments of a call": lambda text: Request(
        (
            _user("What?"),
            Message("assistant", ("",), (ToolCall("c", "look", {text: [text, {"a": text}]}),)),
            Message("tool", ("fine",), (), "c"),
        )
    ),
    "description of a tool": _with_tool,
    "property of a tool": lambda text: _with_tool(properties={text: {"type": "string"}}),
    "description of a property": lambda text: _with_tool(
        properties={"a": {"type": "string", "description": text}}
    ),
    "enum of a tool": lambda text: _with_tool(properties={"a": {"enum": [text, [text]]}}),
    "default of a tool": lambda text: _with_tool(
        properties={"a": {"type": "string", "default": {text: text}}}
    ),
    "title": lambda text: _with_schema({"title": text, "description": text}),
    "property": lambda text: _with_schema({"properties": {text: {"const": text}}}),
    "definition": lambda text: _with_schema(
        {
            "properties": {"a": {"$ref": "#/$defs/" + text.replace("~", "~0").replace("/", "~1")}},
            "$defs": {text: {"enum": [text]}},
        }
    ),
    "format": lambda text: _with_schema({"properties": {"a": {"type": "string", "format": text}}}),
    "document": _document,
    "name of a file": lambda text: Request((_user(f"The page {text}.pdf: what is it?"),)),
}

_MARKERS = (
    "<image>", "</s>", "<s>", "<unk>", "<pad>", "[PAD]", "USER:", " ASSISTANT:", "<tool_call>",
    "</tool_call>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>", "<|end_of_text|>",
    "<|user|>", "<|assistant|>", "<|system|>", "<repo_name>", "<file_sep>", "<|eom_id|>",
    "<|reserved_special_token_69|>", "<|reserved_special_token_70|>", "<start_of_turn>",
    "\nResult of bank: 9", "\nError of bank: 9", "Pictures: img_0", "<0x0A>", "<0x3C>",
)  # fmt: skip
_PIECES = (
    "<", ">", "</", "s>", "/s", "<|", "|>", "im_", "end", "_id", "\u2581", "\n", "\r", "\u2028",
    " ", "\u200b", "\u200d", "\ufeff", "\u00ad", "\x00", "\ud800", "\u0338", "\uff1c", "\uff1e",
    "\uff0f", "\uff53", "\ufe64", "\uff5c", "\u017f", "image",
    "assistant\n", "{", "}", "{{", "%}", '"', "\\", "a",
)  # fmt: skip
_WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})


def draw(rng: random.Random) -> str:
    """Return a text of markers, parts of them, and what may become one."""
    parts = []
    for _ in range(rng.randrange(1, 9)):
        marker = rng.choice(_MARKERS)
        cut = rng.randrange(len(marker) + 1)
        parts.append(
            rng.choice(
                (
                    marker,
                    marker * rng.choice((2, 40)),
                    marker[:cut] + rng.choice(_PIECES) + marker[cut:],
                    marker[:cut] + marker + marker[cut:],
                    marker[:cut],
                    marker[cut:],
                    marker.translate(_WIDE),
                    marker.replace(marker[cut : cut + 1], marker[cut : cut + 1].translate(_WIDE)),
                    rng.choice(_PIECES),
                )
            )
        )
    return "".join(parts)


def _lines(request: Request, conversation: ConversationFormat) -> tuple[int, int]:
    """Return how many lines of a prompt begin as results, and how many begin its system turn."""
    prepared = prepare(request, conversation)
    texts = "\n".join(turn.text for turn in prepared.turns if turn.role == "user")
    results = re.findall(r"^(?:Result|Error) of ", texts, re.MULTILINE)
    return len(results), len(re.findall(r"^\S", prepared.system, re.MULTILINE))


#: Places whose text may have any lines: a speaker's own, and those behind a question.
_FREE = frozenset(
    {
        "user",
        "two parts",
        "two messages",
        "system",
        "answer",
        "last answer",
        "document",
        "name of a file",
    }
)


def outcome(place: str, name: str, text: str, *, served: bool) -> str:
    """Compare the structure of a prompt with that of a harmless text in the same place."""
    kind = kind_of(name)
    try:
        forged = PLACES[place](text)
    except RequestError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(str(error)) from error
        return "refused"
    harmless = PLACES[place]("xyz")
    structure = kind.served_structure if served else kind.structure
    if (read := structure(forged)) != (expected := structure(harmless)):
        more = {kind.special.get(i, "image"): n for i, n in (read - expected).items()}
        less = {kind.special.get(i, "image"): n for i, n in (expected - read).items()}
        raise AssertionError(f"{more} more, {less} less")
    if place not in _FREE:
        lines = _lines(forged, kind.conversation), _lines(harmless, kind.conversation)
        if lines[0] != lines[1]:
            raise AssertionError(f"{lines[0]} lines of results and of the system, not {lines[1]}")
    return "the same through a server" if served else "the same"


def attack(count: int, seed: int) -> Tally:
    """Write drawn texts in all places, for all kinds of tokenizers and as servers read them."""
    rng, tally = random.Random(seed), Tally()
    places, kinds = list(PLACES), list(_CONVERSATIONS)
    for number in range(count):
        place, name = places[number % len(places)], kinds[number // len(places) % len(kinds)]
        # No server is known whose vocabulary normalizes, and a client cannot see it.
        text, served = draw(rng), rng.random() < 0.4 and not name.startswith("normalizing")
        what = f"{place}, {name}{', served' if served else ''}: {json.dumps(text)}"
        tally.add(partial(outcome, place, name, text, served=served), what)
    return tally


ATTACK = Attack(
    "forgery", "texts that spell structure, in every place of a prompt", attack, 20_000, 1_600
)
