"""Picks the next token of each row by its request's own settings.

Each request has its own generator, so that a seed repeats its answer whatever else is in the batch,
an exact argmax if it is greedy, and log-probabilities of the unmodified distribution. Rows of the
same settings are computed together; a repetition penalty costs only the rows that have one. All
that the host needs of a step comes in one copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llava_tools.core.requests import SamplingParams
from llava_tools.engine.device import activate
from llava_tools.engine.request_state import RequestState, TokenIdLogprob
from llava_tools.engine.upload import to_device, upload


class Sampler:
    """Picks tokens; used on the engine thread.

    Args:
        eos_token_id: Ends the answer of a request whose constraint failed.
    """

    def __init__(self, eos_token_id: int) -> None:
        self._eos_token_id = eos_token_id

    def sample(self, logits: Tensor, states: Sequence[RequestState]) -> list[int]:
        """Return a token for each row of logits [rows, vocab_size], and record log-probabilities.

        A state with constraint advances by its token. If none may come next, its `constraint_error`
        is set and its token ends the answer.
        """
        with activate(logits.device):
            scores = _penalized(self._masked(logits, states), states)
            picked = scores.argmax(dim=-1)
            groups: dict[tuple[float, int, float], list[int]] = defaultdict(list)
            for row, state in enumerate(states):
                if state.sampling.temperature > 0 and not state.constraint_error:
                    groups[_warping(state.sampling)].append(row)
            for rows in groups.values():
                drawn = _draw(_rows(scores, rows), [states[row] for row in rows])
                (places,) = upload([rows], logits.device)
                picked.index_copy_(0, places, drawn)
            tokens = _read(picked, logits, states)
        for token, state in zip(tokens, states, strict=True):
            if state.constraint is not None and not state.constraint_error:
                state.constraint.accept(token)
        return tokens

    def score(self, logits: Tensor, state: RequestState) -> None:
        """Record the log-probabilities of a label's next tokens, one for each row of logits."""
        begin = len(state.logprobs)
        with activate(logits.device):
            (label,) = upload([state.label[begin : begin + len(logits)]], logits.device)
        logprobs = logits.float().log_softmax(dim=-1).gather(1, label.unsqueeze(1))
        state.logprobs += [TokenIdLogprob(value, ()) for value in logprobs[:, 0].tolist()]

    def _masked(self, logits: Tensor, states: Sequence[RequestState]) -> Tensor:
        """Return logits with -inf for tokens that the rows' constraints forbid."""
        rows = [row for row, state in enumerate(states) if state.constraint is not None]
        if not rows:
            return logits
        vocab_size = logits.shape[1]
        bits = bytearray()
        for row in rows:
            bits += self._allowed_bits(states[row], -(-vocab_size // 8))
        packed = torch.frombuffer(bits, dtype=torch.uint8).view(len(rows), -1, 1)
        shifts = torch.arange(8, dtype=torch.uint8, device=logits.device)
        allowed = (to_device(packed, logits.device) >> shifts & 1).flatten(1)[:, :vocab_size]
        masked = _rows(logits, rows).masked_fill(allowed == 0, -torch.inf)
        if len(rows) == len(states):
            return masked
        (places,) = upload([rows], logits.device)
        return logits.index_copy(0, places, masked)

    def _allowed_bits(self, state: RequestState, length: int) -> bytes:
        """Return a state's allowed tokens as `length` bytes; the end of the answer if it failed."""
        assert state.constraint is not None
        bits = state.constraint.allowed_bits()[:length].ljust(length, b"\0")
        # llguidance allows the end where it failed.
        error = state.constraint.error
        if error or not any(bits):
            state.constraint_error = error or "no token may come next"
            only_end = bytearray(length)
            only_end[self._eos_token_id // 8] = 1 << self._eos_token_id % 8
            return bytes(only_end)
        return bits


def _rows(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """Return rows of a tensor, ascending."""
    if len(rows) == len(tensor):
        return tensor
    return tensor.index_select(0, *upload([rows], tensor.device))


def _penalized(scores: Tensor, states: Sequence[RequestState]) -> Tensor:
    """Return scores with the repetition penalties of their rows, as `generate` computes them."""
    rows = [row for row, state in enumerate(states) if state.sampling.repetition_penalty != 1]
    if not rows:
        return scores
    penalized = [states[row] for row in rows]
    seen = _seen(penalized, scores)
    penalties = torch.tensor([[state.sampling.repetition_penalty] for state in penalized])
    penalties = to_device(penalties.to(scores.dtype), scores.device)
    own = _rows(scores, rows)
    changed = torch.where(own < 0, own * penalties, own / penalties).where(seen, own)
    if len(rows) == len(states):
        return changed
    (places,) = upload([rows], scores.device)
    return scores.index_copy(0, places, changed)


def _seen(states: Sequence[RequestState], scores: Tensor) -> Tensor:
    """Return which ids the states' tokens hold, [states, vocab_size]; images have none of these."""
    vocab_size = scores.shape[1]
    news: list[list[int]] = []
    for state in states:
        new = state.tokens[state.seen_count :]
        news.append([token for token in new if token < vocab_size])
        state.seen_count = len(state.tokens)
        if state.seen is None:
            state.seen = torch.zeros(vocab_size, dtype=torch.bool, device=scores.device)
    masks: list[Tensor] = []
    for state, ids in zip(states, upload(news, scores.device), strict=True):
        assert state.seen is not None
        masks.append(state.seen.index_fill_(0, ids, True))
    return torch.stack(masks)


def _warping(sampling: SamplingParams) -> tuple[float, int, float]:
    return float(sampling.temperature), sampling.top_k, float(sampling.top_p)


def _draw(scores: Tensor, states: Sequence[RequestState]) -> Tensor:
    """Return a token for each row of scores [rows, vocab_size], of states with the same warping."""
    temperature, top_k, top_p = _warping(states[0].sampling)
    # Temperature, top-k and top-p, in the order of `generate`.
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    warped = warpers(None, scores)  # type: ignore[arg-type]
    # As `torch.multinomial` draws, which on a GPU waits for its checks.
    noise = torch.empty_like(warped)
    for row, state in enumerate(states):
        noise[row : row + 1].exponential_(generator=_generator(state, scores.device))
    return warped.softmax(dim=-1).div_(noise).argmax(dim=-1)


def _generator(state: RequestState, device: torch.device) -> torch.Generator:
    """Return a request's generator, which is made when it first draws."""
    if state.generator is None:
        state.generator = torch.Generator(device)
        if state.sampling.seed is None:
            state.generator.seed()
        else:
            state.generator.manual_seed(state.sampling.seed)
    return state.generator


def _read(picked: Tensor, logits: Tensor, states: Sequence[RequestState]) -> list[int]:
    """Return the picked tokens, and record the log-probabilities that states want."""
    wanting = [row for row, state in enumerate(states) if state.sampling.logprobs]
    if not wanting:
        tokens: list[int] = picked.tolist()
        return tokens
    most = max(states[row].sampling.top_logprobs for row in wanting)
    logprobs = _rows(logits, wanting).log_softmax(dim=-1)  # before any warping
    own = logprobs.gather(1, _rows(picked, wanting).unsqueeze(1))
    values, ids = logprobs.topk(min(most, logprobs.shape[1]), dim=-1)
    # In float32, which holds ids up to 16 million.
    parts = [part.float().flatten() for part in (picked, own, values, ids)]
    numbers = iter(torch.cat(parts).tolist())
    tokens = [int(next(numbers)) for _ in states]
    chosen = [next(numbers) for _ in wanting]
    top_values = [[next(numbers) for _ in range(values.shape[1])] for _ in wanting]
    top_ids = [[int(next(numbers)) for _ in range(values.shape[1])] for _ in wanting]
    for row, logprob, *top in zip(wanting, chosen, top_ids, top_values, strict=True):
        state = states[row]
        pairs = list(zip(*top, strict=True))[: state.sampling.top_logprobs]
        state.logprobs.append(TokenIdLogprob(logprob, tuple(pairs)))
    return tokens
