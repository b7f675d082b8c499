"""Log-probabilities of labels as the answer, without sampling.

A label's tokens are forced one by one; the log-probability of each comes from the unmodified
distribution. Labels run in the batch like any other request: the first label, or an earlier request
with the same prompt, computes the prompt's KV, and the others share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from llava_tools.engine.request_state import RequestState
from llava_tools.errors import EngineError

if TYPE_CHECKING:
    from llava_tools.engine.tokenizer import Tokenizer

#: Labels of one request in the batch at a time, so that a long list leaves room for others.
MAX_LABELS_AT_ONCE = 16


class ForcedTokens:
    """A `TokenConstraint` that allows only the next token of a label."""

    error = ""

    def __init__(self, ids: Sequence[int], vocab_size: int) -> None:
        self._ids = ids
        self._vocab_size = vocab_size
        self._position = 0

    def forbidden(self, device: torch.device) -> torch.Tensor:
        """See `TokenConstraint`."""
        mask = torch.ones(self._vocab_size, dtype=torch.bool, device=device)
        mask[self._ids[self._position]] = False
        return mask

    def accept(self, token: int) -> None:
        """See `TokenConstraint`."""
        self._position += 1


def label_ids(label: str, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a label as a whole answer, the end of the turn included.

    The answer begins with the format's prefix: with a space after `ASSISTANT:` in `vicuna_v1`. It
    is not part of the prompt, so that the prompt's KV is shared with other requests.
    """
    return [*tokenizer.encode_answer(label), tokenizer.end_of_turn]


def sum_logprobs(states: Sequence[RequestState]) -> list[float]:
    """Wait for forced answers and return the sum of each one's log-probabilities.

    Raises:
        EngineError: The engine failed or was closed meanwhile.
    """
    for state in states:
        finished = False
        while not finished:
            output = state.outputs.get()
            if isinstance(output, EngineError):
                raise output
            finished = output.finished
    return [sum(item.logprob for item in state.logprobs) for state in states]
