"""Conversations as tensors: many short ones behind the tokens of one picture.

All conversations about one picture share the system sentence and the image tokens, each then
branches off on its own: a branch sees the shared part and itself, and its positions go on from the
shared part, so it is computed exactly as if it stood alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BOS, END, PAD, IMAGE = 1, 2, 3, 4
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Branch:
    """Token ids of one whole conversation and, for each, whether the assistant said it.

    ``reads`` tells of tokens after which a character of the picture is said: (place in ``ids``,
    patch, slot). ``looks`` tells of tokens after which one has to know of some shapes: place in
    ``ids``, and for each of at most two kinds of them its share in every patch, (64,) float32.
    ``lines`` and ``choices`` are those of :class:`~recipes.tiny_llava.choosing.Called`.
    """

    ids: list[int]
    said: list[bool]
    kinds: tuple[str, ...]
    reads: tuple[tuple[int, int, int], ...] = ()
    looks: tuple[tuple[int, tuple[NDArray[np.float32], ...]], ...] = ()
    lines: tuple[tuple[int, int], ...] = ()
    choices: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Conversations:
    """A batch of packed conversations, one picture a row.

    ``ids`` and ``positions`` (rows, length) int64; ``labels`` (rows, length) int64, ``IGNORED``
    where nothing is to be learned; ``allowed`` (rows, 1, length, length) bool: who sees whom;
    ``answers`` names each answer: (row, first position, length, kind); ``reads`` (characters, 4)
    int64 tells where characters of pictures are said and stand: (row, place of the token before,
    place of the patch, slot). ``looks`` (looks, 4) int64 has for each kind of shapes that one has
    to know of (row, place of the token before the answer, place of the first patch, number among
    such kinds), and ``shares`` (looks, 64) float32 how many of them each patch holds. ``lines`` has
    (row, first, end) of tools and calls, ``choices`` (row, place of the token before a name is
    said, first and end of where it is looked for). ``lengths`` has for each row how long its shared
    part is, and how long each branch is behind it.
    """

    ids: Tensor
    positions: Tensor
    labels: Tensor
    allowed: Tensor
    answers: tuple[tuple[int, int, int, str], ...]
    reads: Tensor
    looks: Tensor
    shares: Tensor
    lines: tuple[tuple[int, int, int], ...]
    choices: tuple[tuple[int, int, int, int], ...]
    lengths: tuple[tuple[int, ...], ...]


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
    looks: list[tuple[int, int, int, int]] = []
    shares: list[NDArray[np.float32]] = []
    lines: dict[tuple[int, int, int], None] = {}
    choices: list[tuple[int, int, int, int]] = []
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
            seen = branch.ids.index(IMAGE) if IMAGE in branch.ids else 0
            reads += [(row, at + k - start, seen + p, slot) for k, p, slot in branch.reads]
            for k, kinds in branch.looks:
                looks += [(row, at + k - start, seen, which) for which in range(len(kinds))]
                shares += kinds
            # What is in the shared part stays where it is; all branches tell of its lines.
            moves = [0] * start + [at - start] * (len(branch.ids) - start)
            lines |= {(row, a + moves[a], b + moves[a]): None for a, b in branch.lines}
            choices += [
                (row, k + moves[k], a + moves[a], b + moves[a]) for k, a, b in branch.choices
            ]
            at += len(tail)
    return Conversations(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(labels),
        torch.from_numpy(_allowed(owner)),
        tuple(answers),
        torch.tensor(reads, dtype=torch.int64).reshape(-1, 4),
        torch.tensor(looks, dtype=torch.int64).reshape(-1, 4),
        torch.from_numpy(np.stack(shares)) if shares else torch.zeros(0, 0),
        tuple(lines),
        tuple(choices),
        tuple(
            (start, *(len(branch.ids) - start for branch in branches))
            for start, branches in zip(shared, rows, strict=True)
        ),
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
