"""Refuses text models that `TransformersDecoder` would run wrongly, when they are loaded.

What each layer passes to the attention function must be understood and agree with the
configuration, and a few tokens, in steps as the engine makes them, must have the logits of the
model's own forward pass. The latter finds what no configuration tells: states beside keys and
values, and rows that mix otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from llava_tools.engine.attention import SequenceRows
from llava_tools.engine.attention_interface import LayerCall, attending
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.step_inputs import StepInputs
from llava_tools.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llava_tools.engine.attention.variants import VariantAttention
    from llava_tools.engine.kv_cache import KVShape

#: Tokens of the two sequences that are compared.
_LENGTHS = (24, 6)

#: Their shares of each step: a prompt's beginning, its end beside another prompt, a token of each.
_STEPS = (((0, 15),), ((15, 23), (0, 5)), ((23, 24), (5, 6)))

#: Largest error of logits, relative to their deviation. 16 bit round; in a mixture of experts a
#: token may take another one.
_TOLERANCE = {torch.float32: 0.002, torch.float16: 0.1, torch.bfloat16: 0.25}

#: Layers that are attention with keys and values for each token.
_LAYER_TYPES = {"full_attention", "sliding_attention"}


class CheckedDecoder(Protocol):
    """A `TransformersDecoder`, as far as it is checked."""

    causal: PreTrainedModel
    attention: VariantAttention
    kv_shape: KVShape

    def __call__(self, embeddings: Tensor, step: StepInputs) -> Tensor:
        """See `Decoder.forward`."""


def check_config(causal: PreTrainedModel) -> None:
    """Check the kinds of layers that the configuration names.

    Raises:
        ModelError: There are others than attention, full or in a sliding window.
    """
    if others := set(getattr(causal.config, "layer_types", None) or ()) - _LAYER_TYPES:
        raise refusal(causal, f"it has layers of the type {', '.join(sorted(others))}")


@torch.inference_mode()
def reference_logits(causal: PreTrainedModel) -> list[Tensor]:
    """Return the logits [tokens, vocab] of both sequences from the model's own forward pass."""
    causal.set_attn_implementation("eager")
    return [
        causal(inputs_embeds=item[None], use_cache=False).logits[0].float()
        for item in _embeddings(causal)
    ]


@torch.inference_mode()
def layer_calls(causal: PreTrainedModel) -> list[LayerCall]:
    """Return the call of each layer of a model that is set to the registered attention function.

    Raises:
        ModelError: Its layers want something of attention that the engine does not have.
    """
    calls: list[LayerCall] = []

    def record(call: LayerCall) -> Tensor:
        calls.append(call)
        return call.query.new_zeros(len(call.query), call.query.shape[1] * call.value.shape[2])

    _, short = _embeddings(causal)
    with attending(record):
        causal(inputs_embeds=short[None], use_cache=False)
    config: Any = causal.config
    if sorted(call.layer for call in calls) != list(range(config.num_hidden_layers)):
        raise refusal(
            causal, "not every layer attends, once, through transformers' attention interface"
        )
    if len({shape for call in calls for shape in (call.key.shape, call.value.shape)}) > 1:
        raise refusal(causal, "keys and values have several shapes")
    if unknown := sorted({name for call in calls for name in call.unknown}):
        raise refusal(causal, f"its attention takes {', '.join(unknown)}")
    if not all(_is_causal(call.mask) for call in calls):
        raise refusal(causal, "its attention has a mask of its own")
    _check_windows(causal, calls)
    return calls


@torch.inference_mode()
def check_logits(decoder: CheckedDecoder, expected: Sequence[Tensor]) -> None:
    """Compare a decoder's logits with those of `reference_logits`.

    Raises:
        ModelError: They differ by more than rounding explains.
    """
    causal = decoder.causal
    embeddings = _embeddings(causal)
    cache = KVCache(decoder.kv_shape, len(embeddings), embeddings[0].device)
    for shares in _STEPS:
        rows = [(index, *share) for index, share in enumerate(shares)]
        step = _step(decoder, cache, shares)
        logits = decoder(torch.cat([embeddings[i][a:b] for i, a, b in rows]), step)
        wanted = torch.cat([expected[i][a:b] for i, a, b in rows])
        error = (logits.float() - wanted).norm() / (wanted - wanted.mean()).norm()
        if not error <= _TOLERANCE[embeddings[0].dtype]:
            raise refusal(
                causal,
                f"computed in steps its logits differ by {error:.1%} from those of its own code",
            )


def _step(decoder: CheckedDecoder, cache: KVCache, shares: Sequence[tuple[int, int]]) -> StepInputs:
    """Return a step that computes tokens `begin` to `end` of each sequence."""
    sequences: list[SequenceRows] = []
    positions: list[int] = []
    slots: list[int] = []
    for index, (begin, end) in enumerate(shares):
        block = (len(_LENGTHS) - 1 - index) * BLOCK_SIZE
        sequences.append(SequenceRows(len(positions), end - begin, begin, [block]))
        positions += range(begin, end)
        slots += range(block + begin, block + end)
    device = cache.keys[0].device
    plan = decoder.attention.plan(sequences, BLOCK_SIZE)
    return StepInputs(
        positions=torch.tensor(positions, device=device),
        write=torch.tensor(slots, device=device),
        plan=plan,
        output_rows=torch.arange(len(positions), device=device),
        output_plan=plan,
        cache=cache,
    )


def refusal(causal: PreTrainedModel, reason: str) -> ModelError:
    """Return the error for a text model that cannot be run."""
    return ModelError(
        f"Text models of the type {causal.config.model_type!r} are not supported: {reason}.",
        "Run the model in a server that supports it, such as vLLM, and name it: base_url='…'.",
    )


def _embeddings(causal: PreTrainedModel) -> list[Tensor]:
    """Return the embeddings [tokens, hidden] of both sequences, of ids all over the vocabulary."""
    embedding: Any = causal.get_input_embeddings()
    ids = torch.arange(1, 1 + sum(_LENGTHS), device=embedding.weight.device) * 7919
    return list(embedding(ids % embedding.num_embeddings).split(list(_LENGTHS)))


def _is_causal(mask: Tensor | None) -> bool:
    """Whether a mask, Booleans or what is added to scores, only hides the future."""
    if mask is None:
        return True
    visible = mask if mask.dtype == torch.bool else mask == 0
    hidden = ~mask if mask.dtype == torch.bool else mask < -1e4
    future = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1)
    return bool((torch.where(future, hidden, visible)).all())


def _check_windows(causal: PreTrainedModel, calls: Sequence[LayerCall]) -> None:
    """Check that each layer that the configuration gives a sliding window passes it on."""
    types = getattr(causal.config, "layer_types", None)
    window = getattr(causal.config, "sliding_window", None)
    for call in calls:
        is_sliding = window if types is None else types[call.layer] == "sliding_attention"
        if is_sliding and call.window is None:
            raise refusal(causal, "its attention does not pass on its sliding window")
