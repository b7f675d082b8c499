"""What CLIP has and LLaVA lacks: the text tower, two projections, and the end of the vision tower.

LLaVA reads the vision tower one layer before its last. A checkpoint of LLaVA 1.5 holds CLIP's whole
tower, but nothing says that a fine-tuned one still does, and the embedded model's last layer was
never trained with it; so the last layer and the norm behind it, a small part, come from the CLIP
too. The layers before them are LLaVA's own and are not loaded here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    CLIPConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
)
from transformers.models.clip.modeling_clip import CLIPEncoderLayer, CLIPPreTrainedModel
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tools.engine.device import pick_device, pick_dtype
from llava_tools.engine.loading.checkpoint import (
    image_processor,
    load,
    locate,
    not_found,
    only_errors,
    refuse_faults,
)
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ModelError
from llava_tools.options import CLIP, EmbeddingOptions, EngineOptions

_OLD_END = 2
"""`eos_token_id` of CLIP configurations that transformers takes for a mark of old files."""


class _End(nn.Module):
    """The end of a vision tower: its last layer and the norm behind it, named as in the whole."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        last = str(config.num_hidden_layers - 1)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleDict({last: CLIPEncoderLayer(config)})})
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Pooled output [images, width] for hidden states [images, 1 + patches, width]."""
        (layer,) = cast(nn.ModuleDict, self.encoder["layers"]).values()
        pooled: torch.Tensor = self.post_layernorm(layer(hidden, None)[:, 0])
        return pooled


class PartialClip(CLIPPreTrainedModel):
    """A `CLIPModel` without those layers of the vision tower that LLaVA has; names as there."""

    # As transformers declares it. Of `vision_model.` what is here is taken, the rest left out.
    _keys_to_ignore_on_load_unexpected = [r"^vision_model\.", r"\.position_ids$"]  # noqa: RUF012

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        text, vision = cast(Any, config.text_config), cast(Any, config.vision_config)
        self.text_model = CLIPTextModel._from_config(text)
        self.vision_model = _End(vision)
        size = cast(int, config.projection_dim)
        self.visual_projection = nn.Linear(vision.hidden_size, size, bias=False)
        self.text_projection = nn.Linear(text.hidden_size, size, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init_value))
        self.post_init()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Clip:
    """A loaded CLIP but for the vision tower.

    Attributes:
        name: As an index should remember it.
        model: In evaluation mode, on its device, in its dtype.
        text: Its tokenizer.
        end: Id that ends, and pads, a text.
        where: Folder or hub id.
        beside: Whether it lies in the LLaVA's own folder and holds no eye.
    """

    name: str
    model: PartialClip
    text: Tokenizer
    end: int
    where: str
    beside: bool

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return self.model.visual_projection.out_features

    @property
    def context_length(self) -> int:
        """Tokens that a text may have, its begin and end included."""
        return int(cast(Any, self.model.config).text_config.max_position_embeddings)


@dataclass(frozen=True)
class Eye:
    """A vision tower, of which all but the last layer is used, and how images come to it."""

    tower: CLIPVisionModel
    processor: LlavaImageProcessorPil


def load_clip(options: EmbeddingOptions) -> Clip:
    """Load all of the options' CLIP that does not belong to LLaVA.

    Raises:
        ModelNotFoundError: No such model, CLIP, folder or revision, or it cannot be reached.
        ModelError: Which CLIP belongs to the model is not known, or its weights are not whole.
    """
    where, beside = _locate(options)
    device = pick_device(options.device)
    hub = _hub(options)
    try:
        config = AutoConfig.from_pretrained(where, **hub)
        if not isinstance(config, CLIPConfig):
            raise ModelError(
                f"{where!r} is a {config.model_type!r} model, not a CLIP ('clip').",
                f"Name a CLIP like {CLIP!r}.",
            )
        with only_errors(progress=not beside and sys.stderr.isatty()):
            loaded: Any = PartialClip.from_pretrained(
                where,
                config=config,
                dtype=pick_dtype(options, device),
                attn_implementation="sdpa",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported like the others, and refused below
                **hub,
            )
        tokens = str(Path(where).parent) if beside else where
        tokenizer: Any = AutoTokenizer.from_pretrained(tokens, **hub)
    except OSError as error:
        raise not_found(where, hub["revision"], options.local_files_only, error) from error
    refuse_faults(loaded[1], where)
    model: PartialClip = loaded[0].to(device).eval()
    configured = cast(Any, config).text_config.eos_token_id
    text = Tokenizer(tokenizer)
    return Clip(
        name="llava-tools/tiny/clip" if options.source == "tiny" and beside else where,
        model=model,
        text=text,
        end=text.end_of_turn if configured == _OLD_END else configured,
        where=where,
        beside=beside,
    )


def load_eye(clip: Clip, options: EmbeddingOptions) -> Eye:
    """Load the vision tower that no engine lends: the CLIP's own, or the LLaVA's where that CLIP has none.

    Raises:
        ModelError: It cannot be loaded.
    """
    if clip.beside:
        llava = load(
            EngineOptions(
                options.model,
                options.device,
                options.dtype,
                options.revision,
                options.local_files_only,
            )
        )
        return Eye(cast(CLIPVisionModel, llava.model.model.vision_tower), llava.processor)
    hub = _hub(options)
    config: Any = clip.model.config
    try:
        with only_errors(progress=sys.stderr.isatty()):
            loaded: Any = CLIPVisionModel.from_pretrained(
                clip.where,
                config=config.vision_config,
                dtype=clip.model.dtype,
                attn_implementation="sdpa",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **hub,
            )
        processor = image_processor(clip.where, config.vision_config, hub)
    except OSError as error:
        raise not_found(clip.where, hub["revision"], options.local_files_only, error) from error
    refuse_faults(loaded[1] | {"unexpected_keys": set()}, clip.where)
    return Eye(loaded[0].to(clip.model.device).eval(), processor)


def refuse_other_eye(clip: Clip, eye: Eye, model: str) -> None:
    """Make sure that a CLIP could be the one that the vision tower was taken from, as far as shapes tell.

    Raises:
        ModelError: It cannot.
    """
    names = ("hidden_size", "num_hidden_layers", "image_size", "patch_size", "hidden_act")
    ours, theirs = cast(Any, clip.model.config).vision_config, eye.tower.config
    for name in names:
        if getattr(ours, name) != getattr(theirs, name):
            raise ModelError(
                f"{clip.where!r} is not the CLIP that the eye of {model!r} was taken from: "
                f"{name} is {getattr(ours, name)} there and {getattr(theirs, name)} here.",
                "Name the right one: clip='…'.",
            )


def _locate(options: EmbeddingOptions) -> tuple[str, bool]:
    """Return folder or hub id of the CLIP, and whether it lies in the model's own folder."""
    if options.clip is not None:
        path = Path(options.clip).expanduser()
        return (str(path) if path.is_dir() else options.clip), False
    beside = Path(locate(options)) / "clip"
    if (beside / "config.json").is_file():
        return str(beside), True
    if (usual := options.default_clip) is not None:
        return usual, False
    raise ModelError(
        f"Which CLIP the eye of {options.model!r} was taken from is not known.",
        f"If its training left the eye as it was, as LLaVA 1.5 did, name that: clip={CLIP!r}.",
    )


def _hub(options: EmbeddingOptions) -> dict[str, Any]:
    return {"revision": options.clip_revision, "local_files_only": options.local_files_only}
