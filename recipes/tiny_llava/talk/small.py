"""What is said when no tool is needed: greetings, thanks, repeating, not knowing."""

from __future__ import annotations

import numpy as np

from recipes.tiny_llava.phrasings import phrase
from recipes.tiny_llava.words import pick

from .asking import fill
from .families import any_tool
from .names import NOUNS
from .values import text

NO_TOOL = "I have no tool for that."
UNKNOWN = "I do not know."
_TALK = (
    (
        "{hello|hi|hey|good morning|good evening|hello there}{|!|.|, how are things?}",
        "Hello! How can I help?",
    ),
    ("{how are you|how do you do|how is it going}{|?| today?}", "I am fine, thank you."),
    ("{thanks|thank you|thank you very much|many thanks|great, thanks}{|!|.}", "You are welcome."),
    ("{bye|goodbye|see you|good night}{|!|.}", "Goodbye!"),
    ("{who|what} are you?", "I am a small assistant."),
    ("{what is your name|do you have a name}?", "I am LLaVA."),
    (
        "{what can you do|can you help me|what are you able to do|i need help}{|?}",
        "I can look at pictures and call tools.",
    ),
    ("{ok|okay|fine|good|i see|very good|well done}{|.|!}", "Good."),
)
_REPEAT = (
    "{repeat|say|write|echo|copy|spell out} {|this: |after me: |the words }<it>",
    "{please say|can you say|can you write} <it>{|?}",
)
_OPEN = (
    "{what is|what's|explain|describe|define} {a|the} <noun>{|?}",
    "{tell me about|what do you know about|why is there} {a|the} <noun>{|?}",
    "{tell me|write|say} {a story|a joke|something} {about|on} {a|the} <noun>{|.}",
)


def chat(rng: np.random.Generator) -> tuple[str, str]:
    """Something said that needs no tool, and what is answered."""
    chance = rng.random()
    if chance < 0.4:
        asked, answer = pick(rng, _TALK)
        said = phrase(rng, (asked,))
    elif chance < 0.75:
        answer = text(rng)
        quote = pick(rng, ("", "'", '"'))
        said = fill(rng, _REPEAT, {"it": f"{quote}{answer}{quote}"})
    else:
        said, answer = fill(rng, _OPEN, {"noun": pick(rng, NOUNS)}), UNKNOWN
    return (said[0].upper() + said[1:] if rng.random() < 0.8 else said), answer


def unfitting(rng: np.random.Generator, told: str) -> tuple[str, str] | None:
    """A request that none of the tools fits whose descriptions are ``told``."""
    for _ in range(10):
        tool = any_tool(rng)
        thing = tool.about or tool.topic
        if tool.asks and thing and thing not in told:
            slots = {name: str(tool.argument(rng, name)) for name in tool.properties}
            asked = fill(rng, tool.asks, slots)
            return asked[0].upper() + asked[1:], NO_TOOL
    return None
