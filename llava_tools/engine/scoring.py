"""Log-probabilities of labels as the answer, without sampling.

A label's tokens follow the prompt in one step, and each one's log-probability comes from the row
before it. Labels run in the batch like any other request: the first label, or an earlier request
with the same prompt, computes the prompt's KV, and the others share it. So do prompts with parts of
an image left out (`masking`), up to the first such part.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING

from llava_tools.engine.request_state import RequestState
from llava_tools.errors import EngineError

if TYPE_CHECKING:
    from llava_tools.engine.loop import EngineLoop
    from llava_tools.engine.tokenizer import Tokenizer

#: Labels of one request in the batch at a time, so that a long list leaves room for others.
MAX_LABELS_AT_ONCE = 16


def label_ids(label: str, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a label as a whole answer, the end of the turn included.

    The answer begins with the format's prefix: with a space after `ASSISTANT:` in `vicuna_v1`. It
    is not part of the prompt, so that the prompt's KV is shared with other requests.
    """
    return [*tokenizer.encode_answer(label), tokenizer.end_of_turn]


def score(
    loop: EngineLoop, states: Iterator[RequestState], cancelled: threading.Event | None = None
) -> list[float]:
    """Return the log-probability of each state's label as the answer to its prompt.

    Args:
        loop: Computes them.
        states: Each is made when there is room for it in the batch.
        cancelled: Set it from another thread to stop.

    Raises:
        EngineError: The engine failed, was closed, or was stopped.
    """
    scores: list[float] = []
    batch: list[RequestState] = []
    try:
        # The first computes the prompt, which the others then share.
        for count in chain([1], repeat(MAX_LABELS_AT_ONCE)):
            batch = list(islice(states, count))
            if not batch:
                break
            for state in batch:
                loop.submit(state)
            for state in batch:
                if cancelled is not None and cancelled.is_set():
                    raise EngineError("The scores were cancelled.")
                scores.append(wait(state))
        return scores
    finally:
        for state in batch:
            loop.cancel(state)


def wait(state: RequestState) -> float:
    """Wait for a label, and return the sum of its tokens' log-probabilities.

    Raises:
        EngineError: The engine failed or was closed meanwhile.
    """
    output = state.outputs.get()
    if isinstance(output, EngineError):
        raise output
    return sum(item.logprob for item in state.logprobs)
