"""Runs any text model of transformers over the engine's KV, through its attention interface.

In each layer the new keys and values are written to the KV, and each sequence attends to its own.
All else, the family's scaling of logits included, is transformers' forward pass.
`architecture_check` refuses the models that this would run wrongly.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from llava_tools.engine import architecture_check, attention_interface
from llava_tools.engine.architecture_check import refusal
from llava_tools.engine.attention.variants import VariantAttention
from llava_tools.engine.attention_interface import LayerCall, attending
from llava_tools.engine.kv_cache import KVShape
from llava_tools.engine.linear import join
from llava_tools.engine.quantized_linear import unsupported_error
from llava_tools.options import Quantization

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

    from llava_tools.engine.attention import Attention
    from llava_tools.engine.step_inputs import StepInputs


class TransformersDecoder(nn.Module):
    """The language model of a LLaVA, run by its own code of transformers.

    Its linear layers are packed where that is possible. Nothing is known of what else it does, so
    it is no candidate for a CUDA graph.

    Args:
        model: The LLaVA. Its language model attends through the decoder only from now on.
        attention: The attention plug.
        quantization: Of weights on a CPU, which is refused.

    Attributes:
        causal: The language model with its head, as a causal model of its own.
        attention: Makes the plans of its steps.
        kv_shape: What it writes for each token.

    Raises:
        ModelError: The architecture cannot be run this way; the message names it.
    """

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        attention: Attention,
        quantization: Quantization | None = None,
    ) -> None:
        super().__init__()
        self.causal = causal_model(model)
        if quantization is not None:
            raise unsupported_error(quantization, self.causal.config.model_type)
        architecture_check.check_config(self.causal)
        expected = architecture_check.reference_logits(self.causal)
        attention_interface.register()
        self.causal.set_attn_implementation(attention_interface.ATTENTION)
        calls = architecture_check.layer_calls(self.causal)
        has_variants = any(call.variant for call in calls)
        self.attention: Any = VariantAttention(attention) if has_variants else attention
        _, kv_heads, head_dim = (key := calls[0].key).shape
        self.kv_shape = KVShape(len(calls), kv_heads, head_dim, key.dtype)
        if self.causal.device.type == "cpu":
            _pack(self.causal)
        model.lm_head = self.causal.get_output_embeddings()
        architecture_check.check_logits(self, expected)

    def forward(self, embeddings: Tensor, step: StepInputs) -> Tensor:
        """Return logits [output rows, vocab] for embeddings [rows, hidden]; see `Decoder`."""

        def attend(call: LayerCall) -> Tensor:
            keys, values = step.cache.keys[call.layer], step.cache.values[call.layer]
            keys[step.write], values[step.write] = call.key, call.value
            output: Tensor = self.attention(
                step.plan, call.query, keys, values, call.scale, **call.variant
            )
            return output

        with attending(attend):
            output = self.causal(
                inputs_embeds=embeddings[None],
                position_ids=step.positions[None],
                use_cache=False,
                logits_to_keep=step.output_rows,
            )
        return cast(Tensor, output.logits[0])


def causal_model(model: LlavaForConditionalGeneration) -> PreTrainedModel:
    """Return the language model of a LLaVA as a causal model of its own that shares all weights.

    Raises:
        ModelError: transformers has no causal model for it.
    """
    text: PreTrainedModel = model.model.language_model
    with torch.device("meta"):
        causal: PreTrainedModel = AutoModelForCausalLM.from_config(
            model.config.text_config, attn_implementation="eager", trust_remote_code=False
        )
    if type(causal.base_model) is not type(text):
        raise refusal(text, f"transformers runs it as {type(causal).__name__}")
    setattr(causal, causal.base_model_prefix, text)
    causal.set_output_embeddings(model.lm_head)
    if others := [name for name, item in causal.named_parameters() if item.is_meta]:
        raise refusal(text, f"it has weights that a LLaVA does not hold, such as {others[0]}")
    causal.eval()
    return causal


def _pack(causal: PreTrainedModel) -> None:
    """Replace each linear layer by a packed one where that is possible."""

    def pack_children(module: nn.Module) -> None:
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, join([child]))

    # Packing is done on one thread for each layer, without Python's lock.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(pack_children, list(causal.modules())))
