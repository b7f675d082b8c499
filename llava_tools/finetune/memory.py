"""Bytes of a device's memory that training takes, by method: computed, nothing is loaded.

Of `parameters` and `trainer` follow, with h, k and i the widths of the language model, of its keys
and of its MLP, and t the tokens of a micro-batch:

- Weights: 2 bytes for a frozen one (4 in float32), 4 for a trained one. One that QLoRA rounds has
  half a byte, a byte per 64 for their scale, and 4 bytes per 256 scales.
- Gradients: 4 bytes for a trained weight, and 8 for Adam's two moments.
- Activations: the input of each decoder layer, t·h values, and one layer's that are recomputed: for
  each token the values that its norms, attention and MLP keep for the backward pass
  (`_layer_bytes`). Residuals are float32 if the embeddings (full) or the norms (QLoRA) are. The
  frozen vision tower keeps nothing.
- Logits: at target tokens only; those of 16 bit, in float32, and the gradients of both.

Split between N processes, weights, gradients and moments take 1/N each. A process further gathers
what is outside the decoder layers, with its gradients, and two layers, one with its gradients.

Left out: the allocator's fragmentation, CUDA's context (about 0.5 GB), images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["align", "lora", "qlora", "full"]
STAGES: tuple[Stage, ...] = ("align", "lora", "qlora", "full")

#: Bytes of a weight in 4 bit: itself, and its share of the scales of both levels.
_FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class Shape:
    """Sizes of a LLaVA whose language model is a Llama; the widths are in values.

    Attributes:
        width: Of the language model's residuals.
        key_width: Of the keys of all heads.
        mlp_width: Of the MLP.
        layers: Of the language model.
        vocabulary: Rows of its embeddings.
        vision_width: Of the vision tower.
        vision_weights: Number of the vision tower's weights.
    """

    width: int
    key_width: int
    mlp_width: int
    layers: int
    vocabulary: int
    vision_width: int
    vision_weights: int

    @classmethod
    def of(cls, model: Any) -> Shape:
        """Return that of a `LlavaForConditionalGeneration`."""
        text, vision = model.config.text_config, model.config.vision_config
        return cls(
            text.hidden_size,
            text.hidden_size // text.num_attention_heads * text.num_key_value_heads,
            text.intermediate_size,
            text.num_hidden_layers,
            text.vocab_size,
            vision.hidden_size,
            sum(weight.numel() for weight in model.model.vision_tower.parameters()),
        )

    @property
    def linear(self) -> int:
        """Weights of a layer's seven matrices."""
        return self.width * (2 * self.width + 2 * self.key_width + 3 * self.mlp_width)

    @property
    def norms(self) -> int:
        """Weights of a layer's two norms."""
        return 2 * self.width

    @property
    def embeddings(self) -> int:
        """Weights of the embeddings, the head, and the norm before it."""
        return 2 * self.vocabulary * self.width + self.width

    @property
    def projector(self) -> int:
        """Weights of the projector."""
        return self.width * (self.vision_width + self.width + 2)

    def lora(self, rank: int) -> int:
        """Weights of a layer's low-rank updates."""
        inputs = 6 * self.width + self.mlp_width
        outputs = 3 * self.width + 2 * self.key_width + 2 * self.mlp_width
        return rank * (inputs + outputs)


#: LLaVA 1.5's; the tower is CLIP-L/14 with 336 pixels.
SHAPES = {
    "7b": Shape(4096, 4096, 11008, 32, 32064, 1024, 303_507_456),
    "13b": Shape(5120, 5120, 13824, 40, 32064, 1024, 303_507_456),
}


@dataclass(frozen=True)
class Load:
    """What a device works on at once.

    Attributes:
        tokens: Of a micro-batch, images and padding included.
        targets: Of these, tokens with loss.
        rank: Of LoRA.
        frozen_bytes: Of a frozen weight: 2 in 16 bit, 4 in float32.
        processes: Number of them between which the model is split.
        mask_bytes: Of a value of dropout's mask: 1 on CUDA, 4 on a CPU.
    """

    tokens: int
    targets: int
    rank: int = 128
    frozen_bytes: int = 2
    processes: int = 1
    mask_bytes: int = 1


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """The sum of all."""
        return self.weights + self.gradients + self.optimizer + self.activations


def training_memory(stage: Stage, shape: Shape, load: Load) -> Memory:
    """Return the memory that a method needs at its peak; module docstring: how.

    Args:
        stage: Stage 1, or the method of stage 2.
        shape: Of the model.
        load: Of one device.
    """
    trained_layer, layer_bytes = _layer(stage, shape, load)
    trained_rest = shape.projector + (shape.embeddings if stage == "full" else 0)
    frozen_rest = shape.vision_weights + (0 if stage == "full" else shape.embeddings)
    rest_bytes = 4 * trained_rest + load.frozen_bytes * frozen_rest
    trained = shape.layers * trained_layer + trained_rest
    weights = shape.layers * layer_bytes + rest_bytes
    share = 1 / load.processes
    gathered, gathered_gradients = 0.0, 0
    if load.processes > 1:
        gathered = rest_bytes + 2 * layer_bytes
        gathered_gradients = 4 * (trained_rest + trained_layer)
    return Memory(
        weights=weights * share + gathered,
        gradients=4 * trained * share + gathered_gradients,
        optimizer=8 * trained * share,
        activations=_activations(stage, shape, load),
    )


def _layer(stage: Stage, shape: Shape, load: Load) -> tuple[int, float]:
    """Return the number of a layer's trained weights, and the bytes of all of its weights."""
    if stage == "full":
        trained = shape.linear + shape.norms
        return trained, 4 * trained
    whole = load.frozen_bytes * (shape.linear + shape.norms)
    if stage == "align":
        return 0, whole
    lora = shape.lora(load.rank)
    if stage == "lora":
        return lora, whole + 4 * lora
    return lora, _FOUR_BIT * shape.linear + 4 * shape.norms + 4 * lora


def _activations(stage: Stage, shape: Shape, load: Load) -> float:
    residual = 4 if stage in ("full", "qlora") else load.frozen_bytes
    inputs = shape.layers * shape.width * residual
    layer = _layer_bytes(stage, shape, load, residual)
    computed = load.frozen_bytes  # 16 bit, or float32, of which there is one copy then
    logits = load.targets * shape.vocabulary * (2 * 4 + (2 * computed if computed == 2 else 0))
    return float(load.tokens * (inputs + layer) + logits)


def _layer_bytes(stage: Stage, shape: Shape, load: Load, residual: int) -> int:
    """Return what a layer keeps for its backward pass, and the gradients there, for a token."""
    h, k, i, computed = shape.width, shape.key_width, shape.mlp_width, load.frozen_bytes
    norms = 2 * (2 * 4 + residual + computed) * h  # float32 before and after the scale
    attention = computed * (5 * h + 3 * k)  # q and k before and after rotation, v, the output
    mlp = computed * 4 * i  # gate and up, the activation, their product
    residuals = 2 * residual * h
    gradients = computed * (2 * i + h)
    lora = 0
    if stage in ("lora", "qlora"):  # each matrix's input after dropout, and dropout's mask
        lora = (computed + load.mask_bytes) * (6 * h + i)
    return norms + attention + mlp + residuals + gradients + lora
