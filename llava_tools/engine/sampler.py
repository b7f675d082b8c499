"""Picks the next token of each row by its request's own settings.

Each request has its own generator, so that a seed repeats its answer whatever else is in the batch,
an exact argmax if it is greedy, and log-probabilities of the unmodified distribution. Rows without
wishes share one argmax; tokens come to the host in one copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llava_tools.engine.request_state import RequestState, TokenIdLogprob


class Sampler:
    """Picks tokens; used on the engine thread.

    Args:
        eos_token_id: Ends the answer of a request whose constraint failed.
    """

    def __init__(self, eos_token_id: int) -> None:
        self._eos_token_id = eos_token_id

    def sample(self, logits: torch.Tensor, states: Sequence[RequestState]) -> list[int]:
        """Return a token for each row of logits [rows, vocab_size], and record log-probabilities.

        A state with constraint advances by its token. If none may come next, its `constraint_error`
        is set and its token ends the answer.
        """
        scores = self._masked(logits, states)
        picked = scores.argmax(dim=-1)
        for row, state in enumerate(states):
            if state.sampling.temperature > 0 and not state.constraint_error:
                picked[row] = _draw(scores[row : row + 1], state)
        tokens: list[int] = picked.tolist()
        for row, state in enumerate(states):
            if state.sampling.logprobs:
                state.logprobs.append(_logprob(logits[row], tokens[row], state))
            if state.constraint is not None and not state.constraint_error:
                state.constraint.accept(tokens[row])
        return tokens

    def score(self, logits: torch.Tensor, state: RequestState) -> None:
        """Record the log-probabilities of a label's next tokens, one for each row of logits."""
        begin = len(state.logprobs)
        label = torch.tensor(state.label[begin : begin + len(logits)], device=logits.device)
        logprobs = logits.float().log_softmax(dim=-1).gather(1, label.unsqueeze(1))
        state.logprobs += [TokenIdLogprob(value, ()) for value in logprobs[:, 0].tolist()]

    def _masked(self, logits: torch.Tensor, states: Sequence[RequestState]) -> torch.Tensor:
        """Return logits with -inf for tokens that the rows' constraints forbid."""
        rows = [row for row, state in enumerate(states) if state.constraint is not None]
        if not rows:
            return logits
        vocab_size = logits.shape[1]
        bits = bytearray()
        for row in rows:
            bits += self._allowed_bits(states[row], -(-vocab_size // 8))
        packed = torch.frombuffer(bits, dtype=torch.uint8).view(len(rows), -1).to(logits.device)
        values = torch.tensor(
            [1 << bit for bit in range(8)], dtype=torch.uint8, device=packed.device
        )
        allowed = packed.unsqueeze(2).bitwise_and(values).flatten(1)[:, :vocab_size]
        masked = logits.clone()
        masked[rows] = masked[rows].masked_fill(allowed == 0, -torch.inf)
        return masked

    def _allowed_bits(self, state: RequestState, length: int) -> bytes:
        """Return a state's allowed tokens as `length` bytes; the end of the answer if it failed."""
        assert state.constraint is not None
        bits = state.constraint.allowed_bits()[:length].ljust(length, b"\0")
        if not any(bits):
            state.constraint_error = state.constraint.error or "no token may come next"
            only_end = bytearray(length)
            only_end[self._eos_token_id // 8] = 1 << self._eos_token_id % 8
            return bytes(only_end)
        return bits


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


def _logprob(logits: torch.Tensor, token: int, state: RequestState) -> TokenIdLogprob:
    """Return the log-probabilities of one row [vocab_size] before any warping."""
    logprobs = logits.log_softmax(dim=-1)
    top: tuple[tuple[int, float], ...] = ()
    if state.sampling.top_logprobs:
        values, ids = logprobs.topk(min(state.sampling.top_logprobs, logprobs.numel()))
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenIdLogprob(float(logprobs[token]), top)
