"""A step of continuous batching for which there is no memory, done again for fewer requests.

By the time that the model runs, transformers has laid out the step's rows and moved every request
on by its own. A model that fails leaves nothing behind but keys and values of those rows, which the
next attempt writes again. So one request can be taken out, and the others moved back and laid out
anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor
    from transformers.generation.continuous_batching.requests import FutureRequestState


def take_largest(processor: ContinuousBatchProcessor) -> FutureRequestState:
    """Take the request with the most rows, or the newest of such, out of a step that is laid out.

    Its KV is freed. The step holds the others afterwards; it may hold nothing.

    Args:
        processor: Whose step failed before any of its tokens was picked.
    """
    step: Any = processor.inputs_and_outputs
    largest = max(
        step.requests_in_batch, key=lambda one: (one.query_length, one.state.created_time)
    )
    rest = [one for one in step.requests_in_batch if one is not largest]
    _lay_out(processor, step, rest)
    processor.scheduler.finish_request(largest.state.request_id)
    processor.scheduler.block_new_requests = False  # as after every request that is over
    taken: FutureRequestState = largest
    return taken


def _lay_out(
    processor: ContinuousBatchProcessor, step: Any, requests: list[FutureRequestState]
) -> None:
    if not requests:
        step.requests_in_batch, step.num_request_in_batch = [], 0
        return
    for one in requests:
        state = one.state
        state.position_offset -= one.query_length
        known = state.initial_tokens + state.generated_tokens
        state.tokens_to_process = known[state.position_offset :][: one.query_length]
    rows, keys = processor.model_runner.maybe_pad_inputs(
        sum(one.query_length for one in requests), step.max_kv_read, step.use_block_table
    )
    step.prepare_batch_tensors(
        requests_in_batch=requests,
        logits_processors=processor.logit_processor,
        use_decode_fast_path=step.use_block_table,
        num_q_tokens=rows,
        max_kv_read=keys,
        use_padding=processor.model_runner.pad_inputs,
    )
