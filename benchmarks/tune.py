"""Both stages on random weights of real geometry, killed and resumed, and split between processes.

A random CLIP and a random Llama with 336 pixels and 576 tokens per image, at a small width and
depth, become a LLaVA (stage 1), which memorizes 64 images with an answer each (stage 2, LoRA).
Reports the fall of the loss, the seconds per step, whether killed (SIGKILL) and resumed runs of
both stages have the losses of uninterrupted ones, how far the losses of two processes are from
those of one, plain and with split weights, and how many answers `Llava` then gives exactly. Takes
minutes; not part of CI.

    python -m benchmarks.tune [--records 64] [--epochs 30]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from benchmarks.llava_parts import write_parts
from benchmarks.machine import describe
from llava_tools import Llava
from llava_tools.finetune import AlignOptions, TuneOptions, align, tune
from tests.checkpoints import Geometry, write_checkpoint
from tests.finetune.llama_tokenizer import make_tokenizer

SHAPE = Geometry(vision=(128, 3), language=(128, 2), image=336, context_length=2048)
QUESTION = "What is in the picture?"
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "pink", "orange")


def write(folder: Path, count: int) -> dict[str, str]:
    """Write the parts, images and conversations; return the answers by image file."""
    write_checkpoint(folder / "llava", shape=SHAPE, tokenizer=make_tokenizer())
    write_parts(folder / "llava", folder)
    images = folder / "images"
    images.mkdir()
    rng = random.Random(0)
    answers: dict[str, str] = {}
    for number in range(count):
        image = Image.new("RGB", (336, 300), COLOURS[number % 8])
        draw = ImageDraw.Draw(image)
        draw.rectangle((40, 40, 290, 250), fill=COLOURS[number // 8 % 8])
        image.save(images / f"{number}.png")
        answers[f"{number}.png"] = f"{rng.choice(COLOURS)} {number}, {rng.randint(0, 99)}."
    turns = {
        name: [
            {"from": "human", "value": f"<image>\n{QUESTION}"},
            {"from": "gpt", "value": answer},
        ]
        for name, answer in answers.items()
    }
    records = [{"id": name, "image": name, "conversations": t} for name, t in turns.items()]
    (folder / "data.json").write_text(json.dumps(records))
    return answers


def shared(folder: Path, out: str) -> dict[str, Any]:
    """Return the options that both stages have, with four steps of two micro-batches an epoch."""
    records = len(list((folder / "images").iterdir()))
    return {
        "data": folder / "data.json", "images": folder / "images", "out": folder / out,
        "batch_size": records // 4, "micro_batch_size": records // 8, "save_every": 4,
        "device": "cpu", "dtype": "float32", "gradient_checkpointing": False,
    }  # fmt: skip


def align_options(folder: Path, out: str, epochs: int) -> AlignOptions:
    """Return stage 1, on the answers as captions."""
    vision, language = str(folder / "vision"), str(folder / "language")
    return AlignOptions(vision=vision, model=language, epochs=epochs, **shared(folder, out))


def tune_options(folder: Path, out: str, epochs: int, **changes: Any) -> TuneOptions:
    """Return LoRA with the official rank, alpha and dropout, and rates for random weights."""
    settings = {"learning_rate": 2e-3, "projector_learning_rate": 1e-3, "epochs": epochs}
    model = str(folder / "aligned")
    return TuneOptions(model=model, **shared(folder, out) | settings | changes)


def run_stage(stage: str, folder: Path, out: str, epochs: int) -> float:
    """Run `align`, `tune`, or a short `plain` or `shard` for comparing processes."""
    if stage == "align":
        return align(align_options(folder, out, epochs))
    if stage == "tune":
        return tune(tune_options(folder, out, epochs))
    short = {"method": "full", "learning_rate": 1e-4, "shard": stage == "shard"}
    return tune(tune_options(folder, out, epochs, **short))


def losses(folder: Path, out: str) -> list[float]:
    """Return the losses that a run has logged."""
    lines = (folder / f"{out}.work" / "losses.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def command(stage: str, folder: Path, out: str, epochs: int) -> list[str]:
    """Return what runs a stage in another process, without its Python."""
    flags = ["--stage", stage, "--folder", str(folder), "--out", out, "--epochs", str(epochs)]
    return ["-m", "benchmarks.tune", *flags]


def run_and_kill(stage: str, folder: Path, out: str, epochs: int, after: int) -> None:
    """Run a stage in another process, and kill it once it has logged the step `after`."""
    process = subprocess.Popen(
        [sys.executable, *command(stage, folder, out, epochs)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step ") and int(line.split()[1].split("/")[0]) >= after:
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    process.wait()


def survives_a_kill(stage: str, folder: Path, whole: str, epochs: int) -> bool:
    """Return whether a killed and resumed run has the losses of the run `whole`."""
    expected, out = losses(folder, whole), f"killed-{stage}"
    run_and_kill(stage, folder, out, epochs, after=len(expected) // 3)
    if len(losses(folder, out)) == len(expected):
        raise RuntimeError("The run was over before it was killed.")
    run_stage(stage, folder, out, epochs)
    return losses(folder, out) == expected


def largest_difference(mode: str, folder: Path, epochs: int) -> float:
    """Return how far the losses of two processes are from those of one, at most."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    arguments = command(mode, folder, f"two-{mode}", epochs)
    subprocess.run([sys.executable, *torchrun, *arguments], env=environment, check=True)
    pairs = zip(losses(folder, "one"), losses(folder, f"two-{mode}"), strict=True)
    return max(abs(first - second) for first, second in pairs)


def count_right(folder: Path, out: str, answers: dict[str, str]) -> int:
    """Return how many answers a tuned model gives exactly."""
    with Llava(str(folder / out), device="cpu") as model:
        return sum(
            model.ask(QUESTION, folder / "images" / image).text == answer
            for image, answer in answers.items()
        )


def measure(folder: Path, records: int, epochs: int) -> dict[str, Any]:
    """Run everything, and return the figures by name."""
    answers = write(folder, records)
    run_stage("align", folder, "aligned", 2)
    aligned = losses(folder, "aligned")
    align_survives = survives_a_kill("align", folder, "aligned", 2)
    start = time.perf_counter()
    last = run_stage("tune", folder, "tuned", epochs)
    seconds = time.perf_counter() - start
    tuned = losses(folder, "tuned")
    tune_survives = survives_a_kill("tune", folder, "tuned", epochs)
    run_stage("plain", folder, "one", 1)
    return {
        "align_losses": [round(aligned[0], 3), round(aligned[-1], 3)],
        "first_loss": round(tuned[0], 3),
        "last_loss": round(last, 4),
        "steps": len(tuned),
        "seconds_a_step": round(seconds / len(tuned), 2),
        "align_equal_after_kill": align_survives,
        "tune_equal_after_kill": tune_survives,
        "two_processes_differ_by": largest_difference("plain", folder, 1),
        "two_split_processes_differ_by": largest_difference("shard", folder, 1),
        "answers_right": f"{count_right(folder, 'tuned', answers)}/{len(answers)}",
    }


def main() -> None:
    """Print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        run_stage(arguments.stage, arguments.folder, arguments.out, arguments.epochs)
        return
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name), arguments.records, arguments.epochs)
    for name, value in figures.items():
        print(f"{name:32}{value!s:>16}")
    print(json.dumps({"benchmark": "tune", **describe(), **figures}))


if __name__ == "__main__":
    main()
