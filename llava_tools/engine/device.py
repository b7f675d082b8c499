"""Where and in which precision a model runs, chosen from what the machine has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import psutil
import torch

from llava_tools.errors import EngineCrashedError, MemoryExhaustedError, ModelError
from llava_tools.options import LoadOptions

# Messages of plain RuntimeErrors of torch's CPU allocator, MPS, cuBLAS and the CUDA runtime.
_NO_MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|ALLOC_FAILED", re.IGNORECASE
)
# After these a CUDA context takes no more work.
_UNRECOVERABLE = re.compile(
    "illegal (memory access|instruction|address)|device-side assert|misaligned address|"
    "unspecified launch failure|launch timed out|invalid program counter|hardware stack error|"
    "uncorrectable ECC",
    re.IGNORECASE,
)


@contextmanager
def require_memory(purpose: str) -> Iterator[None]:
    """Turn an out-of-memory error of torch or Python into one that names its purpose.

    Raises:
        MemoryExhaustedError: There was not enough memory.
        EngineCrashedError: The device has failed for good.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_unrecoverable(error):
            raise crashed_error(error) from error
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(purpose) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python raised this because memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def is_unrecoverable(error: BaseException) -> bool:
    """Whether the device takes no more work from this process."""
    return isinstance(error, RuntimeError) and bool(_UNRECOVERABLE.search(str(error)))


def crashed_error(error: BaseException) -> EngineCrashedError:
    """Return the error for a model that raised something else than running out of memory."""
    # torch adds lines of advice for its developers.
    message = str(error).strip().partition("\n")[0].rstrip(".")
    failure = EngineCrashedError(
        f"The model failed while answering: {message}.",
        "Restart the process: the device takes no more work from this one."
        if is_unrecoverable(error)
        else "The engine starts afresh with the next request.",
    )
    failure.retryable = not is_unrecoverable(error)
    return failure


def out_of_memory_error(purpose: str) -> MemoryExhaustedError:
    """Return the error for memory that ran out."""
    return MemoryExhaustedError(
        f"There was not enough memory for {purpose}.",
        "Try again when fewer requests run, send fewer images, or set a smaller context_length.",
    )


def kv_error(context_length: int, bytes_per_token: int, available: int) -> ModelError:
    """Return the error for a context whose KV needs more than `available`, with one that fits."""
    fitting = (available // bytes_per_token // 64 - 1) * 64  # the KV is sized in blocks
    return ModelError(
        f"The KV of one request of {context_length:,} tokens takes "
        f"{context_length * bytes_per_token / 1e9:.1f} GB, and it can have {available / 1e9:.1f} "
        "GB.",
        f"Use context_length={fitting} (--context-length {fitting}) or less."
        if fitting >= 64
        else "Use a smaller model.",
    )


def pick_device(name: str) -> torch.device:
    """Return the torch device for a `LoadOptions.device`.

    Raises:
        ModelError: This machine does not have the device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }[kind]
    if (index and not index.isdigit()) or int(index or 0) >= count:
        raise ModelError(
            f"device={name!r} does not exist: this machine has {count} {kind} device(s).",
            "Use device='auto', or install a torch build for your accelerator.",
        )
    return torch.device(name if kind != "cuda" or index else "cuda:0")


def pick_dtype(options: LoadOptions, device: torch.device) -> torch.dtype:
    """Return the dtype for weights and KV.

    `auto` is bfloat16 where the hardware computes in it, float16 on older GPUs and on MPS, and
    float32 on other CPUs, where bfloat16 is several times slower. There, `linear.py` keeps
    weights that are stored in 16 bit as they are; all else is float32. The embedded model is small
    enough for float32 everywhere, which keeps its answers equal across machines.
    """
    if options.dtype != "auto":
        dtype: torch.dtype = getattr(torch, options.dtype)
        return dtype
    if options.source == "tiny":
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if supports_bfloat16(device) else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if computes_bfloat16() else torch.float32


def supports_bfloat16(device: torch.device) -> bool:
    """Whether a GPU computes in bfloat16; older ones (T4, V100, RTX 20) emulate it, slowly."""
    with activate(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def activate(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the thread's current one, for what does not go by its tensors' device.

    That are streams, events, graphs, pinned memory and Triton's kernels.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def free_bytes(device: torch.device) -> int:
    """Return the memory that new tensors on `device` may take.

    On CUDA this respects the limit of `torch.cuda.set_per_process_memory_fraction`.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        allowed = torch.cuda.get_per_process_memory_fraction(device) * total
        return max(0, int(min(free, allowed - torch.cuda.memory_reserved(device))))
    return int(psutil.virtual_memory().available)


def describe() -> tuple[str, str, int]:
    """Return kind, name and free bytes of the device that `auto` picks."""
    device = pick_device("auto")
    names = {"mps": "Apple GPU (MPS)", "cpu": f"CPU, {torch.get_num_threads()} threads"}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else names[device.type]
    return device.type, name, free_bytes(device)


def computes_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AVX512-BF16, AMX)."""
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return False
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.11
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    units = torch.cpu.get_capabilities()
    return bool(units.get("avx512_bf16") or units.get("amx_bf16"))
