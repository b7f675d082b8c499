"""Conversations about a picture as tensors: many short ones share one picture's tokens.

A scene goes in, a :class:`Conversations` comes out. The prompt is written by
:mod:`llava_tools.prompt`, the same code that asks the model later. All conversations about one
picture share the system sentence and the image tokens, each then branches off on its own: a
branch sees the shared part and itself, and its positions go on from the shared part, so it is
computed exactly as if it stood alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from llava_tools.constraint import FREE, Constraint
from llava_tools.images import ImageRef, open_image
from llava_tools.prompt import SYSTEM, build, token_ids
from llava_tools.toolcall import write_turn
from llava_tools.types import Message

from . import manners
from .architecture import IMAGE_TOKENS
from .drills import drill
from .questions import spatial
from .sights import Sight, ask_sight
from .talk.lectures import lecture
from .talk.talks import Lecture, Talk
from .wide.codes import Spot, places
from .wide.questions import SPELLED
from .words import Question
from .world import Scene

BOS, END, PAD, IMAGE = 1, 2, 3, 4
IGNORED = -100

SYSTEMS = (
    "",
    "You are a helpful assistant.",
    "You are a helpful assistant that looks at pictures and answers briefly.",
    "Answer the question about the image.",
    "You are LLaVA, a large multimodal assistant.",
    "A chat between a user and an assistant.",
)

Turn = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Branch:
    """Token ids of one whole conversation and, for each, whether the assistant said it.

    ``reads`` tells of tokens after which a character of the picture is said: (place in ``ids``,
    patch, slot).
    """

    ids: list[int]
    said: list[bool]
    kinds: tuple[str, ...]
    reads: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Conversations:
    """A batch of packed conversations, one picture a row.

    ``ids`` and ``positions`` (rows, length) int64; ``labels`` (rows, length) int64, ``IGNORED``
    where nothing is to be learned; ``allowed`` (rows, 1, length, length) bool: who sees whom;
    ``answers`` names each answer: (row, first position, length, kind); ``reads`` (characters, 4)
    int64 tells where characters of pictures are said and stand: (row, place of the token before,
    place of the patch, slot).
    """

    ids: Tensor
    positions: Tensor
    labels: Tensor
    allowed: Tensor
    answers: tuple[tuple[int, int, int, str], ...]
    reads: Tensor


class Writer:
    """Writes conversations as token ids, through :mod:`llava_tools.prompt`."""

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
    ) -> Branch:
        """A whole conversation; what the assistant said includes the ends of its turns.

        Answers of :data:`~llava_tools.train.wide.questions.SPELLED` kinds are written one letter a
        token: what is read letter by letter is also said so. ``spots`` tell for each answer where
        its characters stand in the picture, if anywhere.
        """
        questions, answers = zip(*turns, strict=True)
        kinds = tuple(kinds) or ("",) * len(turns)
        spots = spots or ((),) * len(turns)
        ids: list[int] = []
        said: list[bool] = []
        reads: list[tuple[int, int, int]] = []
        heard = 0
        for index, (kind, stands) in enumerate(zip(kinds, spots, strict=True)):
            asked = self.prompt(questions[: index + 1], answers[:index], system)
            usual = self._encode(f" {answers[index]}", start=False)
            answer = self._spell(answers[index]) if kind in SPELLED else usual
            ids += [*asked[heard:], *answer, END]
            said += [False] * (len(asked) - heard) + [True] * (len(answer) + 1)
            heard = len(asked) + len(usual) + 1
            if len(stands) == len(answer) - 1:  # a space, and then one token a character
                first = len(ids) - len(answer) - 1
                reads += [(first + at, *spot) for at, spot in enumerate(stands)]
        return Branch(ids, said, kinds, tuple(reads))

    def _spell(self, text: str) -> list[int]:
        return [one for letter in f" {text}" for one in self._encode(letter, start=False)]

    def talk(self, talk: Talk, system: str, constraint: Constraint) -> Branch:
        """A conversation of which only some of the assistant's messages are learned."""
        ids: list[int] = []
        said: list[bool] = []
        for index in sorted(talk.kinds):
            asked = self.asked(talk.messages[:index], system, constraint)
            message = talk.messages[index]
            told = write_turn(message.text, message.calls)
            answer = [*self._encode(f" {told}", start=False), END]
            said += [False] * (len(asked) - len(ids)) + [True] * len(answer)
            ids = asked + answer
        return Branch(ids, said, tuple(talk.kinds[index] for index in sorted(talk.kinds)))

    def asked(
        self, messages: Sequence[Message], system: str, constraint: Constraint = FREE
    ) -> list[int]:
        """Ids up to the ``ASSISTANT:`` that is to answer ``messages``."""
        return token_ids(
            build(messages, system, constraint),
            self._encode,
            bos=(BOS,),
            end_of_turn=END,
            image=lambda _: (IMAGE,) * IMAGE_TOKENS,
        )


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is asked for the moment.

    A share ``drill`` of the conversations is a single exercise in the plainest words; a share
    ``plain`` of the other questions is put without manners; a share ``spatial`` of them asks where
    things are, a share ``more`` of those about shapes for boxes and captions. ``shown`` rows with
    tools are about a picture and ``unseen`` about none, each about ``length`` tokens long; in
    ``opened`` further rows a tool gives the picture back. A share ``react`` of the steps is one row
    of an agent that thinks aloud.
    """

    drill: float = 0.0
    plain: float = 0.1
    spatial: float = 0.0
    more: float = 0.0
    shown: int = 0
    unseen: int = 0
    length: int = 600
    react: float = 0.0
    opened: int = 0


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
        turns = [(_put(question, rng, lesson.plain), question.answer) for question in questions]
        kinds = [question.kind for question in questions]
        spots = [_spots(scene, question) for question in questions]
        branches.append(writer.branch(turns, system, kinds, spots))
    return branches


def _spots(scene: Sight, question: Question) -> list[Spot]:
    if question.line is None or isinstance(scene, Scene):
        return []
    return places(scene, question.line)


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
        where = spatial(scene, rng)
    return where or ask_sight(scene, rng, lesson.more)


def _put(question: Question, rng: np.random.Generator, plain: float) -> str:
    if rng.random() < plain:
        return manners.plain(question)
    return manners.spoken(question, rng)


def pack(rows: Sequence[Sequence[Branch]]) -> Conversations:
    """Pack each row's branches behind the part that they share, rows padded to one length."""
    shared = [_shared(branches) for branches in rows]
    shape = len(rows), max(packed_length(branches) for branches in rows)
    ids = np.full(shape, PAD)
    labels = np.full(shape, IGNORED)
    positions = np.zeros(shape, np.int64)
    owner = np.full(shape, -1)
    answers: list[tuple[int, int, int, str]] = []
    reads: list[tuple[int, int, int, int]] = []
    for row, (start, branches) in enumerate(zip(shared, rows, strict=True)):
        ids[row, :start] = branches[0].ids[:start]
        positions[row, :start] = np.arange(start)
        owner[row, :start] = 0
        at = start
        for number, branch in enumerate(branches, 1):
            tail = np.asarray(branch.ids[start:])
            said = np.asarray(branch.said[start:])
            span = slice(at, at + len(tail))
            ids[row, span] = tail
            labels[row, span] = np.where(said, tail, IGNORED)
            positions[row, span] = np.arange(start, start + len(tail))
            owner[row, span] = number
            answers += _answers(row, at, said, branch.kinds)
            if branch.reads:
                seen = branch.ids.index(IMAGE)
                reads += [(row, at + k - start, seen + p, slot) for k, p, slot in branch.reads]
            at += len(tail)
    return Conversations(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(labels),
        torch.from_numpy(_allowed(owner)),
        tuple(answers),
        torch.tensor(reads, dtype=torch.int64).reshape(-1, 4),
    )


def packed_length(branches: Sequence[Branch]) -> int:
    """How long a row of these branches is."""
    start = _shared(branches)
    return start + sum(len(branch.ids) - start for branch in branches)


def _shared(branches: Sequence[Branch]) -> int:
    """How many tokens all branches begin with, none of them said by the assistant."""
    same = 0
    for tokens in zip(*(branch.ids for branch in branches), strict=False):
        if len(set(tokens)) > 1:
            break
        same += 1
    return min(same, *(branch.said.index(True) - 1 for branch in branches))


def _answers(
    row: int, at: int, said: np.ndarray, kinds: Sequence[str]
) -> list[tuple[int, int, int, str]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], said.astype(int), [0]))))
    spans = edges.reshape(-1, 2)
    return [
        (row, at + int(first), int(last - first), kind)
        for (first, last), kind in zip(spans, kinds, strict=True)
    ]


def _allowed(owner: np.ndarray) -> np.ndarray:
    """Causal, within one's branch or into the shared part; padding sees itself alone."""
    length = owner.shape[1]
    same = (owner[:, None, :] == owner[:, :, None]) | (owner[:, None, :] == 0)
    seen = same & np.tri(length, dtype=bool) & (owner[:, :, None] >= 0)
    whole: np.ndarray = seen | np.eye(length, dtype=bool)
    return whole[:, None]
