"""Whether this machine's Triton compiles the engine's kernels, and they compute what they should.

Triton comes with torch for CUDA on Linux. It needs a C compiler and Python's headers, and drops
support of old GPUs from time to time.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from subprocess import SubprocessError

import torch
from torch.nn import functional

from llava_tools.engine.attention.cuda import decode_in_torch
from llava_tools.engine.device import activate, is_unrecoverable

_log = logging.getLogger(__name__)


@cache
def has_triton(device: torch.device) -> bool:
    """Whether the kernels can be used on a GPU; the reason why not is logged."""
    if find_spec("triton") is None:
        _log.info("Triton is not installed: answers are computed by slower operations of torch.")
        return False
    from triton import TritonError

    try:
        with activate(device):
            wrong = _wrong_kernel(device)
    except (RuntimeError, OSError, SubprocessError, TritonError) as error:
        if is_unrecoverable(error):
            raise
        _log.warning("Triton's kernels cannot be used on %s: %s", device, _first_line(error))
        return False
    if wrong:
        _log.warning("Triton's kernel %s computes something else on %s.", wrong, device)
    return not wrong


def _wrong_kernel(device: torch.device) -> str | None:
    """Return the name of a kernel whose results are not those of torch."""
    from llava_tools.engine import fused_rows
    from llava_tools.engine.attention.paged_decode import paged_decode

    size, dtype = 64, torch.float16
    values = torch.sin(torch.arange(4.0 * 32 * 2 * size, device=device)).view(-1, 2, size)
    keys, query = values.flip(0).to(dtype), values[:2].repeat(1, 2, 1)
    blocks = torch.tensor([[64, 0, 32], [96, 0, 0]], device=device)
    lengths = torch.tensor([70, 1], device=device)
    cache = (keys, values.to(dtype), blocks, lengths, 0.3, 32)
    expected = decode_in_torch(query, *cache, 1)
    for splits in (1, 2):
        if not _are_close(paged_decode(query, *cache, splits), expected):
            return "paged_decode"
    hidden = query.flatten(1)
    summed, normed = fused_rows.normalize(hidden, hidden[0], 1e-5, dtype, hidden.to(dtype))
    if not _are_close(normed, functional.rms_norm(summed, hidden.shape[1:], hidden[0], 1e-5)):
        return "normalize"
    gates, ups = hidden.chunk(2, 1)
    if not _are_close(fused_rows.gate(hidden.to(dtype)), functional.silu(gates) * ups):
        return "gate"
    angles = torch.polar(torch.ones_like(values[:2, :1, :32]), values[:2, :1, :32])
    slots = torch.tensor([5, 3], device=device)
    written = torch.zeros_like(keys)
    turned = fused_rows.rotate(
        torch.cat([hidden, hidden], 1).to(dtype), angles, written, torch.zeros_like(keys), slots
    )
    pairs = torch.view_as_complex(hidden.view(2, 4, size // 2, 2)) * angles
    exact = torch.view_as_real(pairs).flatten(2)
    right = _are_close(turned, exact) and _are_close(written.index_select(0, slots), exact[:, :2])
    return None if right else "rotate"


def _are_close(result: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(result.float(), expected.float(), rtol=1e-2, atol=1e-2)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
