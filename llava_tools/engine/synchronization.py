"""Finds operations for which the host waits for the device, or the device for the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_aten = torch.ops.aten

#: Operations whose result, or its shape, the host reads from the device.
_READS = {
    _aten._local_scalar_dense,
    _aten.allclose,
    _aten.bincount,
    _aten.equal,
    _aten.masked_select,
    _aten.multinomial,
    _aten.nonzero,
    _aten.unique_consecutive,
    _aten._unique2,
    _aten.repeat_interleave,  # with repeats on the device
}
#: Operations that copy from one tensor to another, or to a new one.
_COPIES = {_aten.copy_, _aten._to_copy, _aten._copy_from}
#: Operations that look a boolean index up as `nonzero` does.
_LOOKUPS = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}


class SynchronizationError(RuntimeError):
    """An operation waits, or cannot be captured in a CUDA graph."""


class _Check(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if reason := _reason(func, args, kwargs or {}, result):
            raise SynchronizationError(f"{func} {reason}")
        return result


@contextmanager
def forbid_synchronization() -> Iterator[None]:
    """Raise `SynchronizationError` for operations of this thread that synchronize."""
    # In inference mode operations made of others would be seen as a whole only.
    with torch.inference_mode(False), torch.no_grad(), _Check():  # type: ignore[no-untyped-call]
        yield


def _reason(func: Any, args: Any, kwargs: Any, result: object) -> str | None:
    packet = func.overloadpacket
    if packet in _READS and (packet is not _aten.repeat_interleave or _is_counted(args, kwargs)):
        return "waits for its result"
    if packet in _LOOKUPS:
        indices = [item for item in tree_leaves(args[1]) if isinstance(item, Tensor)]
        if any(item.dtype in (torch.bool, torch.uint8) for item in indices):
            return "waits for the number of indices"
        if any(item.device != args[0].device for item in indices):
            return "copies indices to another device"
    tensors = [item for item in tree_leaves((args, result)) if isinstance(item, Tensor)]
    if packet in _COPIES and len({item.device for item in tensors}) > 1:
        return "copies to another device"
    return None


def _is_counted(args: Any, kwargs: Any) -> bool:
    """Whether a `repeat_interleave` reads the size of its result."""
    return kwargs.get("output_size") is None and isinstance(args[0], Tensor)
