"""torch's streams, events and memory figures of CUDA, as doubles that write down their calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from llava_tools.engine import memory_plan, vision_stream


@dataclass
class FakeGpu:
    """What a GPU was to do.

    Attributes:
        calls: Names and arguments, in order.
        free: Free bytes.
        total: All bytes.
        reserved: Bytes that torch holds; none of them are allocated.
        peaks: Bytes allocated at most by the next pieces of work that are measured.
    """

    free: int = 0
    total: int = 0
    reserved: int = 0
    peaks: list[int] = field(default_factory=list)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def note(self, *call: object, result: Any = None) -> Any:
        """Write down a call and return its result."""
        self.calls.append(tuple(map(str, call)))
        return result


@dataclass
class FakeStream:
    gpu: FakeGpu
    name: str

    def __str__(self) -> str:
        return self.name

    def wait_stream(self, other: object) -> None:
        self.gpu.note("wait_stream", self, other)


@dataclass
class FakeEvent:
    gpu: FakeGpu

    def record(self, stream: object) -> None:
        self.gpu.note("record", stream)

    def synchronize(self) -> None:
        self.gpu.note("synchronize")


@contextmanager
def fake_streams() -> Iterator[FakeGpu]:
    """Replace torch's functions for streams and memory of CUDA."""
    gpu = FakeGpu()

    @contextmanager
    def entered(kind: str, item: object) -> Iterator[None]:
        gpu.note(f"enter {kind}", item)
        yield
        gpu.note(f"leave {kind}", item)

    def noting(name: str, result: Any = None) -> Any:
        return lambda device=None: gpu.note(name, device, result=result)

    def event(*, blocking: bool) -> FakeEvent:
        assert blocking, "a caller that waits would keep a processor busy"
        return FakeEvent(gpu)

    doubles: dict[str, Any] = {
        "Stream": lambda device: FakeStream(gpu, f"stream of {device}"),
        "Event": event,
        "stream": lambda stream: entered("stream", stream),
        "current_stream": lambda device=None: FakeStream(gpu, f"current stream of {device}"),
        "default_stream": lambda device: FakeStream(gpu, f"default stream of {device}"),
        "synchronize": noting("synchronize device"),
        "empty_cache": lambda: gpu.note("empty_cache"),
        "reset_peak_memory_stats": noting("reset_peak_memory_stats"),
        "memory_allocated": noting("memory_allocated", 0),
        "memory_reserved": lambda device: gpu.note("memory_reserved", device, result=gpu.reserved),
        "max_memory_allocated": lambda device: gpu.note("peak", device, result=gpu.peaks.pop(0)),
        "mem_get_info": lambda device: gpu.note(
            "mem_get_info", device, result=(gpu.free, gpu.total)
        ),
        "get_per_process_memory_fraction": noting("fraction", 1.0),
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, double in doubles.items():
            patched.setattr(torch.cuda, name, double)
        patched.setattr(
            Tensor, "record_stream", lambda self, stream: gpu.note("record_stream", stream)
        )
        for module in (memory_plan, vision_stream):
            patched.setattr(module, "activate", lambda device: entered("device", device))
        yield gpu
