"""The loss of a step: what the assistant says, and where heads are guided to look."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from .choosing import choosing_loss
from .copying import ahead_loss, attention_loss
from .hearing import hear
from .packing import IGNORED, Conversations
from .reading import counting_loss, naming_loss, reading_loss
from .record import Record
from .tallying import tally_loss

_KNOWN, _UNKNOWN = 0.25, 3.25
"""What a token counts, where doubtful ones are to count more, that a model is sure of, and one that
it gives no chance."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much: ``asked`` rows, the first ones, ``emphasis`` times as much as others.

    ``doubtful`` lets tokens of the others count more, the less a model knows of them: most of a
    call is form that is soon known, and which tool is called is a token or two.
    ``guide``, ``choose``, ``ahead``, ``tally`` and ``read`` weigh
    :func:`~recipes.tiny_llava.copying.attention_loss`,
    :func:`~recipes.tiny_llava.choosing.choosing_loss`,
    :func:`~recipes.tiny_llava.copying.ahead_loss`, :func:`~recipes.tiny_llava.tallying.tally_loss`
    and :func:`~recipes.tiny_llava.reading.reading_loss` and the other two losses beside it.
    """

    asked: int = 0
    emphasis: float = 1.0
    doubtful: bool = False
    guide: float = 0.0
    choose: float = 0.0
    read: float = 0.0
    ahead: float = 0.0
    tally: float = 0.0


def step_loss(
    model: LlavaForConditionalGeneration,
    told: Conversations,
    features: Tensor,
    weights: Weights | None = None,
    record: Record | None = None,
) -> Tensor:
    """Mean cross-entropy over what the assistant says, and guidance.

    Args:
        model: The model; its eye is not used.
        told: Packed conversations, at most one picture a row.
        features: Projected image features of the rows with a picture, (these rows, 64, width).
        weights: What counts how much.
        record: Keeps count of right answers by kind.
    """
    weights = weights or Weights()
    guided = any((weights.guide, weights.choose, weights.ahead, weights.read, weights.tally))
    passed = hear(model, told, features, states=guided)
    hidden = passed.last_hidden_state
    rows, spots = (told.labels != IGNORED).nonzero(as_tuple=True)
    logits = model.lm_head(hidden[rows, spots - 1])
    truth = told.labels[rows, spots]
    losses = functional.cross_entropy(logits, truth, reduction="none")
    others = torch.ones_like(losses)
    if weights.doubtful:
        others = _UNKNOWN + (_KNOWN - _UNKNOWN) * torch.exp(-losses.detach())
    loud = torch.where(rows < weights.asked, weights.emphasis, others)
    loss = (losses * loud).sum() / loud.sum()
    looks = torch.zeros(())
    if weights.guide:
        looks = looks + weights.guide * attention_loss(model, told, passed.hidden_states)
    if weights.choose:
        looks = looks + weights.choose * choosing_loss(model, told, passed.hidden_states)
    if weights.ahead:
        looks = looks + weights.ahead * ahead_loss(model, told, passed.hidden_states)
    if weights.tally:
        looks = looks + weights.tally * tally_loss(model, told, passed.hidden_states)
    if weights.read:
        states = passed.hidden_states
        taught = reading_loss(model, told, states) + naming_loss(model, told, states[-1])
        looks = looks + weights.read * (taught + counting_loss(model, told, states[-1]))
    if record is not None:
        right = torch.ones_like(told.labels, dtype=torch.bool)
        right[rows, spots] = logits.detach().argmax(-1) == truth
        record.add(told, right, float(loss.detach()), float(looks.detach()))
    return loss + looks
