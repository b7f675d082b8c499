"""Devices: their precision, and what their errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from llava_tools.engine import device as device_module
from llava_tools.engine.device import (
    crashed_error,
    is_out_of_memory,
    is_unrecoverable,
    pick_device,
    pick_dtype,
    require_memory,
)
from llava_tools.errors import EngineCrashedError, MemoryExhaustedError, ModelError
from llava_tools.options import LoadOptions

NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ..."),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB, max allowed: 9 GB)"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("[enforce fail at CPUAllocator.cpp:64] DefaultCPUAllocator: not enough memory"),
    MemoryError(),
]
DEAD = [
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors ..."),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: misaligned address"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: the launch timed out and was terminated"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    RuntimeError("CUDA error: operation not permitted when stream is capturing"),
    ValueError("out of memory"),
    KeyError("illegal memory access"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=str)
def test_faces_of_too_little_memory(error: BaseException) -> None:
    assert is_out_of_memory(error)
    assert not is_unrecoverable(error)
    with (
        pytest.raises(MemoryExhaustedError, match="not enough memory for the image") as caught,
        require_memory("the image"),
    ):
        raise error
    assert caught.value.retryable


@pytest.mark.parametrize("error", DEAD, ids=str)
def test_after_errors_that_kill_the_device_a_restart_is_recommended(error: BaseException) -> None:
    assert is_unrecoverable(error)
    assert not is_out_of_memory(error)
    with (
        pytest.raises(EngineCrashedError, match="Restart the process") as caught,
        require_memory("the image"),
    ):
        raise error
    assert not caught.value.retryable
    assert caught.value.__cause__ is error
    assert "kernel errors" not in str(caught.value), "advice for developers of torch"


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_are_not_converted(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert not is_unrecoverable(error)
    with pytest.raises(type(error)) as caught, require_memory("the image"):
        raise error
    assert caught.value is error
    assert crashed_error(error).retryable
    assert "starts afresh" in crashed_error(error).hint


@pytest.mark.parametrize(
    ("computes", "dtype"), [(True, torch.bfloat16), (False, torch.float16)], ids=["A100", "T4"]
)
def test_older_gpus_compute_in_float16(
    computes: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A T4, V100 or RTX 20 emulates bfloat16, which torch counts as supported if it may."""
    current: list[object] = []

    @contextmanager
    def activate(device: torch.device) -> Iterator[None]:
        current.append(device)
        yield
        current.pop()

    def is_supported(*, including_emulation: bool) -> bool:
        assert current == [torch.device("cuda:1")], "it goes by the current device"
        return computes or including_emulation

    monkeypatch.setattr(device_module, "activate", activate)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert pick_dtype(LoadOptions("org/model"), torch.device("cuda:1")) == dtype
    assert pick_dtype(LoadOptions("tiny"), torch.device("cuda:1")) == torch.float32


def test_one_of_several_gpus_is_picked_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert pick_device("cuda:1") == pick_device("auto") == torch.device("cuda", 1)
    assert pick_device("cuda") == torch.device("cuda", 0)
    with pytest.raises(ModelError, match="2 cuda device"):
        pick_device("cuda:2")
