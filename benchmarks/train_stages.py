"""A new LLaVA of the embedded model's own vision tower and language model, in both stages.

The tower and the language model are split from it and their projector is left out. Stage 1 trains
a new projector on captions of drawn images, stage 2 the projector and LoRA on questions about
colours and shapes (`recipes.drawn_world`). Accuracy is the share of greedy answers that equal the
right one, for seeds that nothing was trained on: of the training's renderer, and of the second
renderer with wordings of its own. Beside it stand the accuracy after stage 1, and that of the most
frequent answer. The defaults are meant for ten minutes of two cores.

    OMP_NUM_THREADS=2 python -m benchmarks.train_stages [--captions 3000] [--conversations 6000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import llava_tools
from benchmarks.llava_parts import write_parts
from benchmarks.machine import describe
from llava_tools import Llava
from llava_tools.finetune import AlignOptions, TuneOptions, align, tune
from recipes.drawn_world import RENDERERS, DrawnExample, Renderer, draw_example, write_dataset

TINY = Path(llava_tools.__file__).parent / "tiny"
KINDS = ("colour", "shape")
#: Seeds from here on are held out; those of training begin at 0.
HELD_OUT = 1_000_000


def write_captions(folder: Path, count: int) -> Path:
    """Write captions that name colour and shape of each object, as LLaVA's conversation JSON."""
    (folder / "images").mkdir(parents=True)
    records = []
    for seed in range(count):
        example = draw_example("exist", seed)
        name = f"{seed:06}.png"
        example.image.save(folder / "images" / name)
        turns = [
            {"from": "human", "value": "<image>"},
            {"from": "gpt", "value": _caption(example)},
        ]
        records.append({"id": name, "image": name, "conversations": turns})
    path = folder / "data.json"
    path.write_text(json.dumps(records))
    return path


def _caption(example: DrawnExample) -> str:
    objects = sorted(example.objects, key=lambda item: item.box[0])  # from left to right
    return ", ".join(f"a {item.colour} {item.shape}" for item in objects) or "nothing"


def train(folder: Path, captions: int, conversations: int) -> dict[str, float]:
    """Run both stages, and return their seconds and last losses."""
    vision, language = write_parts(TINY, folder)
    data = write_captions(folder / "captions", captions)
    start = time.perf_counter()
    aligned = align(
        AlignOptions(
            vision=str(vision), model=str(language), **_options(data, folder / "aligned", 2e-3)
        )
    )
    middle = time.perf_counter()
    data = write_dataset(folder / "conversations", KINDS, conversations)
    drawn = time.perf_counter()
    tuned = tune(
        TuneOptions(
            model=str(folder / "aligned"),
            rank=32,
            alpha=64,
            projector_learning_rate=1e-3,
            **_options(data, folder / "tuned", 1e-3),
        )
    )
    return {
        "align_seconds": round(middle - start),
        "tune_seconds": round(time.perf_counter() - drawn),
        "align_loss": round(aligned, 3),
        "tune_loss": round(tuned, 3),
    }


def _options(data: Path, out: Path, learning_rate: float) -> dict[str, Any]:
    return {
        "data": data, "images": data.parent / "images", "out": out, "batch_size": 16,
        "micro_batch_size": 16, "learning_rate": learning_rate, "device": "cpu",
        "dtype": "float32", "gradient_checkpointing": False,
    }  # fmt: skip


def accuracy(model: Llava, kind: str, renderer: Renderer, count: int) -> float:
    """Return the share of right answers about held-out images."""
    examples = (draw_example(kind, HELD_OUT + seed, renderer) for seed in range(count))
    right = sum(
        model.ask(example.question, example.image, max_tokens=8).text.strip(" .").lower()
        == example.answer
        for example in examples
    )
    return round(right / count, 3)


def most_frequent(kind: str, renderer: Renderer, count: int) -> float:
    """Return the share of the most frequent answer among the same examples."""
    answers = Counter(draw_example(kind, HELD_OUT + seed, renderer).answer for seed in range(count))
    return round(answers.most_common(1)[0][1] / count, 3)


def evaluate(checkpoint: Path, count: int) -> dict[str, float]:
    """Return the accuracy of each kind and renderer."""
    with Llava(str(checkpoint), device="cpu", dtype="float32") as model:
        return {
            f"{kind}, {renderer}": accuracy(model, kind, renderer, count)
            for renderer in RENDERERS
            for kind in KINDS
        }


def main() -> None:
    """Print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=3000)
    parser.add_argument("--conversations", type=int, default=6000)
    parser.add_argument("--questions", type=int, default=200, help="of a kind and renderer")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = train(folder, arguments.captions, arguments.conversations)
        aligned = evaluate(folder / "aligned", arguments.questions)
        tuned = evaluate(folder / "tuned", arguments.questions)
    frequent = {
        f"{kind}, {renderer}": most_frequent(kind, renderer, arguments.questions)
        for renderer in RENDERERS
        for kind in KINDS
    }
    for name, value in figures.items():
        print(f"{name:24}{value:>10}")
    print(f"\n{'accuracy':24}{'stage 2':>10}{'stage 1':>10}{'frequent':>10}")
    for name, value in tuned.items():
        print(f"{name:24}{value:>10}{aligned[name]:>10}{frequent[name]:>10}")
    results = {"accuracy": tuned, "accuracy_of_stage_1": aligned, "most_frequent": frequent}
    print(json.dumps({"benchmark": "train_stages", **describe(), **figures, **results}))


if __name__ == "__main__":
    main()
