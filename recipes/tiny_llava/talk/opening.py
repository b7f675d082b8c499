"""Conversations in which a tool gives a picture back, which is then looked at."""

from __future__ import annotations

import numpy as np
from PIL import Image

from llava_tools.chat.formats import SYSTEM
from llava_tools.chat.image_handles import ARGUMENT
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.core.requests import Message
from llava_tools.images import ImageRef, open_image
from recipes.tiny_llava.manners import spoken
from recipes.tiny_llava.phrasings import phrase
from recipes.tiny_llava.questions import ask
from recipes.tiny_llava.words import pick
from recipes.tiny_llava.world import Scene

from .asking import fill
from .families import some_tools
from .kit import Tool, new_tool, string
from .names import named
from .talks import Lecture, Talk

_ASKS = (
    "<asked> {See|Look at|Open|It is in|I mean|The picture is} <handle>{|.}",
    "{look at|open|show|see|take|here is} <handle>{:|.|,|;} <asked>",
    "<asked> (<handle>)",
)
_ONLY = (
    "{look at|open|show|see|load|show me|please open} {|the picture |the image |picture }"
    "<handle>{|.}",
)


def opened(rng: np.random.Generator, count: int, scene: Scene, _picture: ImageRef) -> Lecture:
    """One conversation, whatever ``count``: its picture stands behind the call, shared by no other.

    The tool gives the picture back, at times with the question beside it; the answer is about it.
    """
    tool = _tool(rng)
    picture = _unlike_others(rng)
    question = ask(scene, rng)
    words = spoken(question, rng)
    beside = rng.random() < 0.6
    slots = {"asked": words, "handle": picture.handle}
    text = fill(rng, _ONLY if beside and rng.random() < 0.3 else _ASKS, slots)
    (key,) = tool.properties
    call = ToolCall("1", tool.spec.name, {key: picture.handle})
    messages = (
        Message("user", (f"{text[0].upper()}{text[1:]}",)),
        Message("assistant", (), (call,)),
        Message("tool", (picture, words) if beside else (picture,), tool_call_id=call.id),
        Message("assistant", (question.answer,)),
    )
    others = some_tools(rng, (1.0,)) if rng.random() < 0.3 else []
    specs = tuple({t.spec.name: t.spec for t in (tool, *others)}.values())
    talk = Talk(messages, {1: "call natural", 3: question.kind})
    return Lecture(SYSTEM, Constraint(specs), (talk,))


def _unlike_others(rng: np.random.Generator) -> ImageRef:
    """A picture with a handle of its own, which stands for the scene in the conversation."""
    return open_image(Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))


def _tool(rng: np.random.Generator) -> Tool:
    noun = pick(rng, ("image", "picture", "photo", "handle", "page"))
    verb = pick(rng, ("open", "show", "view", "load", "get", "see", "fetch"))
    name = verb if rng.random() < 0.3 else named(rng, verb, pick(rng, ("image", "picture", noun)))
    told = phrase(
        rng, (f"{verb.capitalize()} {{a|the|one}} {noun}{{|, to look at it| to see it}}.",)
    )
    schema = dict(ARGUMENT) if rng.random() < 0.6 else string(rng)
    return new_tool(rng, name, told, {noun: schema}, topic="", asks=())
