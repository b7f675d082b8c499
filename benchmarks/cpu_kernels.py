"""Parts of the decoder on a CPU: linear layers, attention, whole steps; each against alternatives.

Random weights of `follow_up`'s geometry (language 768x12). Alternatives take turns, and the least
CPU time of all rounds counts, so that ratios hold on a busy machine too. A step is compared with
its matrix products alone, the floor, and with transformers' forward pass over its own cache.

    python -m benchmarks.cpu_kernels [--rounds 20] [--threads 1] [--width 768]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    CLIPVisionConfig,
    DynamicCache,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from benchmarks.machine import describe
from llava_tools.engine.attention import SequenceRows
from llava_tools.engine.attention.reference import ReferenceAttention
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.decoder import Decoder
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.linear import BFloat16Linear, Float16Linear, is_usable
from llava_tools.engine.quantized_linear import Int4Linear, Int8Linear
from llava_tools.engine.step_inputs import StepInputs

LAYERS, HEAD_DIM, PROMPT = 12, 64, 650

Call = Callable[[], object]


def least(calls: Mapping[str, Call], rounds: int) -> dict[str, float]:
    """Return the least CPU milliseconds of each call; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):  # the first round warms up
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: 1000 * min(values[1:]) for name, values in times.items()}


def linear_layers(width: int, rows: int, rounds: int) -> dict[str, float]:
    """Time the matrices of all layers, so many that no cache holds them."""
    mlp = 8 * width // 3 // 32 * 32
    shapes = [(3 * width, width), (width, width), (2 * mlp, width), (width, mlp)] * LAYERS
    weights = [torch.randn(shape).bfloat16() for shape in shapes]
    inputs = {size: torch.randn(rows, size).bfloat16() for size in (width, mlp)}

    def all_of(kind: type[nn.Module]) -> Call:
        layers = [kind(weight, None) for weight in weights]
        dtype = torch.float32 if kind is Float16Linear else torch.bfloat16
        own = {size: item.to(dtype) for size, item in inputs.items()}
        return lambda: [layer(own[shape[1]]) for layer, shape in zip(layers, shapes, strict=True)]

    calls: dict[str, Call] = {
        "F.linear": lambda: [functional.linear(inputs[w.shape[1]], w) for w in weights]
    }
    for kind in (BFloat16Linear, Float16Linear):
        if is_usable(kind):
            calls[kind.__name__] = all_of(kind)
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        calls |= {kind.__name__: all_of(kind) for kind in (Int8Linear, Int4Linear)}
    return least(calls, rounds)


def attention(width: int, rows: int, keys: int, rounds: int) -> dict[str, float]:
    """Time the attention of the last `rows` of a sequence in all layers."""
    heads = width // HEAD_DIM
    query = torch.randn(rows, heads, HEAD_DIM)
    caches = [torch.randn(2, 2048, heads, HEAD_DIM).bfloat16() for _ in range(LAYERS)]
    plug = ReferenceAttention()
    blocks = range(0, 2048, BLOCK_SIZE)
    plan = plug.plan([SequenceRows(0, rows, keys - rows, blocks)], BLOCK_SIZE)
    batched = query.bfloat16().transpose(0, 1)[None]

    def sdpa(cache: Tensor) -> Tensor:
        key, value = cache[:, :keys].transpose(1, 2)[:, None]
        return functional.scaled_dot_product_attention(batched, key, value, is_causal=rows == keys)

    scale = HEAD_DIM**-0.5
    return least(
        {
            "sdpa": lambda: [sdpa(cache) for cache in caches],
            "reference": lambda: [plug(plan, query, cache[0], cache[1], scale) for cache in caches],
        },
        rounds,
    )


def _model(width: int) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    model: Any = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=32, num_attention_heads=2, num_hidden_layers=1, image_size=28
            ),
            text_config=LlamaConfig(
                vocab_size=1024,
                hidden_size=width,
                intermediate_size=8 * width // 3 // 32 * 32,
                num_hidden_layers=LAYERS,
                num_attention_heads=width // HEAD_DIM,
                num_key_value_heads=width // HEAD_DIM,
            ),
            image_token_index=0,
        )
    )
    model.to(torch.bfloat16)
    return cast(LlavaForConditionalGeneration, model.eval())


def steps(width: int, rounds: int) -> dict[str, dict[str, float]]:
    """Time whole steps: a prompt, a follow-up question, one token, and eight tokens."""
    embeddings = torch.randn(PROMPT, width).bfloat16()
    theirs: Any = _model(width)
    plug = ReferenceAttention()
    decoder = Decoder(_model(width), plug)
    cache = KVCache(decoder.kv_shape, 8 * 24, torch.device("cpu"))
    layers: list[Any] = [m for m in decoder.layers.modules() if hasattr(m, "weight_bytes")]

    def forward(rows: int, start: int) -> Call:
        past = DynamicCache()
        if start:
            theirs(inputs_embeds=embeddings[None, :start], past_key_values=past)

        def call() -> None:
            theirs(inputs_embeds=embeddings[None, :rows], past_key_values=past, logits_to_keep=1)
            past.crop(-rows)

        return call

    def matrices(rows: int) -> Call:
        inputs = {layer.in_features: torch.randn(rows, layer.in_features) for layer in layers}
        inputs = {size: item.bfloat16() for size, item in inputs.items()}
        return lambda: [layer(inputs[layer.in_features]) for layer in layers]

    def ours(sequences: list[SequenceRows]) -> Call:
        step = _step(sequences, plug, cache)
        rows = sum(item.rows for item in sequences)
        return lambda: decoder(embeddings[:rows], step)

    results: dict[str, dict[str, float]] = {}
    blocks = [range(768 * i, 768 * (i + 1), BLOCK_SIZE) for i in range(8)]
    for name, rows, start in (("prompt", PROMPT, 0), ("follow_up", 40, 610), ("token", 1, PROMPT)):
        calls = {
            "matrices": matrices(rows),
            "decoder": ours([SequenceRows(0, rows, start, blocks[0])]),
            "transformers": forward(rows, start),
        }
        results[name] = least(calls, rounds)
    # Four questions about each of two images, whose blocks they share.
    shared = [[*blocks[i // 4][:18], *blocks[i][18:]] for i in range(8)]
    sequences = [SequenceRows(i, 1, 600 + 5 * i, shared[i]) for i in range(8)]
    calls = {"matrices": matrices(8), "decoder": ours(sequences)}
    results["eight_tokens"] = least(calls, rounds)
    return results


def _step(sequences: list[SequenceRows], plug: ReferenceAttention, cache: KVCache) -> StepInputs:
    """Return a step with an output for each sequence."""
    positions = [p for item in sequences for p in range(item.past, item.length)]
    slots = [
        item.blocks[p // BLOCK_SIZE] + p % BLOCK_SIZE
        for item in sequences
        for p in range(item.past, item.length)
    ]
    ends = [item.first + item.rows - 1 for item in sequences]
    outputs = [SequenceRows(i, 1, item.length - 1, item.blocks) for i, item in enumerate(sequences)]
    contiguous = slots == list(range(slots[0], slots[0] + len(slots)))
    return StepInputs(
        positions=torch.tensor(positions),
        write=slice(slots[0], slots[-1] + 1) if contiguous else torch.tensor(slots),
        plan=plug.plan(sequences, BLOCK_SIZE),
        output_rows=torch.tensor(ends),
        output_plan=plug.plan(outputs, BLOCK_SIZE),
        cache=cache,
    )


@torch.inference_mode()
def measure(width: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return milliseconds by part and alternative."""
    results = {
        f"linear_{rows}": linear_layers(width, rows, rounds if rows < 100 else rounds // 4 + 1)
        for rows in (1, 4, 64, 640)
    }
    for rows, keys in ((PROMPT, PROMPT), (40, PROMPT), (1, PROMPT)):
        results[f"attention_{rows}_of_{keys}"] = attention(width, rows, keys, rounds)
    return results | steps(width, rounds // 2 + 1)


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=768, help="of the language model")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = measure(options.width, options.rounds)
    for part, times in results.items():
        first = next(iter(times.values()))
        for name, value in times.items():
            print(f"{part:22}{name:18}{value:10.2f} ms{value / first:8.2f}")
    rounded = {
        part: {name: round(value, 3) for name, value in times.items()}
        for part, times in results.items()
    }
    print(json.dumps({"benchmark": "cpu_kernels", **vars(options), **describe(), **rounded}))


if __name__ == "__main__":
    main()
