"""How people put their questions: greetings, contexts, answer formats, case, typing.

A plain :class:`~recipes.tiny_llava.questions.Question` goes in, the text of a user's turn comes
out. Now and then words that mean nothing are strewn in, so that the model learns to hear the
question through words that it does not know.
"""

from __future__ import annotations

import numpy as np

from .lexicon import WORDS
from .phrasings import phrase
from .words import Question, pick

BEFORE = (
    "{please|please,|hey,|hi,|hello,|hello.|ok,|okay,|so,|and|now|well,}",
    "{quick question:|question:|q:|please,|hello!}",
    "look {at|closely at|carefully at} {the|this} {picture|image|photo|drawing}{.|:|,|. now}",
    "{looking at|given|considering|based on|according to|judging by|using} {the|this} "
    "{picture|image|photo|drawing|scene},",
    "{in|on|for} {the|this} {picture|image|photo|drawing|scene|attached image},",
    "{could|can|would} you {please|kindly|} {help me|answer this|help}{.|:|?}",
    "{answer|please answer} {the question|this question|the following|this}{.|:}",
    "{i have|here is|here's|this is|i made|take} {a|an|my|another} {picture|image|drawing}.",
    "{thanks|thank you}. {now|and|next,}",
)
REFERENCE = (
    "{in|on|from|see} {the|this|that} {document|file|page|report|letter|sheet|manual|record|note} "
    "{about|on|called|named|concerning|for|with}",
    "{in|on|from} page {1|2|3|4|5|12} of",
    "{regarding|concerning|as to|about} {the|} {document|file|page|report|chart}",
)
"""Before the name of what is asked about, as in chains that look things up."""
AFTER = (
    "{in|on} {the|this} {picture|image|photo|drawing|scene|canvas}",
    "{here|please|, please|then|exactly|in your view|, do you think|overall}",
    "that {you can see|is shown|you see}",
)
ONE_WORD = (
    "answer the question using a single word or phrase.",
    "answer the question using a single word or phrase.",
    "{answer|reply|respond} {with|in|using} {one word|a single word|one word only|just one word}.",
    "{one word|one word only|a single word|just one word|short answer|be brief|keep it short}.",
    "{answer|reply} {briefly|shortly|concisely|in a word}.",
    "{just|only} {say|give|name|tell me} {it|the answer|the word}.",
    "give {a short answer|only the answer|just the answer}.",
)
YES_NO = (
    "answer yes or no.",
    "{please|} {answer|reply|respond} {with|} {yes or no|'yes' or 'no'|only yes or no}.",
    "{yes or no|yes/no|(yes/no)|yes or no?}",
)
NUMBER = (
    "{answer|reply|respond} {with|in|using} {a number|a digit|digits|one number|a number only}.",
    "{just|only|give me|give} {the|a} number.",
    "{number only|a number|in digits|as a digit}.",
)

LETTERS = (
    "{write|give|copy|answer with} {it|the text|the word} {exactly|} as {it is written|written}.",
    "{just|only} the {word|text|letters}.",
    "{answer|reply} with the {word|text|letters} only.",
)
BOX = (
    "{as|in the form|use|format:} [x1, y1, x2, y2].",
    "{answer|reply|respond} with {the|} coordinates {only|}.",
    "{give|use} {fractions|numbers} {between|from} 0 {and|to} 1.",
)
SENTENCE = (
    "{answer|reply} {in|with} {one|a single|a short} {sentence|line}.",
    "{one sentence|a short sentence|be brief|keep it short|briefly}.",
)

_FORMATS = {"number": NUMBER, "word": LETTERS, "letters": LETTERS, "title": LETTERS}
LONG = ("box", "caption")
"""Kinds that no single word answers."""


def plain(question: Question) -> str:
    """The question without manners: a capital, and a question mark."""
    return f"{question.text[0].upper()}{question.text[1:]}?"


def spoken(question: Question, rng: np.random.Generator) -> str:
    """The question as a stranger may type it: one user's turn."""
    text = question.text
    chance = rng.random(8)
    if chance[0] < 0.12:
        text = f"{text} {phrase(rng, AFTER)}".replace(" ,", ",")
    if chance[1] < 0.16:
        text = f"{phrase(rng, BEFORE)} {text}"
    if chance[5] < 0.08:
        text = f"{phrase(rng, REFERENCE)} {_words(rng, 1, 4)}{pick(rng, (',', ':', ''))} {text}"
    if chance[2] < 0.13:
        text = _strewn(text, rng)
    text = _ended(text, rng)
    if chance[3] < 0.06:
        text = f"{_chatter(rng)} {text}"
    text = _cased(text, rng)
    if chance[4] < 0.34:
        text += _format(question, rng)
    return text


def _ended(text: str, rng: np.random.Generator) -> str:
    chance = rng.random()
    if text.endswith((".", "?")) or chance < 0.15:
        return text
    if chance < 0.22:
        return f"{text}."
    return f"{text} ?" if chance < 0.24 else f"{text}?"


def _cased(text: str, rng: np.random.Generator) -> str:
    chance = rng.random()
    if chance < 0.76:
        return text[0].upper() + text[1:]
    if chance < 0.97:
        return text
    return text.upper() if chance < 0.985 else text.title()


def _format(question: Question, rng: np.random.Generator) -> str:
    """The answer's wished form, on a line of its own as the benchmarks write it, or after it."""
    options: tuple[str, ...] = ONE_WORD
    if question.answer in ("yes", "no") and rng.random() < 0.6:
        options = YES_NO
    elif question.kind.startswith("count") and rng.random() < 0.5:
        options = NUMBER
    elif question.kind in LONG:
        options = BOX if question.kind == "box" else SENTENCE
    elif question.kind in _FORMATS and rng.random() < 0.5:
        options = _FORMATS[question.kind]
    words = phrase(rng, options)
    words = words[0].upper() + words[1:] if rng.random() < 0.85 else words
    return ("\n" if rng.random() < 0.6 else " ") + words


def _strewn(text: str, rng: np.random.Generator) -> str:
    """Slips of the keyboard and words of no meaning here, at random places."""
    words = text.split(" ")
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, len(words) + 1))
        manner = rng.random()
        if manner < 0.7:
            words.insert(place, _noise(rng))
        elif manner < 0.85:
            light = [i for i, word in enumerate(words) if word in ("the", "is", "are", "do", "of")]
            if light:
                del words[light[int(rng.integers(len(light)))]]
        else:
            words.insert(place, ("really", "actually", "just", "exactly")[int(rng.integers(4))])
    return " ".join(words)


def _noise(rng: np.random.Generator) -> str:
    if rng.random() < 0.8:
        return WORDS[int(rng.integers(len(WORDS)))]
    letters = rng.integers(97, 123, size=int(rng.integers(2, 9)))
    return "".join(chr(int(letter)) for letter in letters)


def _chatter(rng: np.random.Generator) -> str:
    """A sentence of random words before the question."""
    return _words(rng, 2, 8) + pick(rng, (".", "!", ",", ":"))


def _words(rng: np.random.Generator, least: int, under: int) -> str:
    return " ".join(_noise(rng) for _ in range(int(rng.integers(least, under))))
