"""Picks the next token of every request in the batch by the request's own settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
)
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llava_tools.core.requests import SamplingParams
from llava_tools.engine.request_state import RequestState, TokenIdLogprob

if TYPE_CHECKING:
    from transformers.generation.continuous_batching.requests import FutureRequestState


class Sampler(ContinuousBatchingLogitsProcessor):
    """Picks each row's token.

    It returns logits in which only that token is finite, so that the batch's argmax takes it. So
    each request has its own generator (a seed repeats its answer whatever else is in the batch),
    an exact argmax if it is greedy, and log-probabilities of the unmodified distribution. The
    batch-wide sampling of continuous batching has none of them.

    Args:
        eos_token_id: Ends the answer of a request whose constraint failed.

    Attributes:
        picking: True once the picking of the present step has begun; an error after that may have
            lost tokens.
    """

    supported_kwargs = {"state": RequestState}  # noqa: RUF012 - an instance attribute of the base class
    ignored_kwargs = ()

    def __init__(self, eos_token_id: int) -> None:
        self._eos_token_id = eos_token_id
        self._states: list[RequestState] = []
        self.picking = False

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Fill the batch's argument tensor, which this sampler does not use, with zeros."""
        int32_tensor.zero_()

    def prepare_tensor_args(
        self, requests_with_new_token: list[FutureRequestState]
    ) -> torch.Tensor:
        """Remember which request each row of the next call belongs to.

        Steps do not overlap, so it stays valid.
        """
        self.picking = False
        self._states = [
            future.state.logit_processor_kwargs["state"] for future in requests_with_new_token
        ]
        return torch.zeros(len(self._states), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        """Return logits, float32 [rows, vocab_size], with -inf for all but each row's picked token.

        `tensor_arg` is unused. If no request needs custom sampling, `scores` is returned unchanged.
        """
        if not any(map(_needs_custom_sampling, self._states)):
            return scores
        picked = scores.argmax(dim=-1)
        self.picking = True
        for row, state in enumerate(self._states):
            if _needs_custom_sampling(state):
                picked[row] = self._pick(scores[row : row + 1], state)
            if state.sampling.logprobs:
                state.logprobs.append(_logprob(scores[row], picked[row], state.sampling))
        return torch.full_like(scores, -torch.inf).scatter_(1, picked.unsqueeze(1), 0.0)

    def _pick(self, scores: torch.Tensor, state: RequestState) -> torch.Tensor:
        """Pick one token of a row [1, vocab_size] by the request's constraint and settings."""
        constraint = state.constraint
        if constraint is not None:
            forbidden = constraint.forbidden(scores.device)
            if not state.constraint_error and forbidden.all():
                state.constraint_error = constraint.error or "no token may come next"
            if state.constraint_error:  # end this request without hurting the others
                forbidden = torch.ones_like(forbidden)
                forbidden[self._eos_token_id] = False
            scores = scores.masked_fill(forbidden, -torch.inf)
        picked = _draw(scores, state) if state.sampling.temperature > 0 else scores[0].argmax()
        if constraint is not None and not state.constraint_error:
            constraint.accept(int(picked))
        return picked


def _draw(scores: torch.Tensor, state: RequestState) -> torch.Tensor:
    """Draw one token from a row [1, vocab_size] by the request's sampling settings."""
    sampling = state.sampling
    if state.generator is None:
        state.generator = torch.Generator(scores.device)
        if sampling.seed is None:
            state.generator.seed()
        else:
            state.generator.manual_seed(sampling.seed)
    # Temperature, top-k and top-p, in the order of `generate`.
    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(sampling.temperature))])
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(float(sampling.top_p)))
    warped = warpers(None, scores)  # type: ignore[arg-type]
    return torch.multinomial(warped.softmax(dim=-1), 1, generator=state.generator)[0, 0]


def _needs_custom_sampling(state: RequestState) -> bool:
    """Whether a row needs more than its likeliest token."""
    sampling = state.sampling
    return sampling.temperature > 0 or sampling.logprobs or state.constraint is not None


def _logprob(
    scores: torch.Tensor, picked: torch.Tensor, sampling: SamplingParams
) -> TokenIdLogprob:
    """Return the log-probabilities of one row [vocab_size] before any warping."""
    logprobs = scores.log_softmax(dim=-1)
    top: tuple[tuple[int, float], ...] = ()
    if sampling.top_logprobs:
        values, ids = logprobs.topk(min(sampling.top_logprobs, logprobs.numel()))
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenIdLogprob(float(logprobs[picked]), top)
