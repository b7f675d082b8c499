"""What there is to choose about a tuning; the defaults are LLaVA 1.5's own. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llava_tools.errors import RequestError
from llava_tools.options import Dtype, EngineOptions

Method = Literal["lora", "full"]

#: Tokens of a conversation, its image's included, that LLaVA 1.5 was trained on at most.
MAX_LENGTH = 2048

#: LLaVA's learning rates: of what is tuned, and of the projector beside it.
RATES: dict[Method, tuple[float, float]] = {"lora": (2e-4, 2e-5), "full": (2e-5, 2e-5)}


@dataclass(frozen=True)
class TuneOptions:
    """One tuning, checked before anything is loaded.

    Attributes:
        model: What to begin with: `tiny`, `7b`, `13b`, a hub id or a local folder.
        data: The official conversation JSON.
        images: Folder of its images; none outside it is read. None where no record has one.
        out: Folder for the tuned checkpoint; must be new or empty.
        work: Folder for what a killed tuning goes on from; by default `out` with `.work` behind.
        method: `lora` learns low-rank changes of the language model's linear layers, `full` all of
            the language model; the projector learns in both, the vision tower in neither.
        rank: Of LoRA, >= 1.
        alpha: Of LoRA: changes are scaled by alpha / rank; > 0.
        dropout: Of LoRA's input, in [0, 1).
        rate: Peak learning rate, > 0; None for 2e-4 (LoRA) or 2e-5 (full).
        projector_rate: The projector's, >= 0, 0 leaves it as it is; None for 2e-5.
        epochs: How often every record is learned from, >= 1.
        batch: Records a step, >= 1.
        micro_batch: Records at once on one device, >= 1; the rest of a step is accumulated. Says
            how much memory is taken, not what is learned.
        max_length: Tokens of a conversation at most, its image's included; what lies beyond is
            cut off. None for 2,048, or the model's context if that is less.
        warmup: Share of the steps in which the rate rises, in [0, 1); it falls as a cosine then.
        seed: Of LoRA's beginning, the order of the records, and the dropout.
        save_every: Steps between two savings, >= 1.
        workers: Processes that read images ahead; 0 reads them between steps.
        checkpointing: Compute activations a second time rather than keep them.
        device: As in `EngineOptions`.
        dtype: In which weights that do not learn are held and all is computed; `auto` is bfloat16
            where the hardware computes in it, else float32. Weights that learn are float32.
        revision: Of the model on the hub: branch, tag or commit.
        offline: Never ask the network.

    Raises:
        RequestError: A value that is not possible.
    """

    model: str
    data: Path
    out: Path
    images: Path | None = None
    work: Path | None = None
    method: Method = "lora"
    rank: int = 128
    alpha: float = 256
    dropout: float = 0.05
    rate: float | None = None
    projector_rate: float | None = None
    epochs: int = 1
    batch: int = 128
    micro_batch: int = 16
    max_length: int | None = None
    warmup: float = 0.03
    seed: int = 0
    save_every: int = 25
    workers: int = 0
    checkpointing: bool = True
    device: str = "auto"
    dtype: Dtype = "auto"
    revision: str | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        _ = self.engine  # checks what every use of a model has
        if self.method not in ("lora", "full"):
            raise self._refuse("method", "'lora' or 'full'")
        for name in ("rank", "epochs", "batch", "micro_batch", "save_every"):
            self._check_whole(name, 1)
        self._check_whole("workers", 0)
        if self.max_length is not None:
            self._check_whole("max_length", 64)
        self._check_within("alpha", 0, math.inf, open_below=True)
        self._check_within("dropout", 0, 1)
        self._check_within("warmup", 0, 1)
        if self.rate is not None:
            self._check_within("rate", 0, math.inf, open_below=True)
        if self.projector_rate is not None:
            self._check_within("projector_rate", 0, math.inf)
        if self.dtype == "float16":
            raise self._refuse("dtype", "'auto', 'bfloat16' or 'float32': float16 loses gradients")

    def _check_whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self._refuse(name, f"a whole number of at least {least}")

    def _check_within(self, name: str, low: float, high: float, open_below: bool = False) -> None:
        value = getattr(self, name)
        if not low <= value < high or (open_below and value == low):
            least = "above" if open_below else "of at least"
            most = "" if high == math.inf else f" and below {high}"
            raise self._refuse(name, f"a number {least} {low}{most}")

    def _refuse(self, name: str, rule: str) -> RequestError:
        return RequestError(f"{name}={getattr(self, name)!r} is not possible.", f"Use {rule}.")

    @property
    def engine(self) -> EngineOptions:
        """What the model is loaded with."""
        return EngineOptions(
            self.model,
            self.device,
            self.dtype,
            revision=self.revision,
            local_files_only=self.local_files_only,
        )

    @property
    def rates(self) -> tuple[float, float]:
        """Peak learning rates of the language model and of the projector."""
        usual = RATES[self.method]
        return (
            usual[0] if self.rate is None else self.rate,
            usual[1] if self.projector_rate is None else self.projector_rate,
        )

    @property
    def work_folder(self) -> Path:
        """Where a killed tuning goes on from."""
        return self.work or self.out.with_name(self.out.name + ".work")
