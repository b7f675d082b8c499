"""Compiles the kernels for GPUs, which needs none: python -m tests.engine.triton.compiled 90."""

from __future__ import annotations

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from llava_tools.engine import fused_rows
from llava_tools.engine.attention import paged_decode

FLOAT, NUMBERS = "*fp32", "*i64"


def compile_kernel(kernel: Any, capability: int, types: dict[str, str], **constants: Any) -> None:
    names = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert "cubin" in compiled.asm
    assert compiled.metadata.shared <= 48 << 10, "more than any GPU gives without being asked"


def compile_attention(capability: int, dtype: str, **constants: int) -> None:
    types = dict.fromkeys(("keys", "values"), dtype) | {"query": FLOAT, "scale": "fp32"}
    types |= {"blocks": NUMBERS, "lengths": NUMBERS, "weights": FLOAT, "outputs": FLOAT}
    types |= dict.fromkeys(("most_blocks", "splits", "kv_heads", "group", "head_dim"), "i32")
    # The compiler is called with 1 as a constant.
    types = {name: item for name, item in types.items() if name not in constants}
    sizes = {
        "block_size": 32,
        "group_size": 16,
        "dim_size": 128,
        "tile": paged_decode._TILES[4 if dtype == FLOAT else 2],
    }
    compile_kernel(paged_decode._attend, capability, types, **sizes, **constants)
    types = {"parts": FLOAT, "weights": FLOAT, "outputs": dtype}
    types |= dict.fromkeys(("splits", "heads", "head_dim"), "i32")
    compile_kernel(paged_decode._combine, capability, types, split_size=8, dim_size=128)


def compile_rows(capability: int, dtype: str) -> None:
    types = {"hidden": FLOAT, "update": dtype, "weight": FLOAT, "summed": FLOAT, "normed": dtype}
    types |= {"size": "i32", "eps": "fp32"}
    for has_update in (False, True):
        sizes = {"has_update": has_update, "filled_size": 4096}
        compile_kernel(fused_rows._normalize, capability, types, **sizes)
    names = ("projected", "query", "keys", "values")
    types = dict.fromkeys(names, dtype) | {"rotations": FLOAT, "slots": NUMBERS}
    types |= dict.fromkeys(("heads", "kv_heads", "half"), "i32")
    compile_kernel(fused_rows._rotate, capability, types, filled_half=64)
    types |= {"slots": dtype}  # of queries alone
    compile_kernel(fused_rows._rotate, capability, types, filled_half=64)
    types = {"gate_up": dtype, "outputs": dtype, "size": "i32"}
    compile_kernel(fused_rows._gate, capability, types, columns=1024)


capability = int(sys.argv[1])
for dtype in ("*fp16", "*fp32", *(["*bf16"] if capability >= 80 else [])):
    compile_attention(capability, dtype)
    compile_attention(capability, dtype, splits=1, group=1)
    compile_rows(capability, dtype)
