"""In which words each kind of question is asked: templates, hundreds of phrasings each.

``{a|b|}`` chooses one of its parts (groups may nest), and ``<name>`` is a slot that
:mod:`~recipes.tiny_llava.questions` fills from the scene. :func:`phrase` turns a template list
into one random phrasing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

_GROUP = re.compile(r"\{([^{}]*)\}")

HUE = "{colour|color}"
ASKING = (
    "{tell me|say|can you tell me|could you tell me|do you know|i want to know"
    "|i would like to know|i'd like to know|please say|let me know|can you say|work out}"
)
GIVE = "{name|tell me|give|give me|state|say|identify|report|write down|write|what is|what's}"
WHAT = "{what|which|what|which|what exact}"
VIEW = "{picture|image|picture|image|photo|drawing|scene|figure|illustration|graphic}"
SEEN = (
    "{there|in the picture|in the image|in this picture|in this image|visible|shown|present|drawn"
    "|depicted|on the canvas|here|you see|to be seen|displayed|in view|in total}"
)
OBJECT = "{shape|object|figure|thing|one|item|form|element}"
OBJECTS = "{shapes|objects|figures|things|items|forms|elements}"

COLOUR = (
    f"{WHAT} {HUE} is the <thing>",
    f"{WHAT} {HUE} is the <thing>",
    f"{WHAT} {HUE} does the <thing> have",
    f"{WHAT} {HUE} does the <thing> {{show|appear in|come in|carry|wear}}",
    f"{WHAT} {HUE} has the <thing> {{got|}}",
    f"what is the {HUE} of the <thing>",
    f"what's the {HUE} of the <thing>",
    f"what is the <thing>'s {HUE}",
    f"{GIVE} {{the|}} {HUE} of the <thing>",
    f"{GIVE} the <thing>'s {HUE}",
    f"{ASKING} {WHAT} {HUE} the <thing> {{is|has|is drawn in}}",
    f"{ASKING} the {HUE} of the <thing>",
    f"the <thing> is {{of|}} {{what|which}} {HUE}",
    f"the {HUE} of the <thing> {{is|}}",
    f"{{the|}} {HUE} of <thing>",
    f"<thing> {HUE}",
    f"in {{what|which}} {HUE} is the <thing> {{drawn|painted|shown|filled|printed|displayed}}",
    f"{{what|which}} {HUE} {{was|is}} {{used|chosen|picked|taken}} {{for|to draw|to paint}} the "
    "<thing>",
    "{what|which} {hue|shade|tint|tone|paint|ink} {is|does|has} the <thing> {have|}",
    "how is the <thing> {coloured|colored|painted|tinted}",
    f"what do you call the {HUE} of the <thing>",
    f"{{what|which}} {HUE} {{can you|do you}} see on the <thing>",
    f"{{what|which}} {HUE} would you say the <thing> {{is|has}}",
    f"{{someone|he|she|somebody}} {{drew|painted}} the <thing> in {{what|which}} {HUE}",
    f"describe the {HUE} of the <thing>",
    f"there is a <thing> {{in the {VIEW}|}}. what {HUE} is it",
    f"{{look at|find|see}} the <thing>. {{what {HUE} is it|which {HUE} does it have|its {HUE}}}",
)
COLOURS_OF_MANY = (
    f"{WHAT} {HUE} are the <things>",
    f"{WHAT} {HUE} do the <things> have",
    f"what is the {HUE} of the <things>",
    f"{GIVE} the {HUE} of the <things>",
    f"{ASKING} {WHAT} {HUE} the <things> {{are|have}}",
    f"in {{what|which}} {HUE} are the <things> {{drawn|painted|shown}}",
)
EITHER = (
    "is the <thing> <first> or <second>",
    "<first> or <second>: {what|which} is the <thing>",
    "is the <thing> {drawn|painted|} <first> or {is it|} <second>",
)

SHAPE = (
    f"what shape is the <colour> {OBJECT}",
    f"what shape is the <colour> {OBJECT}",
    f"{{what|which}} shape {{does|has}} the <colour> {OBJECT} {{have|got|}}",
    f"which {OBJECT} is {{drawn in|painted|coloured|colored|}} <colour>",
    f"which of the {OBJECTS} is <colour>",
    f"what is the shape of the <colour> {OBJECT}",
    f"what's the shape of the <colour> {OBJECT}",
    "what {kind|type|sort} of {shape|figure|object|form} is "
    f"{{the <colour> {OBJECT}|<colour>}}",
    f"what is the <colour> {OBJECT}",
    "what {geometric|} {shape|figure|form} is <colour>",
    f"what {{geometric|geometrical}} {{shape|figure|form}} is the <colour> {OBJECT}",
    f"{GIVE} the {{shape|form}} of the <colour> {OBJECT}",
    f"{GIVE} the <colour> {{shape|figure|object}}",
    f"{GIVE} the <colour> {OBJECT}'s shape",
    f"{ASKING} what shape the <colour> {OBJECT} {{is|has}}",
    f"{ASKING} which {{shape|figure}} is <colour>",
    f"{ASKING} the shape of the <colour> {OBJECT}",
    f"the <colour> {OBJECT} is {{a|what|which shape|what kind of shape|what shape}}",
    "what is {drawn|painted|shown|coloured|colored} {in|} <colour>",
    "what <colour> {shape|object|figure|thing|form} {is there|do you see|can you see|is shown}",
    f"{{shape|form}} of the <colour> {OBJECT}",
    f"what {{do you|would you|does one}} call the <colour> {OBJECT}",
    "what shape {can you|do you} see in <colour>",
    f"there is a <colour> {OBJECT} {{in the {VIEW}|}}. {{what shape is it|its shape|what is it}}",
    f"{{look at|find|see}} the <colour> {OBJECT}. {{what shape is it|which shape is that}}",
    f"what does the <colour> {OBJECT} look like, what shape",
    "what is <colour> {here|in the picture|in this image|in the image|}",
    f"what shape would you say the <colour> {OBJECT} is",
)
SHAPE_ALONE = (
    "what shape is {this|it|that|shown|drawn|visible|displayed|depicted}",
    f"what shape is {{in|on}} the {VIEW}",
    "{what|which} shape {is there|do you see|can you see|is it|was drawn|has been drawn}",
    "name the {shape|figure|object}",
    "what is the shape of the {object|figure|thing|item}",
    f"what {{kind|type|sort}} of shape is {{this|shown|that|it|in the {VIEW}}}",
    "{identify|recognise|recognize} the {shape|object|figure}",
    "what {geometric|} {shape|figure} is {shown|drawn|this|depicted}",
    "what is {drawn|shown|depicted|this shape|this shape called|this figure}",
    f"which shape does the {VIEW} show",
    f"{GIVE} the shape",
)
SHAPE_EITHER = (
    f"is the <colour> {OBJECT} a <first> or a <second>",
    f"a <first> or a <second>: what is the <colour> {OBJECT}",
)

COUNT = (
    f"how many <things> are {SEEN}",
    "how many <things> are there",
    f"how many <things> are there {{in the {VIEW}|in this {VIEW}|here|altogether|in all}}",
    "how many <things> {can|do|could} {you|i|we|one} {see|count|find|spot|notice|make out}",
    f"how many <things> does {{the|this}} {VIEW} {{have|contain|show|include|hold|depict}}",
    f"how many <things> {{has|have been drawn in|appear in|are in|are on}} {{the|this}} {VIEW}",
    "how many <things>",
    "{count|please count|number|add up} {the|all|all the|all of the|every one of the|} <things>",
    "{can|could|would} you count the <things>",
    f"{GIVE} the {{number|count|total|total number|quantity|amount}} of <things>",
    "{the|} {number|count|amount|total} of <things>",
    f"{ASKING} how many <things> {{there are|you see|you can see|are there|it has|it shows}}",
    "there are how many <things>",
    "how many <things> {were|have been|are} {drawn|painted|placed|put there}",
    "what {number|amount} of <things> {is there|do you see|is shown|are there}",
    "<things>: how many",
    "how many <things> {in all|in total|altogether|overall}",
    "the {picture|image} {shows|has|contains} how many <things>",
)
COUNT_OF = (
    f"how many of {{the {OBJECTS}|them|these}} are <which>",
    f"how many {OBJECTS} are <which>",
    "how many are <which>",
    f"of {{the|all}} {OBJECTS}, how many are <which>",
    f"{{count|number of}} {{the|}} {OBJECTS} that are <which>",
    f"{ASKING} how many of the {OBJECTS} are <which>",
)

EXIST = (
    f"is there <a> {SEEN}",
    "is there <a>",
    f"is there <a> {{in|on}} {{the|this}} {VIEW}",
    "{do|can|could} {you|i|we} {see|find|spot|notice|make out|detect|locate} <a>",
    f"{{do|can}} you see <a> {{in the {VIEW}|here|anywhere|there}}",
    f"does {{the|this}} {VIEW} {{contain|have|show|include|hold|feature|depict}} <a>",
    "is <a> {present|visible|shown|there|drawn|in the picture|in the image|to be seen|here}",
    "{has|have|did} {somebody|they|someone|anyone} {drawn|draw|painted|put|place} <a>",
    "{check|look} {if|whether} there is <a>",
    f"{ASKING} {{if|whether}} {{there is|you see|you can see|it has|it shows}} <a>",
    "yes or no: {is there|do you see|can you see|} <a>",
    "<a>, yes or no",
    "there is <a>. {true|correct|is that right|right|is that so|yes or no}",
    "would you say {there is|that there is|you see} <a>",
    "is {it|this} {a picture|an image} {of|with|that has} <a>",
    "does <a> {appear|exist|occur|show up} {here|in the picture|in the image|anywhere|}",
    "is <a> {among|one of} {the|these} {shapes|objects|figures|things}",
    "{any|have you got|have we got|do we have|got} <a>",
    f"are there {{signs of|}} <a> {{in the {VIEW}|}}",
)
EXIST_THE = (
    f"does {{the|this}} {VIEW} {{contain|have|show|include|feature|depict}} <the>",
    f"{{do|can|could}} {{you|we}} {{see|find|spot|notice|make out}} <the> {{in the {VIEW}|here|}}",
    "is <the> {present|visible|shown|there|in the picture|in the image|to be seen|here}",
)
EXIST_QUOTED = f'does {{this|the}} {VIEW} show "<what>"'
"""As :data:`llava_tools.label_scoring.SHOWS_QUESTION` asks."""
EXIST_MANY = (
    f"are there {{any|some|}} <things> {SEEN}",
    "are there any <things>",
    "are there any <things> {in|on} {the|this} {picture|image|drawing}",
    "{do|can|could} {you|we} {see|find|spot|notice|make out} {any|some|} <things>",
    f"does {{the|this}} {VIEW} {{contain|have|show|include}} {{any|}} <things>",
    "any <things>",
    "are <things> {present|visible|shown|there|drawn|in the picture|in the image}",
    f"{ASKING} {{if|whether}} there are {{any|}} <things>",
)
EXIST_OF = (
    f"{{is|are}} {{any|one}} of the {OBJECTS} <which>",
    "is any {shape|object|figure|thing} <which>",
    f"{{is|are}} there any {OBJECTS} that {{is|are}} <which>",
    "is anything <which>",
    "is one of {them|these} <which>",
)
EXIST_COLOUR = ("anything <colour>", "something <colour>", "any <colour> {thing|object|shape}")
VERIFY = (
    "is the <thing> <colour>",
    "is the <colour> {shape|object|figure|thing|one} a <kind>",
    "is the <thing> {drawn|painted|coloured|colored|shown} {in|} <colour>",
    "does the <thing> have {the colour|the color|a} <colour> {colour|color|}",
    "the <thing> is <colour>. {true|correct|right|is that so|yes or no}",
    f"{ASKING} {{if|whether}} the <thing> is <colour>",
)

GROUND = "{background|background|background|backdrop|canvas|ground|paper|page|wall|back}"
BACKGROUND = (
    f"what {HUE} is the {GROUND}",
    f"which {HUE} is the {GROUND}",
    f"what {HUE} is the background",
    f"what is the {HUE} of the {GROUND}",
    f"what's the {GROUND} {HUE}",
    f"what is the {GROUND} {HUE}",
    f"{WHAT} {HUE} does the {GROUND} have",
    f"{WHAT} {HUE} has the {GROUND} {{got|}}",
    f"{GIVE} the {{{HUE} of the {GROUND}|{GROUND} {HUE}|{GROUND}'s {HUE}}}",
    f"{ASKING} {WHAT} {HUE} the {GROUND} {{is|has}}",
    f"{ASKING} the {HUE} of the {GROUND}",
    f"the {GROUND} is {{of|}} {{what|which}} {HUE}",
    f"{{the|}} {GROUND} {HUE}",
    f"{{the|}} {HUE} of the {GROUND} {{is|}}",
    f"{HUE} of {{the|}} background",
    f"{{what|which}} {HUE} is {{behind|around|under|surrounding}} the {{shape|object|{OBJECTS}}}",
    f"{{on|against}} {{what|which}} {HUE} {{background|ground|}} {{are|is}} {{the|everything}} "
    f"{{{OBJECTS}|}} {{drawn|placed|shown|set}}",
    f"{{what|which}} {HUE} {{fills|covers|makes up}} the {GROUND}",
    f"{{what|which}} {HUE} {{was|is}} {{used|chosen|picked}} for the {GROUND}",
    f"how is the {GROUND} {{coloured|colored|painted}}",
    f"{{what|which}} {{hue|shade|tint|tone}} {{is|has}} the {GROUND}",
    f"describe the {HUE} of the {GROUND}",
    f"{{what|which}} {HUE} is the {{image|picture}}'s {GROUND}",
    f"what is the {HUE} behind the {OBJECTS}",
    f"look {{at|past the {OBJECTS} at}} the {GROUND}. {{what|which}} {HUE} is it",
    f"{{apart from|except for|besides}} the {OBJECTS}, {{what|which}} {HUE} is the {VIEW}",
)

RELATION = (
    "is the <first> {to the|} {left|right} of the <second>",
    "is the <first> {further|more} {to the|} {left|right} than the <second>",
    "is the <first> {above|below|over|under|higher than|lower than} the <second>",
    "{can you tell me|tell me} {if|whether} the <first> is {above|below} the <second>",
    "{can you tell me|tell me} {if|whether} the <first> is {left|right} of the <second>",
    "does the <first> {lie|stand|sit} {above|below|left of|right of} the <second>",
)
RELATION_WHICH = (
    "which is {further|more} {to the|} {left|right}, the <first> or the <second>",
    "which is {higher|lower}, the <first> or the <second>",
    "{what|which shape} is {further|more} {to the|} {left|right}, the <first> or the <second>",
    "which one is {on the left|on the right|at the top|at the bottom|above|below}, "
    "the <first> or the <second>",
)
POSITION = (
    "where is the <thing>",
    f"where {{in|on}} the {VIEW} is the <thing>",
    "where is the <thing> {located|placed|found|drawn|in the picture|in the image}",
    "what is the {position|location|place} of the <thing>",
    f"in {{which|what}} {{part|area|region|corner}} of the {VIEW} is the <thing>",
    f"{ASKING} where the <thing> is",
    "where {can|do} {you|i} {see|find} the <thing>",
    "the {position|location} of the <thing>",
    "locate the <thing>",
    "where does the <thing> {lie|stand|sit|appear}",
)


def phrase(
    rng: np.random.Generator, templates: Sequence[str], slots: Mapping[str, str] | None = None
) -> str:
    """One random phrasing of the templates, its slots filled; one space between words."""
    text = templates[int(rng.integers(len(templates)))]
    while "{" in text:
        text = _GROUP.sub(lambda group: _choice(rng, group[1].split("|")), text)
    for name, value in (slots or {}).items():
        text = text.replace(f"<{name}>", value)
    return tidy(text)


def expand(template: str) -> Iterator[str]:
    """Every phrasing of a template, its slots left open."""
    found = _GROUP.search(template)
    if found is None:
        yield tidy(template)
        return
    for part in dict.fromkeys(found[1].split("|")):
        yield from expand(template[: found.start()] + part + template[found.end() :])


def tidy(text: str) -> str:
    """One space between words, none before punctuation."""
    return re.sub(r" +([,.:?])", r"\1", re.sub(r" {2,}", " ", text)).strip()


def _choice(rng: np.random.Generator, parts: Sequence[str]) -> str:
    return parts[int(rng.integers(len(parts)))]
