"""Tune random weights of LLaVA's real geometry by LoRA, kill it on the way, and go on.

336 pixels, 576 tokens an image, LLaVA's wiring at a small width and depth: 64 images with an
answer each are learned by heart. Reports how far the loss falls, whether a tuning that was killed
(SIGKILL) has the losses of one that was not, how many answers `Llava` then gives word for word, and
what a step takes. Takes minutes; not part of CI.

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


def write(folder: Path, records: int) -> dict[str, str]:
    """Write checkpoint, images and conversations; return the answers by image."""
    write_checkpoint(folder / "base", shape=SHAPE, tokenizer=make_tokenizer())
    images = folder / "images"
    images.mkdir()
    rng = random.Random(0)
    answers: dict[str, str] = {}
    for number in range(records):
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
    told = [{"id": n, "image": n, "conversations": turn} for n, turn in turns.items()]
    (folder / "data.json").write_text(json.dumps(told))
    return answers


def options(folder: Path, out: str, epochs: int) -> TuneOptions:
    """LoRA with the official rank, alpha and dropout; rates for random weights."""
    return TuneOptions(
        model=str(folder / "base"),
        data=folder / "data.json",
        images=folder / "images",
        out=folder / out,
        epochs=epochs,
        batch=16,
        micro_batch=8,
        rate=2e-3,
        projector_rate=1e-3,
        save_every=4,
        device="cpu",
        dtype="float32",
        checkpointing=False,
    )


def losses(folder: Path, out: str) -> list[float]:
    """The losses so far, as they were written down."""
    lines = (folder / f"{out}.work" / "losses.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def killed(folder: Path, epochs: int, after: int) -> None:
    """Tune in another process, and kill that once it has told of a step behind `after`."""
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
    """Write, tune twice, compare, ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--tune", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.tune:
        tune(options(chosen.tune, "broken", chosen.epochs))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answers = write(folder, chosen.records)
        begin = time.perf_counter()
        last = tune(options(folder, "whole", chosen.epochs))
        seconds = time.perf_counter() - begin
        whole = losses(folder, "whole")
        killed(folder, chosen.epochs, after=len(whole) // 3)
        reached = len(losses(folder, "broken"))
        tune(options(folder, "broken", chosen.epochs))
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
