"""How likely given labels are as the answer, without sampling.

A label's tokens are spelled by force, each one's log-probability taken from the distribution that
it was forced upon. That happens in the batch like any other request: the prompt is computed once,
by the first label or by whatever was asked about the image before, and the other labels share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from llava_tools.engine.request_state import RequestState, Step
from llava_tools.errors import EngineError

if TYPE_CHECKING:
    from llava_tools.engine.tokenizer import Tokenizer

#: Labels of one request in the batch at a time, so that a long list leaves room for others.
AT_ONCE = 16


class Spelling:
    """Lets only one token come next: that of the label. Used by the model's thread."""

    fault = ""

    def __init__(self, ids: Sequence[int], vocabulary: int) -> None:
        self._ids = ids
        self._vocabulary = vocabulary
        self._done = 0

    def forbidden(self, device: torch.device) -> torch.Tensor:
        """Return which tokens may not come next, bool [vocabulary]."""
        all_others = torch.ones(self._vocabulary, dtype=torch.bool, device=device)
        all_others[self._ids[self._done]] = False
        return all_others

    def accept(self, token: int) -> None:
        """Go on to the next token of the label."""
        self._done += 1


def spell(label: str, text: Tokenizer) -> list[int]:
    """Return the tokens with which a model answers a label and ends its turn.

    A space parts answers from `ASSISTANT:`, as in training; the prompt itself stays as it is, so
    that its KV is that of any other request.
    """
    return [*text.encode(f" {label}", start=False), text.end_of_turn]


def begun(ticket: RequestState) -> None:
    """Wait until a request has computed its prompt, or failed."""
    ticket.outputs.put(ticket.outputs.get())


def read(tickets: Sequence[RequestState]) -> list[float]:
    """Wait for forced answers and return the sum of each one's log-probabilities.

    Raises:
        EngineError: The engine failed or was closed meanwhile.
    """
    for ticket in tickets:
        step: Step | EngineError | None = None
        while not (isinstance(step, Step) and step.finished):
            step = ticket.outputs.get()
            if isinstance(step, EngineError):
                raise step
    return [sum(record.logprob for record in ticket.records) for ticket in tickets]
