"""Evidence maps: does the maximum lie in the shape that a question is about, and what a map takes.

Drawn images with several shapes and a question about one of them, its colour or its shape, by both
renderers; right answers of the embedded model count. A map points if its `peak` lies in the shape's
box. Next to it: attention of the last layer from the answer's positions to the image's tokens, the
mean of its heads, computed by transformers, with the same rule for the peak (the better one of the
position before the answer and of the mean over the answer); a random cell; the largest shape.

Cost: time of a map as a multiple of that of its whole prompt, scored once, at LLaVA 1.5's 576 image
tokens with random weights (vision 256x6, language 768x12), images encoded before.

    python -m benchmarks.pointing [--answers 300] [--first-seed 100000] [--rounds 3]

Windows and neutral features were chosen on the seeds below 1,000 (`benchmarks.left_out`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

import llava_tools
from benchmarks.machine import describe
from llava_tools import Llava, Message, open_image
from llava_tools.chat import prompt
from llava_tools.core.image_grid import Box
from llava_tools.core.requests import Request
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.loading.processor import preprocess
from llava_tools.evidence import EvidenceMap, measure
from llava_tools.images import ImageRef
from recipes.drawn_world import RENDERERS, DrawnExample, Renderer, draw_example
from tests.checkpoints import Geometry, write_checkpoint

KINDS = ("colour", "shape")
SHAPE = Geometry(vision=(256, 6), language=(768, 12), image=336, context_length=2048)
TINY = Path(llava_tools.__file__).parent / "tiny"


@dataclass(frozen=True)
class Case:
    """A right answer to a question about one of several shapes, and that shape's box."""

    example: DrawnExample
    image: ImageRef
    answer: str

    @property
    def box(self) -> Box:
        """The box of the shape that the question is about."""
        return self.example.objects[self.example.about[0]].box


def right_answers(model: Llava, renderer: Renderer, first_seed: int) -> Iterator[Case]:
    """Yield right answers of a model, from the first seed on."""
    seed = first_seed
    while True:
        example = draw_example(KINDS[seed % len(KINDS)], seed, renderer)
        seed += 1
        if len(example.about) != 1 or len(example.objects) < 2:
            continue
        image = open_image(example.image)
        answer = model.ask(example.question, image).text.strip()
        if answer.lower().rstrip(".") == example.answer:
            yield Case(example, image, answer)


class Attention:
    """Attention of the last layer, by transformers."""

    def __init__(self, engine: LlavaEngine) -> None:
        self._engine = engine
        self._model = LlavaForConditionalGeneration.from_pretrained(
            TINY, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    @torch.inference_mode()
    def maps(self, case: Case) -> dict[str, EvidenceMap]:
        """Return attention from the position before the answer, and the mean of all its tokens."""
        loaded, placeholder = self._engine.loaded, self._model.config.image_token_index
        messages = (Message("user", (case.image, case.example.question)),)
        pieces = prompt.build(messages)
        ids = loaded.tokenizer.tokenize(pieces, lambda ref: [placeholder] * loaded.image_tokens)
        begin = len(ids) - 1
        tokens = torch.tensor([[*ids, *loaded.tokenizer.encode_answer(case.answer)]])
        output = self._model(
            input_ids=tokens,
            pixel_values=preprocess(loaded.processor, [case.image]),
            output_attentions=True,
        )
        weights = output.attentions[-1][0].mean(0)[begin:, tokens[0] == placeholder]
        rows = {"before the answer": weights[0], "mean of the answer": weights.mean(0)}
        grid = self._engine.image_grid
        return {
            name: EvidenceMap(
                case.answer,
                0.0,
                tuple(map(tuple, row.view(grid.side, grid.side).tolist())),
                case.image,
                grid,
            )
            for name, row in rows.items()
        }


def inside(place: tuple[float, float], box: Box) -> bool:
    """Return whether a place lies in a box."""
    return box[0] <= place[0] <= box[2] and box[1] <= place[1] <= box[3]


def centre(box: Box) -> tuple[float, float]:
    """Return the middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box: Box) -> float:
    """Return the area of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def random_cell(evidence: EvidenceMap, box: Box) -> float:
    """Return the share of an image's cells whose middle lies in a box."""
    side = range(evidence.grid.side)
    cells = [evidence.box(row, column) for row in side for column in side]
    return statistics.mean(inside(centre(cell), box) for cell in cells if cell is not None)


def points(case: Case, evidence: EvidenceMap, attention: dict[str, EvidenceMap]) -> dict[str, Any]:
    """Return whether each way points to the shape that the question is about."""
    boxes = [drawn.box for drawn in case.example.objects]
    return {
        "map": inside(evidence.peak, case.box),
        "map, middle of its cell": inside(centre(evidence.peak_box), case.box),
        **{f"attention {name}": inside(item.peak, case.box) for name, item in attention.items()},
        "random cell": random_cell(evidence, case.box),
        "largest shape": inside(centre(max(boxes, key=area)), case.box),
    }


def pointing(answers: int, first_seed: int, dtype: str) -> dict[str, dict[str, float]]:
    """Return the pointing accuracy of each way, by renderer and over all."""
    found: dict[str, list[dict[str, Any]]] = {renderer: [] for renderer in RENDERERS}
    with Llava(dtype=dtype) as model:  # type: ignore[arg-type]
        engine = model.backend
        assert isinstance(engine, LlavaEngine)
        attention = Attention(engine)
        for renderer in RENDERERS:
            for case in right_answers(model, renderer, first_seed):
                evidence = model.evidence(case.example.question, case.image, case.answer)
                found[renderer].append(points(case, evidence, attention.maps(case)))
                if len(found[renderer]) % 25 == 0:
                    print(renderer, json.dumps(_means(found[renderer])), flush=True)
                if len(found[renderer]) == answers // len(RENDERERS):
                    break
    every = [item for items in found.values() for item in items]
    return {**{name: _means(items) for name, items in found.items()}, "all": _means(every)}


def _means(items: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "answers": len(items),
        **{name: round(statistics.mean(item[name] for item in items), 3) for name in items[0]},
    }


def cost(rounds: int) -> dict[str, float]:
    """Return the time of a map as a multiple of one forward pass of its whole prompt."""
    label = "A red circle"
    clocks: dict[str, tuple[list[float], list[float]]] = {"map": ([], []), "prompt": ([], [])}

    def timed(name: str, work: Callable[[], object]) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        work()
        clocks[name][0].append(time.perf_counter() - wall)
        clocks[name][1].append(time.process_time() - processor)

    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), shape=SHAPE, dtype=torch.bfloat16)
        with Llava(folder) as model:
            backend = model.backend
            image = open_image(Image.effect_noise((336, 336), 60).convert("RGB"))
            for number in range(2 * rounds + 2):  # the first two warm up
                # The beginning is new, so that no KV is shared with an earlier prompt.
                message = Message("user", (f"{number}", image, "What is in the picture?"))
                request = Request((Message("system", (f"{number}.",)), message))
                if number % 2:
                    timed("map", lambda item=request: measure(backend, item, label))  # type: ignore[misc]
                else:
                    timed("prompt", lambda item=request: backend.score(item, [label]))  # type: ignore[misc]
            tokens = backend.count_tokens(request)
    least = {name: [min(values[1:]) for values in pair] for name, pair in clocks.items()}
    return {
        "wall_ratio": round(least["map"][0] / least["prompt"][0], 1),
        "cpu_ratio": round(least["map"][1] / least["prompt"][1], 1),
        "prompt_tokens": tokens,
        "prompt_cpu_seconds": round(least["prompt"][1], 3),
    }


def main() -> None:
    """Measure and print figures on the way, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=300, help="of both renderers together")
    parser.add_argument("--first-seed", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="of measuring the cost")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {"benchmark": "pointing", **describe()}
    if options.rounds:
        result["cost"] = cost(options.rounds)
        print(json.dumps(result["cost"]), flush=True)
    if options.answers:
        result["pointing"] = pointing(options.answers, options.first_seed, options.dtype)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
