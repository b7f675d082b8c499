"""Random-weight checkpoints in LLaVA's original layout, written from its published facts.

Names of weights, fields of config.json: haotian-liu/LLaVA, llava/model/llava_arch.py and
llava/model/multimodal_projector/builder.py; config.json of liuhaotian/llava-v1.5-7b.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from torch.nn import functional
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.checkpoints import CORPUS

WIDTH, LAYERS, TOWER_WIDTH, TOWER_LAYERS, SIDE = 64, 2, 32, 3, 56
Weights = dict[str, torch.Tensor]


def write_sentencepiece(folder: Path) -> SentencePieceProcessor:
    """Write a tokenizer.model like Llama's, without any other file of a tokenizer."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 5),
        model_writer=model,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return SentencePieceProcessor(model_proto=model.getvalue())


def write_clip(folder: Path, *, pickled: bool = False) -> Path:
    """Write a CLIP as OpenAI's are published: both towers, a cropping image processor."""
    torch.manual_seed(1)
    model = CLIPModel(
        CLIPConfig(
            text_config=CLIPTextConfig(
                vocab_size=99,
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                bos_token_id=0,
                eos_token_id=2,
            ),
            vision_config=CLIPVisionConfig(
                hidden_size=TOWER_WIDTH,
                intermediate_size=4 * TOWER_WIDTH,
                num_hidden_layers=TOWER_LAYERS,
                num_attention_heads=2,
                image_size=SIDE,
                patch_size=14,
            ),
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)
    return folder


@dataclass
class Original:
    """A checkpoint in the original layout, and its computation.

    Attributes:
        folder: Of the checkpoint.
        clip: Folder of its CLIP.
        config: config.json.
        weights: By their original names, without the vision tower.
        pieces: SentencePiece's own tokenizer.
    """

    folder: Path
    clip: Path
    config: dict[str, Any]
    weights: Weights
    pieces: SentencePieceProcessor
    _llama: LlamaForCausalLM = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._llama = LlamaForCausalLM(
            LlamaConfig(**{k: v for k, v in self.config.items() if not k.startswith("mm_")})
        ).eval()
        language = {k: v for k, v in self.weights.items() if "mm_projector" not in k}
        self._llama.load_state_dict(language, strict=True)

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return [images, patches, width]: second-last layer, without CLS, two-layer MLP."""
        tower = CLIPVisionModel.from_pretrained(self.clip, dtype=torch.float32).eval()
        with torch.inference_mode():
            states = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
            w = {k.removeprefix("model.mm_projector."): v for k, v in self.weights.items()}
            hidden = functional.gelu(functional.linear(states, w["0.weight"], w["0.bias"]))
            projected: torch.Tensor = functional.linear(hidden, w["2.weight"], w["2.bias"])
        return projected

    def logits(self, ids: list[int], image: int, features: torch.Tensor) -> torch.Tensor:
        """Return [tokens, pieces]. Each `image` among the ids is one feature of an image."""
        tokens = torch.tensor(ids)
        with torch.inference_mode():
            embeddings = self._llama.model.embed_tokens(tokens.where(tokens != image, 0)).clone()
            embeddings[tokens == image] = features.flatten(0, 1)
            logits: torch.Tensor = self._llama(inputs_embeds=embeddings[None]).logits[0]
        return logits

    def as_llava(self, rows: int) -> LlavaForConditionalGeneration:
        """Return transformers' model with the same weights, and embeddings of so many rows."""
        tower = CLIPVisionModel.from_pretrained(self.clip, dtype=torch.float32)
        text = LlamaConfig(**self._llama.config.to_dict() | {"vocab_size": rows})
        model = LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=tower.config,
                text_config=text,
                image_token_index=self.pieces.vocab_size(),
            )
        )
        language = model.model.language_model.state_dict()
        for name, tensor in self._llama.model.state_dict().items():
            language[name][: tensor.shape[0]].copy_(tensor)
        model.lm_head.weight.data.zero_()  # some logit of another token is above 0
        model.lm_head.weight.data[: self.pieces.vocab_size()] = self.weights["lm_head.weight"]
        model.model.vision_tower.load_state_dict(tower.state_dict())
        for number, layer in (
            ("0", model.model.multi_modal_projector.linear_1),
            ("2", model.model.multi_modal_projector.linear_2),
        ):
            layer.weight.data = self.weights[f"model.mm_projector.{number}.weight"]
            layer.bias.data = self.weights[f"model.mm_projector.{number}.bias"]
        model.eval()
        return model

    def greedy(self, ids: list[int], image: int, features: torch.Tensor, count: int) -> list[int]:
        """Return the likeliest tokens, computed anew for each, until `</s>`."""
        tokens: list[int] = []
        while len(tokens) < count:
            tokens.append(int(self.logits([*ids, *tokens], image, features)[-1].argmax()))
            if tokens[-1] == self.pieces.eos_id():
                break
        return tokens


def write_original(
    folder: Path, *, pickled: bool = True, with_tower: bool = False, **fields: Any
) -> Original:
    """Write a checkpoint, and its CLIP beside it.

    Args:
        folder: Is created, with `original` and `clip` inside.
        pickled: Weights in two pickled files, as published; else in one of safetensors.
        with_tower: Whether the weights hold the vision tower, as later releases do.
        fields: Of config.json, to be changed; a None removes one.
    """
    original = folder / "original"
    original.mkdir(parents=True)
    clip = write_clip(folder / "clip", pickled=pickled)
    pieces = write_sentencepiece(original)
    config = _config(pieces.vocab_size(), str(clip))
    weights = _weights(pieces.vocab_size())
    stored = dict(weights)
    stored["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)
    if with_tower:
        tower = CLIPModel.from_pretrained(clip, dtype=torch.float32).vision_model.state_dict()
        prefix = "model.vision_tower.vision_tower.vision_model."
        stored |= {prefix + name: tensor for name, tensor in tower.items()}
    write_weights(original, stored, pickled=pickled)
    published = {k: v for k, v in (config | fields).items() if v is not None}
    (original / "config.json").write_text(json.dumps(published), encoding="utf-8")
    (original / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "pad_token": "<unk>", "legacy": False}),
        encoding="utf-8",
    )
    (original / "LICENSE").write_text("LLAMA 2 COMMUNITY LICENSE AGREEMENT", encoding="utf-8")
    return Original(original, clip, config, weights, pieces)


def write_weights(folder: Path, weights: Weights, *, pickled: bool) -> None:
    """Write two pickled files with an index, or one file of safetensors."""
    if not pickled:
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(weights)
    half = len(names) // 2
    places: dict[str, str] = {}
    for number, part in enumerate((names[:half], names[half:]), start=1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: weights[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": places}),
        encoding="utf-8",
    )


def _config(vocab_size: int, clip: str) -> dict[str, Any]:
    return {
        "architectures": ["LlavaLlamaForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "image_aspect_ratio": "pad",
        "initializer_range": 0.02,
        "intermediate_size": 160,
        "max_position_embeddings": 512,
        "mm_hidden_size": TOWER_WIDTH,
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": clip,
        "model_type": "llava",
        "num_attention_heads": 4,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.31.0",
        "tune_mm_mlp_adapter": False,
        "unfreeze_mm_vision_tower": False,
        "use_cache": True,
        "use_mm_proj": True,
        "vocab_size": vocab_size,
    }


def _weights(vocab_size: int) -> Weights:
    """Large random weights, so that rounding does not change the likeliest token."""
    torch.manual_seed(0)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns).mul_(1.5 / columns**0.5)

    weights = {"model.embed_tokens.weight": matrix(vocab_size, WIDTH)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name, rows in {"q": WIDTH, "k": WIDTH // 2, "v": WIDTH // 2, "o": WIDTH}.items():
            weights[f"{prefix}self_attn.{name}_proj.weight"] = matrix(rows, WIDTH)
        weights[f"{prefix}mlp.gate_proj.weight"] = matrix(160, WIDTH)
        weights[f"{prefix}mlp.up_proj.weight"] = matrix(160, WIDTH)
        weights[f"{prefix}mlp.down_proj.weight"] = matrix(WIDTH, 160)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{name}.weight"] = torch.rand(WIDTH) + 0.5
    weights["model.norm.weight"] = torch.rand(WIDTH) + 0.5
    weights["model.mm_projector.0.weight"] = matrix(WIDTH, TOWER_WIDTH)
    weights["model.mm_projector.0.bias"] = torch.randn(WIDTH) * 0.1
    weights["model.mm_projector.2.weight"] = matrix(WIDTH, WIDTH)
    weights["model.mm_projector.2.bias"] = torch.randn(WIDTH) * 0.1
    weights["lm_head.weight"] = matrix(vocab_size, WIDTH)
    return weights
