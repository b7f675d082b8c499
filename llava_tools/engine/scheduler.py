"""Decides what a step computes: first come, first served, in chunks, sharing what is computed.

Sequences that run come first, each with the one token that its answer grew by; what is left of a
step's tokens goes to prompts, a long one in chunks. If the blocks of the KV run out, the newest
sequence gives up its own and is computed again later; what it had filled stays known until the
blocks are needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from llava_tools.engine.blocks import BLOCK_SIZE, BlockManager
from llava_tools.engine.sequence import Sequence
from llava_tools.engine.step import Share


class Scheduler:
    """Sequences that wait and that run; used on the engine thread only.

    Args:
        blocks: The blocks of the KV.
        step_tokens: Tokens of a step at most.
    """

    def __init__(self, blocks: BlockManager, step_tokens: int) -> None:
        self._blocks = blocks
        self._step_tokens = step_tokens
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # by arrival

    def __iter__(self) -> Iterator[Sequence]:
        return iter([*self._running, *self._waiting])

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self._waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence that ended, and release its blocks."""
        if sequence in self._running:
            self._running.remove(sequence)
        else:
            self._waiting.remove(sequence)
        self._release(sequence)

    def schedule(self) -> list[Share]:
        """Return the shares of the next step, the blocks for which are allocated.

        Empty only if no sequence is left.
        """
        budget = self._step_tokens
        shares: list[Share] = []
        # Answers before prompts: a prompt may take all tokens of the step, an answer takes one.
        for sequence in sorted(self._running, key=lambda item: item.in_prompt):
            if sequence not in self._running:  # it gave its blocks to an earlier one
                continue
            rows = min(sequence.remaining, budget)
            if rows and self._reserve(sequence, rows):
                shares.append(Share(sequence, rows))
                budget -= rows
        shares = [share for share in shares if share.sequence in self._running]
        return shares + self._admit(budget)

    def advance(self, share: Share) -> None:
        """Note that a share was computed, and register the blocks that it filled."""
        sequence = share.sequence
        sequence.computed += share.rows
        end = min(sequence.computed, sequence.state.private_from)
        while (sequence.registered + 1) * BLOCK_SIZE <= end:
            block = sequence.blocks[sequence.registered]
            sequence.registration = self._blocks.register(block, *sequence.next_key)
            sequence.registered += 1

    def _admit(self, budget: int) -> list[Share]:
        """Start sequences that wait, as long as there are tokens and blocks for them."""
        shares: list[Share] = []
        for sequence in list(self._waiting):
            if not budget:
                break
            self._share_prefix(sequence)
            if self._is_computed_elsewhere(sequence):
                self._release(sequence)
                continue
            rows = min(sequence.remaining, budget)
            if sequence.blocks_for(len(sequence.tokens)) > self._blocks.available:
                self._release(sequence)
                break
            self._waiting.remove(sequence)
            self._running.append(sequence)
            self._reserve(sequence, rows)
            shares.append(Share(sequence, rows))
            budget -= rows
        return shares

    def _share_prefix(self, sequence: Sequence) -> None:
        blocks, registration = self._blocks.match(sequence.tokens[: sequence.first_output + 1])
        for block in blocks:
            self._blocks.acquire(block)
        sequence.blocks, sequence.registered = blocks, len(blocks)
        sequence.registration = registration
        sequence.computed = len(blocks) * BLOCK_SIZE
        if sequence.delivered == len(sequence.state.prompt_ids):  # it was not preempted
            sequence.state.cached_tokens = sequence.computed

    def _is_computed_elsewhere(self, sequence: Sequence) -> bool:
        """Whether a sequence that runs computes the same image; then waiting for it is faster."""
        end = min(sequence.state.last_image_end, sequence.state.private_from)
        if sequence.computed >= end // BLOCK_SIZE * BLOCK_SIZE:
            return False
        return any(
            other.computed < other.state.last_image_end and other.next_key == sequence.next_key
            for other in self._running
        )

    def _reserve(self, sequence: Sequence, rows: int) -> bool:
        """Allocate the blocks for a sequence's next rows, preempting the newest if need be.

        Return False if the sequence itself was preempted.
        """
        for _ in range(sequence.blocks_for(sequence.computed + rows)):
            previous = sequence.blocks[-1] if sequence.blocks else None
            while (block := self._blocks.allocate(previous)) is None:
                newest = self._running.pop()
                self._release(newest)
                self._waiting.appendleft(newest)
                if newest is sequence:
                    return False
            sequence.blocks.append(block)
        return True

    def _release(self, sequence: Sequence) -> None:
        for block in reversed(sequence.blocks):  # ends are given up before beginnings
            self._blocks.release(block)
        sequence.blocks, sequence.computed, sequence.registered = [], 0, 0
