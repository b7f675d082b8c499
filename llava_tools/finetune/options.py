"""Settings of a fine-tuning run; the defaults are LLaVA 1.5's own. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llava_tools.chat.formats import FORMATS, ConversationName
from llava_tools.options import CLIP, LoadOptions

Method = Literal["lora", "qlora", "full"]

DEFAULT_MAX_LENGTH = 2048
"""The longest conversation in tokens, image included, that LLaVA 1.5 was trained on."""

DEFAULT_RATES: dict[Method, tuple[float, float]] = {
    "lora": (2e-4, 2e-5),
    "qlora": (2e-4, 2e-5),
    "full": (2e-5, 2e-5),
}
"""LLaVA's learning rates of the language model and of the projector in the second stage."""

#: Options that may differ when a run resumes. `data` may be another path, with the same content.
MAY_CHANGE_ON_RESUME = {"out", "work", "images", "data"}
MAY_CHANGE_ON_RESUME |= {
    "micro_batch_size",
    "save_every",
    "workers",
    "device",
    "tensorboard",
    "shard",
}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(LoadOptions):
    """The settings that both stages have, checked before anything is loaded.

    `dtype` is that of frozen weights and of computation: `auto` is bfloat16 where the hardware
    computes in it, else float32. Trained weights are float32.

    Attributes:
        data: LLaVA's conversation JSON.
        images: Folder of its images; no image outside it is read. None if no record has one.
        out: Folder for the trained checkpoint; must be new or empty.
        work: Folder for the state that a killed run resumes from; by default `out` plus `.work`.
        epochs: Passes over all records, >= 1.
        batch_size: Records per step, >= 1.
        micro_batch_size: Records on one device at once, >= 1; gradients are accumulated. It
            changes the memory needed, not the result.
        max_length: Longest conversation in tokens, image included; longer ones are truncated. None
            for 2,048, or the model's context if that is less.
        warmup_ratio: Fraction of the steps in which the rate rises, in [0, 1); then a cosine.
        seed: Of new weights, the order of the records, and dropout.
        held_out: Share of the records, in [0, 1), that are not trained on, but evaluated.
        evaluate_every: Steps between two evaluations of them, >= 1; the last step has one, too.
        tensorboard: Write the losses for TensorBoard, to `tensorboard` in the folder `work`.
        save_every: Steps between two saves, >= 1.
        workers: Processes that read images ahead; 0 reads them between steps.
        gradient_checkpointing: Recompute activations in the backward pass instead of keeping them.
        shard: Split weights, gradients and optimizer state between the processes (FSDP2); done
            anyway if the configuration of `accelerate launch` has FSDP.

    Raises:
        RequestError: An impossible value.
    """

    model: str = field()  # required here
    data: Path
    out: Path
    images: Path | None = None
    work: Path | None = None
    epochs: int = 1
    batch_size: int = 128
    micro_batch_size: int = 16
    max_length: int | None = None
    warmup_ratio: float = 0.03
    seed: int = 0
    held_out: float = 0.0
    evaluate_every: int = 100
    tensorboard: bool = False
    save_every: int = 25
    workers: int = 0
    gradient_checkpointing: bool = True
    shard: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "epochs", "batch_size", "micro_batch_size", "evaluate_every", "save_every"
        ):  # fmt: skip
            self._check_whole(name, 1)
        self._check_whole("workers", 0)
        if self.max_length is not None:
            self._check_whole("max_length", 64)
        self._check_within("warmup_ratio", 0, 1)
        self._check_within("held_out", 0, 1)
        rule = "'auto', 'bfloat16' or 'float32': float16 loses gradients"
        self._check("dtype", self.dtype != "float16", rule)

    def _check_whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        valid = isinstance(value, int) and not isinstance(value, bool) and value >= least
        self._check(name, valid, f"a whole number of at least {least}")

    def _check_within(self, name: str, low: float, high: float, open_below: bool = False) -> None:
        value = getattr(self, name)
        valid = low <= value < high and not (open_below and value == low)
        least = "above" if open_below else "of at least"
        most = "" if high == math.inf else f" and below {high}"
        self._check(name, valid, f"a number {least} {low}{most}")

    @property
    def work_folder(self) -> Path:
        """The folder of the state that a killed run resumes from."""
        return self.work or self.out.with_name(self.out.name + ".work")


@dataclass(frozen=True, kw_only=True)
class AlignOptions(TrainingOptions):
    """The settings of the first stage, which makes a LLaVA of a vision tower and a language model.

    Only the projector between them is trained, on captions. The defaults are LLaVA 1.5's
    (scripts/v1_5/pretrain.sh).

    Attributes:
        vision: Hub id or folder of the CLIP whose vision tower sees.
        model: Hub id or folder of the language model, such as `lmsys/vicuna-7b-v1.5`.
        vision_revision: Branch, tag or commit of the CLIP on the hub; `revision` is the language
            model's.
        learning_rate: Peak learning rate of the projector, > 0.

    Raises:
        RequestError: An impossible value.
    """

    vision: str
    vision_revision: str | None = None
    learning_rate: float = 1e-3
    batch_size: int = 256
    micro_batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = isinstance(self.vision, str) and self.vision.strip() != ""
        self._check("vision", valid, f"a hub id like {CLIP!r} or a folder")
        valid = self.vision_revision is None or isinstance(self.vision_revision, str)
        self._check("vision_revision", valid, "a branch, tag or commit, or None")
        self._check_within("learning_rate", 0, math.inf, open_below=True)

    @property
    def learning_rates(self) -> tuple[float, float]:
        """Peak learning rates of the language model, 0 here, and of the projector."""
        return 0.0, self.learning_rate


@dataclass(frozen=True, kw_only=True)
class TuneOptions(TrainingOptions):
    """The settings of the second stage, which tunes a LLaVA on conversations.

    `model` is what to start from. The defaults are LLaVA 1.5's (scripts/v1_5/finetune_lora.sh and
    finetune.sh).

    Attributes:
        conversation: Conversation format to train on: `vicuna_v1`, `chatml`, `llama3`, `phi3` or
            `joycaption`; None for the checkpoint's.
        method: `lora` trains low-rank updates of the language model's linear layers, `qlora` the
            same on weights that bitsandbytes rounds to 4 bit, `full` all of the language model.
            All train the projector, none the vision tower.
        rank: Of LoRA, >= 1.
        alpha: Of LoRA: updates are scaled by alpha / rank; > 0.
        dropout: Of LoRA's input, in [0, 1).
        learning_rate: Peak learning rate, > 0; None for 2e-4 (LoRA, QLoRA) or 2e-5 (full).
        projector_learning_rate: Of the projector, >= 0; 0 freezes it; None for 2e-5.

    Raises:
        RequestError: An impossible value.
    """

    conversation: ConversationName | None = None
    method: Method = "lora"
    rank: int = 128
    alpha: float = 256
    dropout: float = 0.05
    learning_rate: float | None = None
    projector_learning_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("method", self.method in DEFAULT_RATES, "'lora', 'qlora' or 'full'")
        rule = "method='lora', or several processes without shard: 4-bit weights are not split"
        self._check("shard", not (self.shard and self.method == "qlora"), rule)
        valid = self.conversation in (None, *FORMATS)
        self._check("conversation", valid, f"{', '.join(map(repr, FORMATS))} or None")
        self._check_whole("rank", 1)
        self._check_within("alpha", 0, math.inf, open_below=True)
        self._check_within("dropout", 0, 1)
        if self.learning_rate is not None:
            self._check_within("learning_rate", 0, math.inf, open_below=True)
        if self.projector_learning_rate is not None:
            self._check_within("projector_learning_rate", 0, math.inf)

    @property
    def learning_rates(self) -> tuple[float, float]:
        """Peak learning rates of the language model and of the projector."""
        language, projector = DEFAULT_RATES[self.method]
        return (
            language if self.learning_rate is None else self.learning_rate,
            projector if self.projector_learning_rate is None else self.projector_learning_rate,
        )


StageOptions = AlignOptions | TuneOptions
"""The settings of either stage."""
