"""Prompts: pieces, and token ids with the embedded model's tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib.resources import files
from typing import Any

from llava_tools.chat import prompt
from llava_tools.chat.formats import VICUNA_V1
from llava_tools.chat.prompt import Piece
from llava_tools.core.constraints import UNCONSTRAINED, Constraint, ToolCall
from llava_tools.core.requests import Message
from llava_tools.engine.tokenizer import IncrementalDecoder, Tokenizer
from llava_tools.images import ImageRef
from tests.golden import inputs as i
from tests.golden.plain import part_as_plain

SAY = (i.user("What is this?"),)
SEE = (i.user(i.RED, "What is this?"),)

#: What stands for an image among the ids.
_IMAGE = (-1,)

CONVERSATIONS: dict[str, tuple[Message, ...]] = {
    "text": SAY,
    "one image": SEE,
    "only an image": (i.user(i.RED),),
    "image behind the text": (i.user("Look: ", i.RED),),
    "several images": (i.user(i.RED, "one", i.BLUE, "two", i.GREEN),),
    "the same image twice": (i.user(i.RED, i.RED, "Twice?"),),
    "images in several turns": (*SEE, i.assistant("Red."), i.user(i.BLUE, "And this?")),
    "own system sentence": (i.system("Be brief."), *SAY),
    "no system sentence": (i.system(""), *SAY),
    "two system sentences": (i.system("Be brief."), *SAY, i.system("Be kind.")),
    "several turns": (*SAY, i.assistant("A."), i.user("B?"), i.assistant("C."), i.user("D?")),
    "users in a row": (i.user("One."), i.user(i.RED, "Two."), i.user("Three.")),
    "assistants in a row": (*SAY, i.assistant("One."), i.assistant("Two."), i.user("Three?")),
    "empty answer": (*SAY, i.assistant(""), i.user("Well?")),
    "assistant last": (*SAY, i.assistant("That.")),
    "assistant first": (i.assistant("Hello."), *SAY),
    "special strings": (i.user(i.SPECIAL), i.assistant(i.SPECIAL), i.user(i.SPECIAL)),
    "special strings of the system": (i.system(i.SPECIAL), *SAY),
    "special strings beside an image": (i.user(i.RED, "</s><image>"),),
    "special strings in a row": (i.user("</s></s><s><image><image></s>x</s"),),
    "unicode": (i.user(i.UNICODE),),
    "white space": (i.user("  two  spaces \n\n end  "),),
    "line breaks at the start": (i.user("\n\nhello"), i.assistant("\n ok"), i.user(" more")),
    "parts without a gap": (i.user("one", "two", " three"),),
    "a call as a user's text": (i.user(i.WRITTEN_ADD),),
    "a handle as a user's text": (i.user(f"What is {i.RED.handle}?"),),
    "long words and digits": (i.user("Donaudampfschiffahrt 1234567890 0x1F 3.14159 a_b-c"),),
    "code": (i.user('def f(x):\n    return {"a": [1, 2]}  # <b>\n'),),
}

TOOL_TALK: dict[str, tuple[Message, ...]] = {
    "call and result": (*SAY, i.assistant("", i.CALL_ADD), i.result("c1", "3")),
    "words before a call": (*SAY, i.assistant("Let me.", i.CALL_ADD), i.result("c1", "3")),
    "failed result": (*SAY, i.assistant("", i.CALL_ADD), i.result("c1", "No.", failed=True)),
    "two calls": (
        *SAY,
        i.assistant("", i.CALL_ADD, i.CALL_WEATHER),
        i.result("c1", "3"),
        i.result("c2", "sunny ☀"),
    ),
    "result then question": (
        *SAY,
        i.assistant("", i.CALL_ADD),
        i.result("c1", "3"),
        i.user("And?"),
    ),
    "result with an image": (*SAY, i.assistant("", i.CALL_ADD), i.result("c1", "Here:", i.RED)),
    "empty result": (*SAY, i.assistant("", i.CALL_ADD), i.result("c1")),
    "result with its own name": (
        *SAY,
        i.assistant("", i.CALL_ADD),
        Message("tool", ("3",), tool_call_id="c1", name="sum"),
    ),
    "result of an unknown call": (*SAY, i.result("c9", "3")),
    "special strings in a result": (*SAY, i.assistant("", i.CALL_ADD), i.result("c1", i.SPECIAL)),
    "unicode in a call": (
        *SAY,
        i.assistant("", ToolCall("c1", "add", {"ü": [1.5, None, True, {"k": "漢\n"}]})),
        i.result("c1", "ok"),
    ),
}

CONSTRAINTS: dict[str, Constraint] = {
    "one tool": Constraint((i.ADD,)),
    "several tools": Constraint((i.ADD, i.WEATHER, i.PLAIN)),
    "a tool for images": Constraint((i.LOOK,)),
    "any": Constraint((i.ADD, i.WEATHER), "any"),
    "none": Constraint((i.ADD,), "none"),
    "a forced tool": Constraint((i.ADD, i.WEATHER), "add"),
    "a forced tool for images": Constraint((i.ADD, i.LOOK), "look"),
    "one call at most": Constraint((i.ADD,), parallel_tool_calls=False),
    "a schema": Constraint(schema=i.PERSON),
    "a schema that the prompt leaves out": Constraint(schema=i.PERSON, describe=False),
    "tools and a schema": Constraint((i.ADD,), schema=i.PERSON),
    "a forced tool and a schema": Constraint((i.ADD,), "any", schema=i.PERSON),
    "no tool and a schema": Constraint((i.ADD,), "none", schema=i.PERSON),
    "lenient": Constraint(schema=i.PERSON, strict=False),
}


@cache
def codec() -> Tokenizer:
    from transformers import PreTrainedTokenizerFast

    return Tokenizer(PreTrainedTokenizerFast.from_pretrained(str(files("llava_tools") / "tiny")))


def _piece(piece: Piece) -> Any:
    return part_as_plain(piece) if isinstance(piece, str | ImageRef) else {"end_of_turn": True}


def prompt_as_dict(pieces: list[Piece]) -> dict[str, Any]:
    """Return pieces and their token ids."""
    return {
        "pieces": [_piece(piece) for piece in pieces],
        "ids": " ".join(map(str, codec().tokenize(pieces, lambda image: _IMAGE))),
    }


def built(messages: tuple[Message, ...], constraint: Constraint = UNCONSTRAINED) -> dict[str, Any]:
    return prompt_as_dict(prompt.build(messages, constraint=constraint))


def _other_system(sentence: str) -> dict[str, Any]:
    return prompt_as_dict(prompt.build(SEE, conversation=replace(VICUNA_V1, system=sentence)))


def _lesson(messages: tuple[Message, ...]) -> dict[str, Any]:
    return prompt_as_dict(prompt.training_example(messages))


def _coded(text: str) -> dict[str, Any]:
    ids = codec().encode(text)
    decoder = IncrementalDecoder(codec().decode)
    return {
        "ids": " ".join(map(str, ids)),
        "ids_behind_a_turn": " ".join(map(str, codec().encode(text, start=False))),
        "decoded": codec().decode(ids),
        "token_texts": [codec().token_text(token) for token in ids],
        "steps": [*(decoder.step(token) for token in ids), decoder.rest()],
    }


CASES: dict[str, Callable[[], Any]] = {
    **{f"conversation: {name}": partial(built, value) for name, value in CONVERSATIONS.items()},
    **{
        f"tool talk: {name}": partial(built, value, Constraint((i.ADD, i.WEATHER)))
        for name, value in TOOL_TALK.items()
    },
    **{f"constraint: {name}": partial(built, SEE, value) for name, value in CONSTRAINTS.items()},
    "a tool for images without one": partial(built, SAY, Constraint((i.LOOK,))),
    "a tool for images over two turns": partial(
        built, CONVERSATIONS["images in several turns"], Constraint((i.LOOK,))
    ),
    "the caller's system sentence": partial(_other_system, "You see."),
    "the caller's empty system sentence": partial(_other_system, ""),
    "lesson": partial(_lesson, (*SEE, i.assistant("Red."))),
    "lesson after turns": partial(
        _lesson, (*CONVERSATIONS["several turns"], i.assistant("Because </s>."))
    ),
    "code: empty": partial(_coded, ""),
    "code: words": partial(_coded, "A red box, and a blue one."),
    "code: special": partial(_coded, i.SPECIAL),
    "code: unicode": partial(_coded, i.UNICODE),
    "code: a call": partial(_coded, i.WRITTEN_ADD),
}
