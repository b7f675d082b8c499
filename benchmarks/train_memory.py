"""Peak memory of training by method: measured on the CPU at a small size, and as computed.

Each method trains a random LLaVA of 336 pixels for three steps in a process of its own, of which
the peak of resident memory between the first step and the last is taken, beyond what it has before
the model is loaded. `llava_tools.finetune.memory` computes the same. Then follows the table of the
7B and the 13B. Needs Linux; `qlora` needs the extra of its name.

    python -m benchmarks.train_memory [--dtype bfloat16] [--table]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.llava_parts import write_parts
from benchmarks.machine import describe
from llava_tools.finetune import AlignOptions, TuneOptions, align, tune
from llava_tools.finetune.memory import SHAPES, STAGES, Load, Shape, training_memory
from llava_tools.finetune.trainer import Trainer
from tests.checkpoints import Geometry, write_checkpoint
from tests.finetune.llama_tokenizer import make_tokenizer

SMALL = Geometry(vision=(128, 3), language=(1024, 6), image=336, context_length=2048)
RECORDS, BATCH, WORDS = 12, 4, 60
#: Records of a table's micro-batch, and the tokens of one: an image and a conversation.
TABLE_RECORDS, TABLE_TOKENS, TABLE_TARGETS = 16, 800, 100


def resident(peak: bool) -> int:
    """Return the resident bytes of this process, now or at the peak since `reset_peak`."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def reset_peak() -> None:
    """Set the peak to what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def write(folder: Path) -> None:
    """Write a checkpoint, its parts, images and conversations of one length."""
    write_checkpoint(folder / "llava", shape=SMALL, tokenizer=make_tokenizer())
    write_parts(folder / "llava", folder)
    (folder / "images").mkdir()
    records = []
    for number in range(RECORDS):
        Image.new("RGB", (336, 336), (number, 0, 0)).save(folder / "images" / f"{number}.png")
        turns = [
            {"from": "human", "value": "<image>\nWhat is in the picture?"},
            {"from": "gpt", "value": "red " * WORDS},
        ]
        records.append({"image": f"{number}.png", "conversations": turns})
    (folder / "data.json").write_text(json.dumps(records))


class Measurement:
    """Measures a run of `Trainer`: what the model is, what a micro-batch has, the peak."""

    def __init__(self) -> None:
        gc.collect()
        self.before = resident(peak=False)
        self.peak, self.tokens, self.targets = 0, 0, 0
        self.shape: Shape | None = None

    def install(self) -> None:
        """Let the trainer measure, and save nothing, as its copy would count."""
        run, loss = Trainer.run, Trainer._loss

        def measured_run(trainer: Any, *arguments: Any) -> Any:
            self.shape = Shape.of(trainer._model.model)
            reset_peak()
            metrics = run(trainer, *arguments)
            self.peak = resident(peak=True)
            return metrics

        def measured_loss(trainer: Any, batch: Any) -> Any:
            self.tokens = max(self.tokens, batch.ids.numel())
            self.targets = max(self.targets, batch.target_tokens)
            return loss(trainer, batch)

        replaced: Any = Trainer
        replaced.run, replaced._loss = measured_run, measured_loss
        replaced._save = lambda trainer: None


def train(folder: Path, stage: str, out: Path, dtype: str) -> None:
    """Run three steps."""
    shared: dict[str, Any] = {
        "data": folder / "data.json", "images": folder / "images", "out": out, "device": "cpu",
        "dtype": dtype, "batch_size": BATCH, "micro_batch_size": BATCH, "warmup_ratio": 0.1,
    }  # fmt: skip
    if stage == "align":
        vision, language = str(folder / "vision"), str(folder / "language")
        align(AlignOptions(vision=vision, model=language, **shared))
    else:
        method: Any = stage
        tune(TuneOptions(model=str(folder / "llava"), method=method, rank=32, alpha=64, **shared))


def measure(folder: Path, stage: str, dtype: str) -> None:
    """Print the measured and the computed bytes of a method as JSON."""
    torch.set_num_threads(1)
    measurement = Measurement()
    measurement.install()
    train(folder, stage, folder / f"{stage}-{dtype}", dtype)
    assert measurement.shape is not None
    frozen_bytes = 4 if dtype == "float32" else 2
    load = Load(measurement.tokens, measurement.targets, 32, frozen_bytes, mask_bytes=4)
    kind: Any = stage
    computed = training_memory(kind, measurement.shape, load).total
    measured = measurement.peak - measurement.before
    print(json.dumps({"measured": measured, "computed": computed, "tokens": load.tokens}))


def measure_all(dtype: str) -> dict[str, dict[str, float]]:
    """Return the figures of each method, each measured in a process of its own."""
    # Freed memory goes back at once, so that what is resident is what is held.
    settings = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        for stage in STAGES:
            if stage == "qlora" and find_spec("bitsandbytes") is None:
                continue
            command = [sys.executable, "-m", "benchmarks.train_memory", "--dtype", dtype]
            done = subprocess.run(
                [*command, "--measure", stage, str(folder)],
                env=os.environ | settings, stdout=subprocess.PIPE, check=True,
            )  # fmt: skip
            figures[stage] = json.loads(done.stdout.splitlines()[-1])
    return figures


def print_table() -> None:
    """Print the memory of the 7B and the 13B in GB, as Markdown."""
    print("| | processes | weights | gradients | Adam | activations | all |\n|-|-|-|-|-|-|-|")
    for name, shape in SHAPES.items():
        for stage, processes in (*((stage, 1) for stage in STAGES), ("full", 4), ("full", 8)):
            load = Load(
                TABLE_RECORDS * TABLE_TOKENS, TABLE_RECORDS * TABLE_TARGETS, processes=processes
            )
            kind: Any = stage
            memory = training_memory(kind, shape, load)
            parts = (
                memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.total
            )  # fmt: skip
            cells = " | ".join(f"{part / 1e9:.1f}" for part in parts)
            print(f"| {name.upper()}, {stage} | {processes} | {cells} |")


def main() -> None:
    """Measure, and print two tables, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--table", action="store_true", help="print the computed table alone")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        stage, folder = arguments.measure
        measure(Path(folder), stage, arguments.dtype)
        return
    print_table()
    if arguments.table:
        return
    figures = measure_all(arguments.dtype)
    ratios = {}
    for stage, figure in figures.items():
        ratios[stage] = round(figure["measured"] / figure["computed"], 3)
        print(
            f"{stage:8}{figure['measured'] / 1e6:8.0f} MB measured{figure['computed'] / 1e6:8.0f} "
            f"MB computed{ratios[stage]:8.3f}"
        )
    result = {"benchmark": "train_memory", "dtype": arguments.dtype, "to_computed": ratios}
    print(json.dumps({**result, **describe()}))


if __name__ == "__main__":
    main()
