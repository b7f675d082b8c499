"""Fine-tunes a small LLaVA by LoRA, kills a run half-way, and resumes it.

Random weights with 336 pixels and 576 tokens per image, at a small width and depth, memorize 64
images with an answer each. Reports the fall of the loss, the seconds per step, whether a killed
(SIGKILL) and resumed run has the losses of an uninterrupted one, and how many answers `Llava` then
gives exactly. Takes minutes; not part of CI.

    python -m benchmarks.tune [--records 64] [--epochs 30]
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.machine import describe
from llava_tools import Llava
from llava_tools.finetune import TuneOptions, tune
from tests.checkpoints import Geometry, write_checkpoint
from tests.finetune.llama_tokenizer import make_tokenizer

SHAPE = Geometry(vision=(128, 3), language=(128, 2), image=336, context_length=2048)
QUESTION = "What is in the picture?"
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "pink", "orange")


def write(folder: Path, count: int) -> dict[str, str]:
    """Write checkpoint, images and conversations; return the answers by image file."""
    write_checkpoint(folder / "base", shape=SHAPE, tokenizer=make_tokenizer())
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


def options(folder: Path, out: str, epochs: int) -> TuneOptions:
    """Return LoRA with the official rank, alpha and dropout, and rates for random weights."""
    return TuneOptions(
        model=str(folder / "base"),
        data=folder / "data.json",
        images=folder / "images",
        out=folder / out,
        epochs=epochs,
        batch_size=16,
        micro_batch_size=8,
        learning_rate=2e-3,
        projector_learning_rate=1e-3,
        save_every=4,
        device="cpu",
        dtype="float32",
        gradient_checkpointing=False,
    )


def losses(folder: Path, out: str) -> list[float]:
    """Return the losses that a run has logged."""
    lines = (folder / f"{out}.work" / "losses.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def tune_and_kill(folder: Path, epochs: int, after: int) -> None:
    """Tune in another process, and kill it once it logs a step later than `after`."""
    command = [sys.executable, "-m", "benchmarks.tune", "--tune", str(folder)]
    process = subprocess.Popen(
        [*command, "--epochs", str(epochs)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step ") and int(line.split()[1].split("/")[0]) > after:
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    process.wait()


def main() -> None:
    """Tune twice, once with a kill, and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--tune", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tune:
        tune(options(arguments.tune, "broken", arguments.epochs))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answers = write(folder, arguments.records)
        start = time.perf_counter()
        last = tune(options(folder, "whole", arguments.epochs))
        seconds = time.perf_counter() - start
        whole = losses(folder, "whole")
        tune_and_kill(folder, arguments.epochs, after=len(whole) // 3)
        reached = len(losses(folder, "broken"))
        tune(options(folder, "broken", arguments.epochs))
        with Llava(str(folder / "whole"), device="cpu") as model:
            right = sum(
                model.ask(QUESTION, folder / "images" / image).text == answer
                for image, answer in answers.items()
            )
        figures = {
            "first_loss": round(whole[0], 3),
            "last_loss": round(last, 4),
            "steps": len(whole),
            "seconds_a_step": round(seconds / len(whole), 2),
            "killed_after_step": reached,
            "losses_equal_after_kill": losses(folder, "broken") == whole,
            "answers_right": f"{right}/{len(answers)}",
        }
    for name, value in figures.items():
        print(f"{name:24}{value!s:>12}")
    print(json.dumps({"benchmark": "tune", **describe(), **figures}))


if __name__ == "__main__":
    main()
