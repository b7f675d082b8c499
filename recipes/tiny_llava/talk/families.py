"""Families of tools that can be asked for naturally: look a thing up, create a named thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recipes.tiny_llava.manners import plain
from recipes.tiny_llava.phrasings import phrase
from recipes.tiny_llava.questions import ask
from recipes.tiny_llava.words import pick
from recipes.tiny_llava.world import sample_scene

from .kit import Tool, new_tool, random_tool, string
from .names import NOUNS, PLACES, named, subject
from .services import adjust, book, entitle, measure, order
from .values import foreign, handle, proper, sentence, text, word

_LOOKING = ("get", "find", "fetch", "check", "read", "lookup", "show", "query", "tell", "retrieve")
_MAKING = ("create", "add", "register", "make", "open", "save", "new", "store", "insert")
_WRITING = ("generate", "write", "make", "compose", "produce", "draft")
_SEARCHING = ("search", "find", "browse", "lookup", "scan")


def any_tool(rng: np.random.Generator) -> Tool:
    """A tool of any family."""
    chance = rng.random()
    if chance < 0.3:
        return random_tool(rng)
    # Copies that run to the very end of a request are learned last: most of these have them.
    makers = (
        *(look_up, look_up, *(create,) * 6, generate, *(search,) * 3, compute, control),
        *(now, collect, look_at, measure, measure, book, book, order, adjust, entitle, entitle),
    )
    return pick(rng, makers)(rng)


def some_tools(rng: np.random.Generator, chances: Sequence[float]) -> list[Tool]:
    """Tools of different names, as many as ``chances`` (of one, of two, …) say."""
    count = 1 + int(rng.choice(len(chances), p=chances))
    tools: dict[str, Tool] = {}
    while len(tools) < count:
        tool = any_tool(rng)
        tools.setdefault(tool.spec.name, tool)
    return list(tools.values())


def look_up(rng: np.random.Generator) -> Tool:
    """What is the noise in Vel Marin?"""
    noun, verb = subject(rng), pick(rng, _LOOKING)
    where = rng.random() < 0.6
    key = pick(rng, PLACES) if where else pick(rng, NOUNS)
    key_name = key if rng.random() < 0.75 else pick(rng, (f"{key}_name", "name", "input", "query"))
    link = pick(rng, ("in", "at", "for", "of")) if where else pick(rng, ("of", "for"))
    told = phrase(
        rng,
        (
            f"{verb.capitalize()} the {noun} {link} {{a|the|the given|one}} {key}.",
            f"{{Get|Returns|Look up|Find|Tells}} {{the|today's}} {noun} {link} a {key}.",
        ),
    )
    slot = f"<{key_name}>"
    asks = (
        f"{{what is|what's|how is|how's|what was}} the {{||current}} {noun} {{{link}|in|at|for}} "
        f"{slot}?",
        f"{{tell me|give me|show me|find|get|i need|look up|check|i want to know}} the {noun} "
        f"{{{link}|for|in|of}} {slot}{{|.|, please.}}",
        f"{{do you know|could you check|can you tell me|what about}} the {noun} {{{link}|in}} "
        f"{slot}?",
        f"{noun} {{{link}|in|for}} {slot}{{|?|.}}",
        f"{{i am looking for|are there any|where is}} {{a|the}} {noun} {{{link}|near}} {slot}"
        "{|?}",
        f"{{has|does}} {slot} {{have |got |}}a {noun}?",
    )
    schema = {key_name: string(rng, f"The {key}{' to look at' if rng.random() < 0.5 else ''}.")}
    make = {key_name: lambda r: proper(r) if r.random() < 0.75 else text(r)}
    return new_tool(rng, named(rng, verb, noun), told, schema, topic=noun, asks=asks, make=make)


def create(rng: np.random.Generator) -> Tool:
    """Create a shop named 'Лукоморье' - an old paper shop."""
    noun, verb = subject(rng), pick(rng, _MAKING)
    name = pick(rng, (f"{noun}_name", f"{noun}_name", "name", "title", f"{noun}_title"))
    schema: dict[str, Any] = {name: string(rng, f"The {noun}'s name.")}
    make: dict[str, Callable[[np.random.Generator], Any]] = {
        name: lambda r: foreign(r) if r.random() < 0.55 else proper(r)
    }
    slot, more = f"<{name}>", ""
    chance = rng.random()
    if chance < 0.65:
        extra = pick(rng, ("description", "description", "note", "details", "about", "summary"))
        schema[extra] = string(rng, f"{extra.capitalize()} of the {noun}.")
        make[extra] = lambda r: f"{pick(r, ('a', 'an', 'the'))} {sentence(r)}"
        more = f"{{ -| –|,|, which is|:|;}} <{extra}>"
    elif chance < 0.75:
        extra = pick(rng, ("age", "price", "size", "number", "year", "weight"))
        schema[extra] = {"type": "integer"}
        more = f"{{ with|, with|, of}} {{the|a|}} {extra} {{|of}} <{extra}>"
    gloss = f"{{|||| ({word(rng).capitalize()} {word(rng).capitalize()})}}"
    quote = f"{{'{slot}'|'{slot}'|\"{slot}\"|{slot}}}"
    asks = (
        f"{{create|add|make|register|save|set up|open|enter|i need|please create|please add}} "
        f"{{a|the|a new|one}} {noun} {{named|called|with the name|by the name|titled|:}} "
        f"{quote}{gloss}{more}",
        f"{{there is a new|we have a|our next}} {noun} {{named|called}} {quote}{gloss}{more}"
        f"{{|. add it|. please register it|, save it}}{{|.}}",
    )
    told = phrase(
        rng,
        (
            f"{verb.capitalize()} a {{|new}} {noun}{{| with a name| by name}}.",
            f"{{Tool|Function}} {{for creating|to add|for adding|to create}} a {noun}.",
        ),
    )
    return new_tool(rng, named(rng, verb, noun), told, schema, topic=noun, asks=asks, make=make)


def generate(rng: np.random.Generator) -> Tool:
    """Write a Zombie poem."""
    noun, verb = subject(rng), pick(rng, _WRITING)
    key = pick(rng, ("style", "manner", "tone", "mood", "kind", "answer_style", f"{noun}_style"))
    key = pick(rng, ("voice", "theme")) if rng.random() < 0.15 else key
    name = named(rng, verb, noun)
    if rng.random() < 0.4:
        name = named(rng, noun, pick(rng, ("maker", "writer", "builder", "creator", "machine")))
    spoken_key = key.replace("_", " ")
    told = phrase(
        rng,
        (
            f"{verb.capitalize()} a {noun} in {{a|a particular|the given|some}} {spoken_key}"
            "{| of speaking| of writing}.",
            f"{{Tool|Function}} {{to|that can}} {verb} a {noun} of {{a|one}} {spoken_key}.",
        ),
    )
    slot = f"<{key}>"
    asks = (
        f"{{|use the tool: |using the tools, |with the tool, |please }}{{{verb}|write|make}} "
        f"{{a|the|one|me a}} {slot} {noun}{{|.|, please.}}",
        f"{{{verb}|write|make|i want|give me}} a {noun} in {{a|the}} {slot} {{{spoken_key}|way}}"
        "{|.}",
    )
    make = {key: lambda r: word(r) if r.random() < 0.5 else word(r).capitalize()}
    return new_tool(rng, name, told, {key: string(rng)}, topic=noun, asks=asks, make=make)


def search(rng: np.random.Generator) -> Tool:
    """Search the news for old paper ships."""
    noun, verb = subject(rng), pick(rng, _SEARCHING)
    key = pick(rng, ("query", "query", "text", "question", "term", "keyword", "words"))
    name = named(rng, verb, noun) if rng.random() < 0.7 else named(rng, noun, "search")
    slot = f"{{<{key}>|'<{key}>'|\"<{key}>\"}}"
    asks = (
        f"{{search|look|scan|look around}} {{the|in the|my}} {noun} for {slot}{{|.|, please}}",
        f"{{search for|find|look up|look for}} {slot}{{| in the {noun}| with the tool}}{{|.}}",
        f"{{what|is there anything|what is there}} {{in|on}} the {noun} about {slot}?",
        f"{{does|do}} the {noun} {{have|know of|contain}} {slot}?",
    )
    told = f"{verb.capitalize()} {pick(rng, ('the', 'a', 'all'))} {noun} for a {key}."
    return new_tool(
        rng,
        name,
        told,
        {key: string(rng)},
        asks=asks,
        make={key: lambda r: sentence(r) if r.random() < 0.6 else text(r)},
        about=noun,
    )


_SUMS = (
    (
        "add",
        "Add two numbers.",
        (
            "what is <a> + <b>?",
            "{add|sum} <a> and <b>{|.}",
            "{what is|how much is} <a> plus <b>?",
            "<a> + <b> = ?",
        ),
    ),
    (
        "multiply",
        "Multiply two numbers.",
        ("what is <a> {*|x|times} <b>?", "multiply <a> {by|with} <b>{|.}", "<a> times <b>?"),
    ),
    ("subtract", "Subtract b from a.", ("what is <a> {-|minus} <b>?", "<a> minus <b>{|?}")),
    ("divide", "Divide a by b.", ("what is <a> / <b>?", "divide <a> by <b>{|.}")),
    ("power", "Raise a to the power of b.", ("what is <a> to the power of <b>?", "<a> ^ <b>{|?}")),
    (
        "compare",
        "Compare two numbers.",
        ("{is|which is larger:} <a> or <b>?", "compare <a> {and|with} <b>{|.}"),
    ),
)


def compute(rng: np.random.Generator) -> Tool:
    """What is 12 plus 7?"""
    verb, told, asks = pick(rng, _SUMS)
    one, two = pick(
        rng, (("a", "b"), ("a", "b"), ("x", "y"), ("first", "second"), ("left", "right"))
    )
    asks = tuple(ask.replace("<a>", f"<{one}>").replace("<b>", f"<{two}>") for ask in asks)
    told = told.replace(" b ", f" {two} ").replace(" a ", f" {one} ").replace(" a.", f" {one}.")
    kind = {"type": "integer" if rng.random() < 0.75 else "number"}
    name = named(
        rng, *((verb,) if rng.random() < 0.5 else (verb, pick(rng, ("numbers", "tool", "two"))))
    )
    return new_tool(rng, name, told, {one: kind, two: dict(kind)}, asks=asks, about=verb)


def control(rng: np.random.Generator) -> Tool:
    """Switch the lamp in the hall on; set the heating to 21."""
    noun = subject(rng)
    place = pick(rng, ("room", "place", "name", "floor", "device"))
    options = [word(rng) for _ in range(int(rng.integers(2, 5)))]
    schema: dict[str, Any] = {place: string(rng)}
    if rng.random() < 0.4:
        schema[place] = {"type": "string", "enum": options}
    if rng.random() < 0.5:
        key = pick(rng, ("on", "active", "open", "enabled"))
        schema[key] = {"type": "boolean"}
        asks = (
            f"{{switch|turn|set}} the {noun} {{in|of|for}} <{place}> <{key}>{{|.}}",
            f"{{the|please put the}} {noun} {{in|of}} <{place}>: <{key}>{{|.}}",
        )
        name, told = named(rng, "switch", noun), f"Switch the {noun} on or off."
    else:
        key = pick(rng, ("level", "value", "amount", "volume", "degrees"))
        schema[key] = {"type": "integer"}
        asks = (
            f"{{set|put|turn|bring}} the {noun} {{in|of|for}} <{place}> to <{key}>{{|.}}",
            f"<{key}> for the {noun} {{in|of}} <{place}>{{|, please}}{{|.}}",
        )
        name, told = (
            named(rng, "set", noun),
            f"Set the {noun} {pick(rng, ('level', 'of a place'))}.",
        )
    make = {} if "enum" in schema[place] else {place: word}
    return new_tool(rng, name, told, schema, asks=asks, make=make, about=noun)


def now(rng: np.random.Generator) -> Tool:
    """What is the time? No arguments."""
    noun, verb = subject(rng), pick(rng, ("get", "current", "show", "read", "list", "check"))
    asks = (
        f"{{what is|what's|tell me|show me|give me|check|get|read}} the {{|current|latest}} {noun}"
        "{|.|?|, please}",
        f"{{do you know|can you tell me|can you get|how is}} the {{|current}} {noun}"
        "{| now| today}?",
    )
    told = f"{verb.capitalize()} the {pick(rng, ('', 'current ', 'latest '))}{noun}."
    return new_tool(rng, named(rng, verb, noun), told, {}, topic=noun, asks=asks)


def collect(rng: np.random.Generator) -> Tool:
    """Put bread, milk and tea on the list."""
    noun = subject(rng)
    inner = pick(rng, ("string", "string", "integer"))
    key = pick(rng, ("items", "values", "numbers", "names", "entries", "words"))
    asks = (
        f"{{add|put|write|save|take}} <{key}> {{to|on|into}} the {noun}{{|.}}",
        f"{{please|}} {{add|store|note}} {{|these: |the following: }}<{key}>{{|.}}",
        f"{noun}: <{key}>",
    )
    told = (
        f"{pick(rng, ('Add', 'Put', 'Store'))} {key} {pick(rng, ('to', 'into', 'on'))} the {noun}."
    )
    schema = {key: {"type": "array", "items": {"type": inner}}}
    return new_tool(rng, named(rng, "add", "to", noun), told, schema, asks=asks, about=noun)


def look_at(rng: np.random.Generator) -> Tool:
    """What colour is the star? Look at img_…: a picture by its handle, and a question about it."""
    noun = pick(rng, ("image", "picture", "photo", "handle", "page"))
    about = pick(rng, ("question", "question", "prompt", "ask", "query"))
    verb = pick(rng, ("look", "ask", "inspect", "view", "see", "examine"))
    name = verb if rng.random() < 0.3 else named(rng, verb, pick(rng, ("at", "image", "picture")))
    told = phrase(
        rng,
        (
            f"{{Answer|Ask}} a question about {{a|the|one}} {noun}.",
            f"{{Look at|Examine|See}} {{a|one}} {noun}{{| and answer a question}}.",
        ),
    )
    keys = [noun, about] if rng.random() < 0.75 else [about, noun]
    slot, asked = f"<{noun}>", f"<{about}>"
    asks = (
        f"{asked} {{See|Look at|It is about|I mean|The picture is|In}} {slot}{{|.}}",
        f"{{look at|see|here is|in|for|about|take}} {slot}{{:|.|,|;}} {asked}",
        f"{asked} ({slot})",
        f"{slot}: {asked}",
    )
    make = {noun: handle, about: lambda r: plain(ask(sample_scene(r), r))}
    schema = {key: string(rng) for key in keys}
    return new_tool(rng, name, told, schema, topic="answer", asks=asks, make=make)
