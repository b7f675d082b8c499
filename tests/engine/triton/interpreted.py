"""Compares the kernels with plain torch in Triton's interpreter; run with TRITON_INTERPRET=1."""

from __future__ import annotations

import torch
from torch.nn import functional

from llava_tools.engine import decoder, fused_rows, triton_check
from llava_tools.engine.attention.cuda import CudaAttention, decode_in_torch
from llava_tools.engine.attention.paged_decode import paged_decode
from llava_tools.engine.fused_layer import FusedLayer
from tests.engine import test_decoder

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 4e-2}


def close(result: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    tolerance = TOLERANCE[dtype]
    return torch.allclose(result.float(), expected.float(), rtol=tolerance, atol=tolerance)


def check_attention(dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> None:
    keys, values = torch.randn(2, 40 * 32, kv_heads, head_dim).to(dtype)
    blocks = torch.randperm(40)[:20].view(4, 5) * 32
    lengths = torch.tensor([1, 33, 160, 64])
    query = torch.randn(4, heads, head_dim)
    for splits in (1, 3, 8):
        arguments = (query, keys, values, blocks, lengths, 0.3, 32, splits)
        result = paged_decode(*arguments)
        assert result.dtype == dtype
        assert close(result, decode_in_torch(*arguments), dtype), (dtype, splits)


def check_rows(dtype: torch.dtype) -> None:
    hidden, update = torch.randn(3, 100), torch.randn(3, 100).to(dtype)
    weight = torch.randn(100)
    summed, normed = fused_rows.normalize(hidden, weight, 1e-5, dtype, update)
    assert torch.equal(summed, hidden + update)
    assert normed.dtype == dtype
    assert close(normed, functional.rms_norm(summed, (100,), weight, 1e-5), dtype)
    _, normed = fused_rows.normalize(hidden, weight, 1e-5, dtype)
    assert close(normed, functional.rms_norm(hidden, (100,), weight, 1e-5), dtype)
    gate_up = torch.randn(3, 3000).to(dtype)
    gates, ups = gate_up.float().chunk(2, 1)
    assert close(fused_rows.gate(gate_up), functional.silu(gates) * ups, dtype)


def check_rotation(dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> None:
    width = (heads + 2 * kv_heads) * head_dim
    projected = torch.randn(3, width).to(dtype)
    rotations = torch.polar(torch.ones(3, 1, head_dim // 2), torch.randn(3, 1, head_dim // 2))
    keys, values = torch.zeros(2, 40, kv_heads, head_dim).to(dtype)
    slots = torch.tensor([5, 39, 7])
    query = fused_rows.rotate(projected, rotations, keys, values, slots)
    split = (heads + kv_heads) * head_dim
    pairs = projected[:, :split].float().view(3, -1, head_dim // 2, 2)
    rotated = torch.view_as_real(torch.view_as_complex(pairs) * rotations).flatten(2)
    assert close(query, rotated[:, :heads], dtype)
    assert close(keys[slots], rotated[:, heads:], dtype)
    assert torch.equal(values[slots].flatten(1), projected[:, split:])
    others = torch.ones(40, dtype=torch.bool).index_fill_(0, slots, False)
    assert not keys[others].any()
    assert not values[others].any()
    queries, rest = (
        part.contiguous()
        for part in projected.split([heads * head_dim, width - heads * head_dim], 1)
    )
    assert torch.equal(fused_rows.rotate(queries, rotations, keys, values, None), query)
    expected = keys.clone()
    keys.zero_()
    assert fused_rows.rotate(rest, rotations, keys, values, slots).numel() == 0
    assert torch.equal(keys, expected)


def check_decoder(family: str) -> None:
    """A prompt and next tokens, with everything that a decoder runs on a GPU."""
    model, ids = test_decoder._model(test_decoder.FAMILIES[family]), test_decoder._ids(40)
    expected = test_decoder._expected(model, ids)
    cpu = torch.device("cpu")
    vars(test_decoder)["ReferenceAttention"] = lambda: CudaAttention(
        cpu, paged_decode, reads_blocks=True
    )
    vars(decoder)["_layer_class"] = lambda config, device: FusedLayer
    driver = test_decoder.Driver(model)
    logits = [driver.step([(ids, 0, 31, [7, 3])], [1])]
    logits += [driver.step([(ids, n, n + 1, [7, 3])], [1]) for n in range(31, 40)]
    assert torch.allclose(torch.cat(logits), expected[30:], atol=1e-4)


torch.manual_seed(0)
for dtype in TOLERANCE:
    check_rows(dtype)
    check_rotation(dtype, 6, 2, 20)
    check_rotation(dtype, 4, 4, 16)
# The interpreter multiplies bfloat16 as if it were integers.
check_attention(torch.float32, 4, 4, 16)
check_attention(torch.float32, 14, 2, 20)
check_attention(torch.float16, 8, 1, 128)
assert triton_check._wrong_kernel(torch.device("cpu")) is None
for family in ("llama, grouped queries", "phi3, partly rotated"):
    check_decoder(family)
