"""A request as the engine thread computes it: its tokens, and what of them the KV holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llava_tools.engine.blocks import BLOCK_SIZE, ROOT

if TYPE_CHECKING:
    from llava_tools.engine.request_state import RequestState


@dataclass(eq=False)
class Sequence:
    """A request in the batch.

    Attributes:
        state: What it shares with its caller.
        tokens: Ids of the prompt and of the answer so far.
        computed: Number of tokens whose keys and values are in the KV.
        blocks: Its blocks of the KV, in order.
        registered: Number of its blocks that are registered for other prompts.
        registration: Of the last of these.
        delivered: Number of its tokens that its caller need not get any more.
    """

    state: RequestState
    tokens: list[int]
    delivered: int = 0
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    registered: int = 0
    registration: int = ROOT

    @property
    def in_prompt(self) -> bool:
        """Whether some of its prompt is not computed."""
        return self.computed < len(self.state.prompt_ids)

    @property
    def first_output(self) -> int:
        """Position of the first token whose row gives an output.

        It is the last one, or with a label the one before its next token to score.
        """
        if not self.state.label:
            return len(self.tokens) - 1
        return len(self.state.prompt_ids) - 1 + len(self.state.logprobs)

    @property
    def remaining(self) -> int:
        """Number of tokens that are not computed; at least 1."""
        return len(self.tokens) - self.computed

    def blocks_for(self, tokens: int) -> int:
        """Return how many blocks it lacks to hold `tokens` tokens."""
        return max(0, -(-tokens // BLOCK_SIZE) - len(self.blocks))

    @property
    def next_key(self) -> tuple[int, tuple[int, ...]]:
        """The key under which its next block will be registered."""
        begin = self.registered * BLOCK_SIZE
        return self.registration, tuple(self.tokens[begin : begin + BLOCK_SIZE])
