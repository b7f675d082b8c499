"""Loads random weights of LLaVA-1.5-7B's real shape from the released layout, in bfloat16.

Writes 14 GB with the keys and shards of the llava-hf checkpoints (`language_model.model.*`,
`vision_tower.vision_model.*`), loads them with the engine's loader in a separate process, and
reports whether every weight was loaded and the peak memory. Takes minutes; not part of CI.

With `--quantization` the weights are rounded as well, as an engine on a CPU does. Peak memory is
then what the process has for itself, without the pages of the mapped files, which the system drops
when it needs them, and is compared with what is computed before loading.

    python -m benchmarks.load_7b [--folder DIR] [--layers 32] [--quantization 4bit] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from benchmarks.machine import describe
from llava_tools.options import Quantization
from tests.checkpoints import llama_like_tokenizer, write_processors

HIDDEN, MLP, VOCABULARY = 4096, 11008, 32064
HEAD = "language_model.lm_head.weight"
SHARD_BYTES = 5_000_000_000


def config(layers: int) -> LlavaConfig:
    """The configuration of llava-hf/llava-1.5-7b-hf."""
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
            projection_dim=768,
        ),
        text_config=LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=MLP,
            num_hidden_layers=layers,
            num_attention_heads=32,
            num_key_value_heads=32,
            max_position_embeddings=4096,
        ),
        image_token_index=32000,
        image_seq_length=576,
    )


def weights(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the released layout."""
    vision = "vision_tower.vision_model"
    yield f"{vision}.embeddings.class_embedding", (1024,)
    yield f"{vision}.embeddings.patch_embedding.weight", (1024, 3, 14, 14)
    yield f"{vision}.embeddings.position_embedding.weight", (577, 1024)
    for norm in ("pre_layrnorm", "post_layernorm"):
        yield from ((f"{vision}.{norm}.{part}", (1024,)) for part in ("weight", "bias"))
    for layer in range(24):
        base = f"{vision}.encoder.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{base}.self_attn.{name}.weight", (1024, 1024)
            yield f"{base}.self_attn.{name}.bias", (1024,)
        for name, (out, into) in {"fc1": (4096, 1024), "fc2": (1024, 4096)}.items():
            yield f"{base}.mlp.{name}.weight", (out, into)
            yield f"{base}.mlp.{name}.bias", (out,)
        for norm in ("layer_norm1", "layer_norm2"):
            yield from ((f"{base}.{norm}.{part}", (1024,)) for part in ("weight", "bias"))
    for name, into in {"linear_1": 1024, "linear_2": HIDDEN}.items():
        yield f"multi_modal_projector.{name}.weight", (HIDDEN, into)
        yield f"multi_modal_projector.{name}.bias", (HIDDEN,)
    language = "language_model.model"
    yield f"{language}.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(layers):
        base = f"{language}.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield f"{base}.self_attn.{name}.weight", (HIDDEN, HIDDEN)
        for name in ("gate_proj", "up_proj"):
            yield f"{base}.mlp.{name}.weight", (MLP, HIDDEN)
        yield f"{base}.mlp.down_proj.weight", (HIDDEN, MLP)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{base}.{norm}.weight", (HIDDEN,)
    yield f"{language}.norm.weight", (HIDDEN,)
    yield HEAD, (VOCABULARY, HIDDEN)


def write(folder: Path, layers: int) -> int:
    """Write the checkpoint and return the size of its weights in bytes."""
    config(layers).save_pretrained(folder)
    tokenizer = llama_like_tokenizer()
    write_processors(folder, tokenizer, 336)
    noise = torch.randn(1 << 20, dtype=torch.bfloat16) * 0.02
    shard: dict[str, torch.Tensor] = {}
    shard_numbers: dict[str, int] = {}
    total = shard_bytes = number = 0

    def flush() -> None:
        nonlocal shard, shard_bytes, number
        number += 1
        save_file(shard, folder / f"part-{number}.safetensors", metadata={"format": "pt"})
        shard, shard_bytes = {}, 0

    for name, shape in weights(layers):
        count = torch.Size(shape).numel()
        if shard_bytes + 2 * count > SHARD_BYTES:
            flush()
        repeats = -(-count // noise.numel())
        shard[name] = noise.repeat(repeats)[:count].reshape(shape).clone()
        if name == HEAD:
            shard[name][tokenizer.eos_token_id] = 0  # so that answers end only at max_tokens
        shard_numbers[name] = number + 1
        shard_bytes += 2 * count
        total += 2 * count
    flush()
    names = {i: f"model-{i:05d}-of-{number:05d}.safetensors" for i in range(1, number + 1)}
    for index, name in names.items():
        (folder / f"part-{index}.safetensors").rename(folder / name)
    index_file = {
        "metadata": {"total_size": total},
        "weight_map": {name: names[i] for name, i in shard_numbers.items()},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_file))
    return total


def load(folder: Path) -> None:
    """Load in this process, touch every weight, and print seconds and peak memory."""
    import llava_tools.engine.loading.checkpoint as loader
    from llava_tools.options import EngineOptions

    before = peak_bytes()
    begin = time.perf_counter()
    loaded = loader.load(EngineOptions(str(folder), dtype="bfloat16", device="cpu"))
    seconds = time.perf_counter() - begin
    loaded_bytes = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    zeros = [name for name, p in loaded.model.named_parameters() if not bool(p.any())]
    peak = peak_bytes() - before  # mapped files count once they are read
    print(json.dumps({"seconds": seconds, "peak": peak, "loaded": loaded_bytes, "zeros": zeros}))


def quantize(folder: Path, bits: Quantization, threads: int) -> None:
    """Load and round in this process, and print seconds and memory."""
    import llava_tools.engine.loading.checkpoint as loader
    from llava_tools.engine.attention import make_attention
    from llava_tools.engine.decoder import make_decoder
    from llava_tools.engine.loading.inspection import inspect, list_files
    from llava_tools.options import EngineOptions

    torch.set_num_threads(threads)
    options = EngineOptions(str(folder), quantization=bits, device="cpu")
    before, peak, done = kernel_bytes("RssAnon"), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, kernel_bytes("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    loaded = loader.load(options)
    decoder = make_decoder(loaded.model, make_attention(torch.device("cpu")), bits)
    assert decoder  # it holds the weights
    seconds = time.perf_counter() - begin
    after = kernel_bytes("RssAnon")
    done.set()
    watcher.join()
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    inspection = inspect(folder, list_files(folder))
    figures = {
        "dtype": dtype,
        "computed": inspection.memory(bits, "cpu", dtype),
        "held": after - before,
        "peak": peak - before,
        "seconds": seconds,
    }
    print(json.dumps(figures))


def peak_bytes() -> int:
    """Return the peak resident memory of this process."""
    return kernel_bytes("VmHWM")


def kernel_bytes(name: str) -> int:
    """Return a figure of this process's memory from the Linux kernel."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main() -> None:
    """Write, load, report, and delete the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="folder for 14 GB of temporary files")
    parser.add_argument("--layers", type=int, default=32, help="fewer for a quick run")
    parser.add_argument("--quantization", choices=["8bit", "4bit"])
    parser.add_argument("--threads", type=int, default=2, help="threads that round")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load and options.quantization:
        quantize(options.load, options.quantization, options.threads)
        return
    if options.load:
        load(options.load)
        return
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        total = write(folder, options.layers)
        command = [sys.executable, "-m", "benchmarks.load_7b", "--load", str(folder)]
        if options.quantization:
            command += ["--quantization", options.quantization, "--threads", str(options.threads)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    finally:
        shutil.rmtree(folder)
    result = json.loads(output.splitlines()[-1])
    if options.quantization:
        figures = {
            "quantization": options.quantization,
            "dtype": result["dtype"],
            "weights_gb": round(total / 1e9, 2),
            **{f"{key}_gb": round(result[key] / 1e9, 2) for key in ("computed", "held", "peak")},
            "seconds": round(result["seconds"], 1),
        }
        show(figures, options.layers)
        return
    figures = {
        "weights_gb": round(total / 1e9, 2),
        "loaded_gb": round(result["loaded"] / 1e9, 2),
        "peak_gb": round(result["peak"] / 1e9, 2),
        "memory_ratio": round(result["peak"] / total, 3),
        "seconds": round(result["seconds"], 1),
        "all_weights_used": result["loaded"] == total and not result["zeros"],
    }
    show(figures, options.layers)


def show(figures: dict[str, Any], layers: int) -> None:
    """Print a table, then one JSON line."""
    for name, value in figures.items():
        print(f"{name:18}{value!s:>10}")
    print(json.dumps({"benchmark": "load_7b", "layers": layers, **describe(), **figures}))


if __name__ == "__main__":
    main()
