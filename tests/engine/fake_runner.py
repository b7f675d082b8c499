"""A stand-in for the model: its keys are the tokens themselves, so lookups can be checked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch

from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.step import Share, StepLogits

VOCAB = 50
END = 1


def next_token(tokens: Sequence[int]) -> int:
    """What the stand-in answers after these tokens; it never ends an answer."""
    return 2 + (31 * sum(tokens) + 7 * len(tokens)) % (VOCAB - 2)


def answer(prompt: Sequence[int], length: int) -> list[int]:
    """The answer of `length` tokens to a prompt."""
    tokens = list(prompt)
    for _ in range(length):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


class FakeRunner:
    """Remembers which token each slot holds, and answers from what a sequence's slots hold.

    Attributes:
        steps: The shares of each step, as (request id, position of the first row, rows).
        before_step: Called with the shares before each step; may raise.
        gate: A step waits until it is set.
    """

    def __init__(self) -> None:
        self.slots: dict[int, int] = {}
        self.steps: list[list[tuple[str, int, int]]] = []
        self.before_step: Callable[[Sequence[Share]], None] = lambda shares: None
        self.gate = threading.Event()
        self.gate.set()

    def run(self, shares: Sequence[Share]) -> StepLogits:
        """See `ModelRunner.run`."""
        self.gate.wait()
        self.before_step(shares)
        self.steps.append(
            [(s.sequence.state.request_id, s.sequence.computed, s.rows) for s in shares]
        )
        rows: list[torch.Tensor] = []
        counts: list[int] = []
        for share in shares:
            for position in range(share.sequence.computed, share.end):
                self.slots[self._slot(share, position)] = share.sequence.tokens[position]
        for share in shares:
            begin = max(share.sequence.first_output, share.sequence.computed)
            counts.append(max(0, share.end - begin))
            for position in range(begin, share.end):
                seen = [self.slots[self._slot(share, p)] for p in range(position + 1)]
                row = torch.zeros(VOCAB)
                row[next_token(seen)] = 5.0
                rows.append(row)
        return StepLogits(torch.stack(rows) if rows else torch.zeros(0, VOCAB), counts)

    @staticmethod
    def _slot(share: Share, position: int) -> int:
        return share.sequence.blocks[position // BLOCK_SIZE] * BLOCK_SIZE + position % BLOCK_SIZE
