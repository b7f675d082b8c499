"""The attention function that transformers' text models call, through its public registry.

Registered under a name of its own, it passes each layer's call to what `attending` has set on the
thread. transformers makes no attention masks for that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface

#: The name, for `set_attn_implementation`.
ATTENTION = "llava_tools"

#: Keywords that change nothing here: positions are those of the step, dropout is for training.
_IGNORED = {"dropout", "position_ids", "cache_position"}


@dataclass(frozen=True)
class LayerCall:
    """What a layer asks its attention for.

    Attributes:
        layer: Index of the layer.
        query: [rows, heads, head_dim].
        key: [rows, kv_heads, head_dim], as the KV keeps it.
        value: The same.
        scale: Factor of the scores.
        window: See `VariantAttention`.
        softcap: See `VariantAttention`.
        sinks: See `VariantAttention`.
        mask: transformers' mask, which is ignored: some models make one for any attention.
        unknown: Names of numbers and tensors that are not understood.
    """

    layer: int
    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    window: int | None
    softcap: float | None
    sinks: Tensor | None
    mask: Tensor | None
    unknown: tuple[str, ...]

    @property
    def variant(self) -> dict[str, Any]:
        """What it asks for beside plain attention, as arguments of `VariantAttention`."""
        options = {"window": self.window, "softcap": self.softcap, "sinks": self.sinks}
        return {name: item for name, item in options.items() if item is not None}


#: Returns a layer's output, [rows, heads * head_dim].
Attend = Callable[[LayerCall], Tensor]

_attend: ContextVar[Attend] = ContextVar("llava_tools_attend")


@contextmanager
def attending(attend: Attend) -> Iterator[None]:
    """Have the models that this thread runs attend through a function."""
    token = _attend.set(attend)
    try:
        yield
    finally:
        _attend.reset(token)


def register() -> None:
    """Register the attention function with transformers; more than once changes nothing."""
    AttentionInterface.register(ATTENTION, _attention)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Compute a layer's attention for tensors [1, heads, rows, head_dim].

    transformers' convention; the result is [1, rows, heads, head_dim] and no weights.
    """
    # Models pass their own flags down as well (`use_cache`); what changes scores is no flag.
    unknown = {
        name
        for name, item in others.items()
        if isinstance(item, Tensor | int | float) and not isinstance(item, bool)
    }
    query, key, value = (item[0].transpose(0, 1) for item in (query, key, value))
    call = LayerCall(
        layer=int(getattr(module, "layer_idx", -1)),
        query=query.contiguous(),
        key=key,
        value=value,
        scale=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        window=sliding_window,
        softcap=softcap,
        sinks=s_aux,
        mask=attention_mask,
        unknown=tuple(sorted(unknown - _IGNORED)),
    )
    return _attend.get()(call).unflatten(1, (query.shape[1], -1))[None], None
