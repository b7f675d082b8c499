"""Log-probabilities of labels as the answer, without sampling.

A label's tokens follow the prompt in one step, and each one's log-probability comes from the row
before it. Labels run in the batch like any other request: the first label, or an earlier request
with the same prompt, computes the prompt's KV, and the others share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llava_tools.engine.request_state import RequestState
from llava_tools.errors import EngineError

if TYPE_CHECKING:
    from llava_tools.engine.tokenizer import Tokenizer

#: Labels of one request in the batch at a time, so that a long list leaves room for others.
MAX_LABELS_AT_ONCE = 16


def label_ids(label: str, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a label as a whole answer, the end of the turn included.

    The answer begins with the format's prefix: with a space after `ASSISTANT:` in `vicuna_v1`. It
    is not part of the prompt, so that the prompt's KV is shared with other requests.
    """
    return [*tokenizer.encode_answer(label), tokenizer.end_of_turn]


def wait(state: RequestState) -> float:
    """Wait for a label, and return the sum of its tokens' log-probabilities.

    Raises:
        EngineError: The engine failed or was closed meanwhile.
    """
    output = state.outputs.get()
    if isinstance(output, EngineError):
        raise output
    return sum(item.logprob for item in state.logprobs)
