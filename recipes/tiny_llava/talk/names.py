"""The words that made-up tools are named with, and how names are built from them."""

from __future__ import annotations

import numpy as np

from recipes.tiny_llava.lexicon import WORDS
from recipes.tiny_llava.words import pick

from .values import made_up

_HELD_OUT = """
magic weather greeting customer unicode generator adder joke pirate paris tokyo animal boat bridge
coffee doctor garden island kitchen library museum piano planet river school storm sugar ticket
train village winter
"""
_NOUNS = """
age apple area bag ball bank beach bed bird body book bottle box bread card cat chair child city
class coat company computer corner country course cup date day desk dinner distance dog door dress
event eye face family farm field file film fire fish floor flower food form friend fruit game gift
group guide hair hand hat height home horse hotel hour house idea job key kind lamp language leg
lesson letter level light line list market meal meeting member message minute model money month moon
morning mountain movie name news night note number nurse office oil order page paper park part party
person phone picture place plan plant player poem point price project question rain recipe record
report result road rock room root rule sand score seat sentence ship shoe shop shirt sign sister
size sky snow song sound space speed sport star stock stone store story street student style summary
sun table task teacher team temperature text thing time title tool toy traffic tree trip user value
version visit voice wage wall watch water week weight wheel wind window wood word work world year
zoo
"""

HELD_OUT = frozenset(_HELD_OUT.split())
"""Words of the examination's tools; no trained tool's name or description has them."""

NOUNS = tuple(word for word in _NOUNS.split() if word not in HELD_OUT)
ANY = tuple(word for word in WORDS if word not in HELD_OUT)
PLACES = ("location", "city", "place", "town", "country", "area", "site", "region", "address")


def named(rng: np.random.Generator, *parts: str) -> str:
    """The parts as one identifier: snake case mostly, camel and Pascal case too."""
    chance = rng.random()
    words = [part for name in parts for part in name.replace(" ", "_").split("_")]
    if chance < 0.68:
        return "_".join(words)
    capital = "".join(part.capitalize() for part in words)
    if chance < 0.88:
        return capital[0].lower() + capital[1:]
    return capital if chance < 0.94 else "-".join(words)


def subject(rng: np.random.Generator) -> str:
    """What a tool is about: a common noun mostly, any word, or one that does not exist.

    Names made of few words are soon guessed at, rather than copied from what is told of the tools.
    """
    chance = rng.random()
    if chance < 0.5:
        return pick(rng, NOUNS)
    if chance < 0.7:
        return pick(rng, ANY)
    while (word := made_up(rng)) in HELD_OUT or len(word) < 3:
        pass
    return word
