"""Out-of-memory recovery: prepares a failed step to be retried with one request removed.

Before the model runs, transformers has laid out the step's rows and advanced every request by its
own. A failed model run leaves only keys and values of those rows, which the next attempt writes
again. So one request can be removed, and the others set back and laid out anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor
    from transformers.generation.continuous_batching.requests import FutureRequestState


def remove_largest(processor: ContinuousBatchProcessor) -> FutureRequestState:
    """Remove the request with the most rows (the newest of several) and free its KV.

    The processor's step must have failed before any token was picked. Afterwards it is laid out
    for the other requests, of which there may be none.
    """
    step: Any = processor.inputs_and_outputs
    requests: list[FutureRequestState] = step.requests_in_batch
    largest = max(requests, key=lambda item: (item.query_length, item.state.created_time))
    others = [item for item in requests if item is not largest]
    for item in others:
        state = item.state
        state.position_offset -= item.query_length
        tokens = state.initial_tokens + state.generated_tokens
        state.tokens_to_process = tokens[state.position_offset :][: item.query_length]
    if others:
        rows, keys = processor.model_runner.maybe_pad_inputs(
            sum(item.query_length for item in others), step.max_kv_read, step.use_block_table
        )
        step.prepare_batch_tensors(
            requests_in_batch=others,
            logits_processors=processor.logit_processor,
            use_decode_fast_path=step.use_block_table,
            num_q_tokens=rows,
            max_kv_read=keys,
            use_padding=processor.model_runner.pad_inputs,
        )
    else:
        step.requests_in_batch, step.num_request_in_batch = [], 0
    processor.scheduler.finish_request(largest.state.request_id)
    processor.scheduler.block_new_requests = False  # as after every finished request
    return largest
