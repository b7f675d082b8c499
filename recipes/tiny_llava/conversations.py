"""Conversations about a picture, or with tools, as token ids.

A scene goes in, a list of :class:`~recipes.tiny_llava.packing.Branch` comes out. The prompt is
written by :mod:`llava_tools.chat.prompt`, the same code that asks the model later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from llava_tools.chat.formats import SYSTEM, VICUNA_V1
from llava_tools.chat.prompt import build, token_ids
from llava_tools.chat.tool_calls import write_turn
from llava_tools.core.constraints import UNCONSTRAINED, Constraint
from llava_tools.core.requests import Message
from llava_tools.images import ImageRef, open_image

from . import manners
from .architecture import IMAGE_TOKENS
from .choosing import Called, called
from .drills import drill
from .packing import BOS, END, IMAGE, Branch, packed_length
from .patches import middles
from .places import ask_relation
from .questions import spatial
from .sights import Sight, ask_sight
from .talk.lectures import lecture
from .talk.talks import Lecture, Talk
from .wide.cells import Floats
from .wide.codes import Spot, box_spot, places, where
from .wide.questions import SPELLED
from .words import Question
from .world import Scene

SYSTEMS = (
    "",
    "You are a helpful assistant.",
    "You are a helpful assistant that looks at pictures and answers briefly.",
    "Answer the question about the image.",
    "You are LLaVA, a large multimodal assistant.",
    "A chat between a user and an assistant.",
)

Turn = tuple[str, str]


class Writer:
    """Writes conversations as token ids, through :mod:`llava_tools.chat.prompt`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.picture: ImageRef = open_image(Image.new("RGB", (8, 8)))
        """Stands for the picture of a conversation."""

    def _encode(self, text: str, *, start: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prompt(self, questions: Sequence[str], answers: Sequence[str], system: str) -> list[int]:
        """Ids up to the last question's ``ASSISTANT:``; one answer fewer than questions."""
        messages = [Message("user", (self.picture, questions[0]))]
        for answer, question in zip(answers, questions[1:], strict=True):
            messages += [Message("assistant", (answer,)), Message("user", (question,))]
        return self.asked(messages, system)

    def branch(
        self,
        turns: Sequence[Turn],
        system: str,
        kinds: Sequence[str] = (),
        spots: Sequence[Sequence[Spot]] = (),
        known: Sequence[tuple[Floats, ...]] = (),
    ) -> Branch:
        """A whole conversation; what the assistant said includes the ends of its turns.

        Answers of :data:`~recipes.tiny_llava.wide.questions.SPELLED` kinds are written one letter a
        token: what is read letter by letter is also said so. ``spots`` tell for each answer where
        its characters stand in the picture, if anywhere; ``known``, where the shapes are that one
        has to know for it.
        """
        questions, answers = zip(*turns, strict=True)
        kinds = tuple(kinds) or ("",) * len(turns)
        spots = spots or ((),) * len(turns)
        known = known or ((),) * len(turns)
        ids: list[int] = []
        said: list[bool] = []
        reads: list[tuple[int, int, int]] = []
        looks: list[tuple[int, tuple[Floats, ...]]] = []
        heard = 0
        for index, (kind, stands, those) in enumerate(zip(kinds, spots, known, strict=True)):
            asked = self.prompt(questions[: index + 1], answers[:index], system)
            usual = self._encode(f" {answers[index]}", start=False)
            answer = self._spell(answers[index]) if kind in SPELLED else usual
            ids += [*asked[heard:], *answer, END]
            said += [False] * (len(asked) - heard) + [True] * (len(answer) + 1)
            heard = len(asked) + len(usual) + 1
            first = len(ids) - len(answer) - 1
            if len(stands) == len(answer) - 1:  # a space, and then one token a character
                reads += [(first + at, *spot) for at, spot in enumerate(stands)]
            if those:
                looks.append((first, those))
        return Branch(ids, said, kinds, tuple(reads), tuple(looks))

    def _spell(self, text: str) -> list[int]:
        return [one for letter in f" {text}" for one in self._encode(letter, start=False)]

    def talk(self, talk: Talk, system: str, constraint: Constraint) -> Branch:
        """A conversation of which only some of the assistant's messages are learned."""
        ids: list[int] = []
        said: list[bool] = []
        found: list[Called] = []
        for index in sorted(talk.kinds):
            asked = self.asked(talk.messages[:index], system, constraint)
            message = talk.messages[index]
            told = write_turn(message.text, message.tool_calls)
            answer = [*self._encode(f" {told}", start=False), END]
            said += [False] * (len(asked) - len(ids)) + [True] * len(answer)
            ids = asked + answer
            found.append(
                called(ids, len(asked), message.tool_calls, partial(self._encode, start=False))
            )
        kinds = tuple(talk.kinds[index] for index in sorted(talk.kinds))
        lines = tuple(line for one in found for line in one.lines)
        choices = tuple(choice for one in found for choice in one.choices)
        return Branch(ids, said, kinds, lines=lines, choices=choices)

    def asked(
        self, messages: Sequence[Message], system: str, constraint: Constraint = UNCONSTRAINED
    ) -> list[int]:
        """Ids up to the ``ASSISTANT:`` that is to answer ``messages``."""
        return token_ids(
            build(messages, constraint, replace(VICUNA_V1, system=system)),
            self._encode,
            bos=(BOS,),
            special=lambda _: END,
            image=lambda _: (IMAGE,) * IMAGE_TOKENS,
        )


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is asked for the moment.

    A share ``drill`` of the conversations is a single exercise in the plainest words; a share
    ``plain`` of the other questions is put without manners; a share ``spatial`` of them asks where
    things are, a share ``leaning`` of those that compare two about one way alone; a share
    ``more`` of those about shapes asks for boxes and captions. Up to ``compared`` further questions
    about each picture of shapes compare two of these. ``shown`` rows with tools are about a picture
    and ``unseen`` about none, each about ``length`` tokens long; in ``opened`` further rows a tool
    gives the picture back. A share ``react`` of the steps is one row of an agent that thinks aloud.
    """

    drill: float = 0.0
    plain: float = 0.1
    spatial: float = 0.0
    leaning: float = 0.0
    compared: int = 0
    more: float = 0.0
    shown: int = 0
    unseen: int = 0
    length: int = 600
    react: float = 0.0
    opened: int = 0


def leaning(step: int) -> float:
    """The share of comparisons that are about one way alone: most at first, none later."""
    return min(0.85, max(0.0, 0.85 - (step - 300) / 800))


def converse(
    scene: Sight,
    writer: Writer,
    rng: np.random.Generator,
    count: int,
    lesson: Lesson | None = None,
) -> list[Branch]:
    """``count`` conversations about one picture under one system sentence; most have one turn."""
    lesson = lesson or Lesson()
    system = SYSTEM if rng.random() < 0.87 else SYSTEMS[int(rng.integers(len(SYSTEMS)))]
    branches = []
    for _ in range(count):
        if isinstance(scene, Scene) and rng.random() < lesson.drill:
            exercise = drill(scene, rng)
            turn = exercise.text, exercise.answer
            branches.append(writer.branch([turn], system, [exercise.kind]))
            continue
        length = 1 if rng.random() < 0.92 else int(rng.integers(2, 5))
        questions = [_question(scene, rng, lesson) for _ in range(length)]
        branches.append(_branch(scene, questions, writer, system, rng, lesson.plain))
    if not isinstance(scene, Scene):
        return branches
    for _ in range(lesson.compared):
        if (question := ask_relation(scene, rng, lesson.leaning)) is not None:
            branches.append(_branch(scene, [question], writer, system, rng, lesson.plain))
    return branches


def _branch(
    scene: Sight,
    questions: Sequence[Question],
    writer: Writer,
    system: str,
    rng: np.random.Generator,
    plain: float,
) -> Branch:
    """One conversation of these questions and their answers."""
    turns = [(_put(question, rng, plain), question.answer) for question in questions]
    kinds = [question.kind for question in questions]
    spots = [_spots(scene, question) for question in questions]
    known = [_middles(scene, question) for question in questions]
    return writer.branch(turns, system, kinds, spots, known)


def _spots(scene: Sight, question: Question) -> list[Spot]:
    """Where each character of the answer is found; a box is read off the middle of its shape."""
    if question.box is not None:
        return [box_spot(question.box)] * len(question.answer)
    if question.line is None or isinstance(scene, Scene):
        return []
    return places(scene, question.line)


def _middles(scene: Sight, question: Question) -> tuple[Floats, ...]:
    """Where all lies that one has to know of for the answer, but for what is read off a line."""
    if not isinstance(scene, Scene):
        found = None if question.line is not None else where(scene, question.kind, question.bar)
        return () if found is None else (found,)
    return tuple(middles(scene, *those) for those in question.about)


def lectures(
    writer: Writer,
    rng: np.random.Generator,
    length: int,
    scene: Scene | None = None,
    make: Callable[..., Lecture] = lecture,
) -> list[Branch]:
    """Conversations with tools or JSON under one system turn, about ``length`` tokens packed."""
    told = make(rng, 12, scene, writer.picture if scene else None)
    branches: list[Branch] = []
    for talk in told.talks:
        branch = writer.talk(talk, told.system, told.constraint)
        if branches and packed_length([*branches, branch]) > length:
            break
        branches.append(branch)
    return branches


def _question(scene: Sight, rng: np.random.Generator, lesson: Lesson) -> Question:
    where = None
    if isinstance(scene, Scene) and rng.random() < lesson.spatial:
        where = spatial(scene, rng, lesson.leaning)
    return where or ask_sight(scene, rng, lesson.more)


def _put(question: Question, rng: np.random.Generator, plain: float) -> str:
    if rng.random() < plain:
        return manners.plain(question)
    return manners.spoken(question, rng)
