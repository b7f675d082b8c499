"""CUDA devices without a GPU: tensors that have a device and a shape, and no memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from llava_tools.engine import decoder, runner, sampler
from llava_tools.engine.attention import cuda

#: Of torch's `DeviceType`.
_CUDA, _META = 1, 14


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Create tensors without memory; those on `cuda:0` and `cuda:1` behave as on GPUs.

    Operations that mix devices raise an error, and so do those for which the host would read a
    value of the device.
    """
    with pytest.MonkeyPatch.context() as patched, _device_guard():
        patched.setattr(Tensor, "pin_memory", lambda self: self)
        for module in (runner, sampler):
            patched.setattr(module, "activate", lambda device: nullcontext())
        patched.setattr(decoder, "free_bytes", lambda device: 1 << 40)
        patched.setattr(cuda, "causal_lower_right", _causal_lower_right)
        patched.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
        with FakeTensorMode():
            yield


def _causal_lower_right(*size: int) -> Any:
    """Create a mask, which is a tensor of a class of its own, outside of the mode."""
    with unset_fake_temporarily():
        return torch.nn.attention.bias.causal_lower_right(*size)


@contextmanager
def _device_guard() -> Iterator[None]:
    """Give a torch that was built for CPUs a guard for CUDA that does nothing, that of `meta`."""
    if torch.cuda._is_compiled():
        yield
        return
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    name = "_ZN3c104impl26device_guard_impl_registryE"
    guards = (ctypes.c_void_p * (_META + 1)).in_dll(library, name)
    assert guards[_CUDA] is None
    guards[_CUDA] = guards[_META]
    try:
        yield
    finally:
        guards[_CUDA] = None
