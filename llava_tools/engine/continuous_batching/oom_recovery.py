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
    """Remove the request with the most rows (the newest of several) from a step that is laid out.

    Its KV is freed. The step holds the others afterwards; it may hold none.

    Args:
        processor: Its step failed before any token was picked.
    """
    step: Any = processor.inputs_and_outputs
    requests: list[FutureRequestState] = step.requests_in_batch
    largest = max(requests, key=lambda item: (item.query_length, item.state.created_time))
    _lay_out(processor, step, [item for item in requests if item is not largest])
    processor.scheduler.finish_request(largest.state.request_id)
    processor.scheduler.block_new_requests = False  # as after every finished request
    return largest


def _lay_out(
    processor: ContinuousBatchProcessor, step: Any, requests: list[FutureRequestState]
) -> None:
    if not requests:
        step.requests_in_batch, step.num_request_in_batch = [], 0
        return
    for item in requests:
        state = item.state
        state.position_offset -= item.query_length
        tokens = state.initial_tokens + state.generated_tokens
        state.tokens_to_process = tokens[state.position_offset :][: item.query_length]
    rows, keys = processor.model_runner.maybe_pad_inputs(
        sum(item.query_length for item in requests), step.max_kv_read, step.use_block_table
    )
    step.prepare_batch_tensors(
        requests_in_batch=requests,
        logits_processors=processor.logit_processor,
        use_decode_fast_path=step.use_block_table,
        num_q_tokens=rows,
        max_kv_read=keys,
        use_padding=processor.model_runner.pad_inputs,
    )
