"""Loads the parts of a CLIP that a LLaVA lacks: text tower, projections, end of the vision tower.

LLaVA reads the vision tower one layer before its last. A checkpoint of LLaVA 1.5 holds CLIP's whole
tower, but a fine-tuned one need not, and the embedded model's last layer was never trained with it.
So the last layer and the norm after it, a small part, come from the CLIP too. The layers before
them are LLaVA's own and are not loaded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipVisionConfig,
)
from transformers.models.clip.modeling_clip import CLIPEncoderLayer, CLIPPreTrainedModel

from llava_tools.engine.device import pick_device, pick_dtype
from llava_tools.engine.loading.checkpoint import load
from llava_tools.engine.loading.config import read_config
from llava_tools.engine.loading.processor import ImageProcessor, image_processor
from llava_tools.engine.loading.source import Source, local_folder, resolve
from llava_tools.engine.loading.tokenizer import read_tokenizer
from llava_tools.engine.loading.weights import load_weights
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ModelError
from llava_tools.options import CLIP, EmbeddingOptions, EngineOptions

#: `eos_token_id` in old CLIP configurations, which is not the token that ends their texts.
_LEGACY_EOS = 2


class _VisionTowerEnd(nn.Module):
    """A vision tower's last layer and the norm after it, with the whole tower's weight names."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        last = str(config.num_hidden_layers - 1)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleDict({last: CLIPEncoderLayer(config)})})
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return pooled outputs [images, width] for hidden states [images, 1 + patches, width]."""
        (layer,) = cast(nn.ModuleDict, self.encoder["layers"]).values()
        pooled: torch.Tensor = self.post_layernorm(layer(hidden, None)[:, 0])
        return pooled


class PartialClip(CLIPPreTrainedModel):
    """A `CLIPModel` without the layers that LLaVA has; the weights have the same names."""

    # As transformers declares it. The layers of `vision_model.` that are not here are ignored.
    _keys_to_ignore_on_load_unexpected = [r"^vision_model\.", r"\.position_ids$"]  # noqa: RUF012

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        text, vision = cast(Any, config.text_config), cast(Any, config.vision_config)
        self.text_model = CLIPTextModel._from_config(text)
        self.vision_model = _VisionTowerEnd(vision)
        size = cast(int, config.projection_dim)
        self.visual_projection = nn.Linear(vision.hidden_size, size, bias=False)
        self.text_projection = nn.Linear(text.hidden_size, size, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init_value))
        self.post_init()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Clip:
    """A loaded CLIP without the layers that LLaVA has.

    Attributes:
        name: As an index should remember it.
        model: In evaluation mode, on its device, in its dtype.
        tokenizer: Of its texts.
        eos_token_id: Id that ends, and pads, a text.
        source: Its files.
        inside_model: Whether it lies in the LLaVA's own folder and has no whole vision tower.
    """

    name: str
    model: PartialClip
    tokenizer: Tokenizer
    eos_token_id: int
    source: Source
    inside_model: bool

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return self.model.visual_projection.out_features

    @property
    def context_length(self) -> int:
        """Tokens that a text may have, begin and end included."""
        return int(cast(Any, self.model.config).text_config.max_position_embeddings)


@dataclass(frozen=True)
class VisionTower:
    """A vision tower, of which all but the last layer is used, with its image processor."""

    model: CLIPVisionModel
    processor: ImageProcessor


def load_clip(options: EmbeddingOptions) -> Clip:
    """Load the parts of the options' CLIP that LLaVA lacks.

    Raises:
        ModelNotFoundError: No such model, CLIP, folder or revision, or it cannot be reached.
        ModelError: The model's CLIP is unknown, or its weights are not complete.
    """
    source, inside_model = _source(options)
    device = pick_device(options.device)
    config = read_config(source.folder, source.name)
    if not isinstance(config, CLIPConfig):
        raise ModelError(
            f"{source.name!r} is a {config.model_type!r} model, not a CLIP ('clip').",
            f"Name a CLIP like {CLIP!r}.",
        )
    folder = source.folder.parent if inside_model else source.folder
    tokenizer = Tokenizer(read_tokenizer(folder, source.name))
    model: Any = load_weights(
        PartialClip,
        source,
        progress=not inside_model,
        config=config,
        dtype=pick_dtype(options, device),
    )
    eos_token_id = cast(Any, config).text_config.eos_token_id
    name = source.name if source.snapshot else str(source.folder)
    return Clip(
        name="llava-tools/tiny/clip" if options.source == "tiny" and inside_model else name,
        model=model.to(device),
        tokenizer=tokenizer,
        eos_token_id=tokenizer.end_of_turn if eos_token_id == _LEGACY_EOS else eos_token_id,
        source=source,
        inside_model=inside_model,
    )


def load_vision_tower(clip: Clip, options: EmbeddingOptions) -> VisionTower:
    """Load a vision tower: the CLIP's own, or the LLaVA's if the CLIP has none.

    Raises:
        ModelError: It cannot be loaded.
    """
    if clip.inside_model:
        shared = (options.device, options.dtype, options.revision, options.local_files_only)
        llava = load(EngineOptions(options.model, *shared))
        return VisionTower(cast(CLIPVisionModel, llava.model.model.vision_tower), llava.processor)
    config: Any = clip.model.config
    tower: Any = load_weights(
        CLIPVisionModel,
        clip.source,
        progress=True,
        partial=True,
        config=config.vision_config,
        dtype=clip.model.dtype,
    )
    processor = image_processor(clip.source.folder, config.vision_config)
    return VisionTower(tower.to(clip.model.device), processor)


def check_vision_tower(clip: Clip, tower: VisionTower, model: str) -> None:
    """Check by kind and shapes that a vision tower may have been taken from this CLIP.

    Raises:
        ModelError: It was taken from another one, or is a SigLIP.
    """
    if not isinstance(tower.model, CLIPVisionModel):
        raise _not_a_clip(model)
    for name in ("hidden_size", "num_hidden_layers", "image_size", "patch_size", "hidden_act"):
        theirs = getattr(cast(Any, clip.model.config).vision_config, name)
        ours = getattr(tower.model.config, name)
        if theirs != ours:
            raise ModelError(
                f"{clip.source.name!r} is not the CLIP that the vision tower of {model!r} was "
                f"taken from: {name} is {theirs} there and {ours} here.",
                "Name the right one: clip='…'.",
            )


def _source(options: EmbeddingOptions) -> tuple[Source, bool]:
    """Return the CLIP's files, and whether they lie in the model's own folder."""
    clip, revision = options.clip, options.clip_revision
    if clip is None:
        folder = local_folder(options.model)
        if folder is not None and (folder / "clip" / "config.json").is_file():
            return resolve(str(folder / "clip")), True
        clip = options.default_clip
    if clip is None:
        model = resolve(options.model, options.revision, options.local_files_only)
        vision = getattr(read_config(model.folder, model.name), "vision_config", None)
        if isinstance(vision, SiglipVisionConfig):
            raise _not_a_clip(options.model)
        raise ModelError(
            f"Which CLIP the vision tower of {options.model!r} was taken from is not known.",
            "If the tower was not trained, as in LLaVA 1.5, name the CLIP of LLaVA 1.5: "
            f"clip={CLIP!r}.",
        )
    return resolve(clip, revision, options.local_files_only), False


def _not_a_clip(model: str) -> ModelError:
    return ModelError(
        f"The vision tower of {model!r} is a SigLIP: no CLIP belongs to it, and embeddings are "
        "those of a CLIP.",
        f"Name a CLIP that is loaded beside it: clip={CLIP!r}.",
    )
