"""Which token comes next, for every request of a batch by its own rules."""

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
from llava_tools.engine.request_state import RequestState, TokenRecord

if TYPE_CHECKING:
    from transformers.generation.continuous_batching.requests import FutureRequestState


class Sampler(ContinuousBatchingLogitsProcessor):
    """Pick every row's token here, and leave the batch's argmax nothing else to choose.

    Doing the choice ourselves gives each request its own generator (a seed repeats whatever else
    runs in the batch), exact argmax for greedy requests, and log-probabilities of the unmodified
    distribution, none of which the batch-wide sampling of continuous batching has.

    Attributes:
        picking: Whether tokens of the present step may have been picked.
    """

    supported_kwargs = {"ticket": RequestState}  # noqa: RUF012 - an instance attribute of the base class
    ignored_kwargs = ()

    def __init__(self, end_of_turn: int) -> None:
        self._end_of_turn = end_of_turn
        self._rows: list[RequestState] = []
        self.picking = False

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Nothing is passed through the batch's argument tensor."""
        int32_tensor.zero_()

    def prepare_tensor_args(
        self, requests_with_new_token: list[FutureRequestState]
    ) -> torch.Tensor:
        """Remember whose rows come next; the batch is synchronous, so the call follows."""
        self.picking = False
        self._rows = [
            future.state.logit_processor_kwargs["ticket"] for future in requests_with_new_token
        ]
        return torch.zeros(len(self._rows), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        """Return scores in which every row's token stands alone.

        Args:
            scores: float32 [rows, vocabulary], the model's logits.
            tensor_arg: Unused.
        """
        if not any(map(_needs_custom_sampling, self._rows)):
            return scores
        picked = scores.argmax(dim=-1)
        self.picking = True
        for row, ticket in enumerate(self._rows):
            if _needs_custom_sampling(ticket):
                picked[row] = self._pick(scores[row : row + 1], ticket)
            if ticket.sampling.logprobs:
                ticket.records.append(_record(scores[row], picked[row], ticket.sampling))
        alone = torch.full_like(scores, -torch.inf)
        return alone.scatter_(1, picked.unsqueeze(1), 0.0)

    def _pick(self, scores: torch.Tensor, ticket: RequestState) -> torch.Tensor:
        """Choose one token of a row [1, vocabulary] by the request's constraint and settings."""
        matcher = ticket.matcher
        if matcher is not None:
            forbidden = matcher.forbidden(scores.device)
            if ticket.fault or (forbidden.all() and self._fail(ticket)):
                forbidden = torch.ones_like(forbidden)
                forbidden[self._end_of_turn] = False
            scores = scores.masked_fill(forbidden, -torch.inf)
        picked = scores[0].argmax()
        if ticket.sampling.temperature > 0:
            picked = self._draw(scores, ticket)
        if matcher is not None and not ticket.fault:
            matcher.accept(int(picked))
        return picked

    def _fail(self, ticket: RequestState) -> bool:
        """End one request whose matcher is stuck, without hurting the others of the batch."""
        assert ticket.matcher is not None
        ticket.fault = ticket.matcher.fault or "no token may come next"
        return True

    def _draw(self, scores: torch.Tensor, ticket: RequestState) -> torch.Tensor:
        """Draw one token from a row [1, vocabulary] by the request's own settings."""
        if ticket.generator is None:
            ticket.generator = torch.Generator(scores.device)
            if ticket.sampling.seed is None:
                ticket.generator.seed()
            else:
                ticket.generator.manual_seed(ticket.sampling.seed)
        shaped = _warpers(ticket.sampling)(None, scores)  # type: ignore[arg-type]
        odds = shaped.softmax(dim=-1)
        return torch.multinomial(odds, 1, generator=ticket.generator)[0, 0]


def _needs_custom_sampling(ticket: RequestState) -> bool:
    """Return whether a row needs more than its likeliest token."""
    wish = ticket.sampling
    return wish.temperature > 0 or wish.logprobs or ticket.matcher is not None


def _warpers(sampling: SamplingParams) -> LogitsProcessorList:
    """Temperature, then top-k, then top-p, in the order of `generate`."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(sampling.temperature))])
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(float(sampling.top_p)))
    return warpers


def _record(scores: torch.Tensor, picked: torch.Tensor, sampling: SamplingParams) -> TokenRecord:
    """Return the log-probabilities of one row [vocabulary] before any shaping."""
    logprobs = scores.log_softmax(dim=-1)
    top: tuple[tuple[int, float], ...] = ()
    if sampling.top_logprobs:
        values, ids = logprobs.topk(min(sampling.top_logprobs, logprobs.numel()))
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenRecord(float(logprobs[picked]), top)
