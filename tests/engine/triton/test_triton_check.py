"""Kernels that a machine's Triton cannot compile, or computes wrongly, are not used."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch

from llava_tools.engine import triton_check
from llava_tools.engine.triton_check import has_triton

CPU = torch.device("cpu")


class TritonError(Exception):
    pass


@pytest.fixture(autouse=True)
def triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Triton that is installed, with nothing in it."""
    module = ModuleType("triton")
    vars(module)["TritonError"] = TritonError
    monkeypatch.setitem(sys.modules, "triton", module)
    monkeypatch.setattr(triton_check, "find_spec", lambda name: name)
    has_triton.cache_clear()
    yield
    has_triton.cache_clear()


def raising(error: Exception) -> Callable[[torch.device], str | None]:
    def check(device: torch.device) -> str | None:
        raise error

    return check


def test_kernels_that_are_right_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[torch.device] = []
    monkeypatch.setattr(triton_check, "_wrong_kernel", tried.append)
    assert has_triton(CPU)
    assert has_triton(CPU)
    assert tried == [CPU], "once is enough"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler.\nPlease specify one."),
        subprocess.CalledProcessError(1, ["gcc"]),
        FileNotFoundError("ptxas"),
        TritonError("out of resource: shared memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_kernels_that_do_not_compile_are_logged_and_not_used(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(triton_check, "_wrong_kernel", raising(error))
    with caplog.at_level(logging.WARNING, "llava_tools"):
        assert not has_triton(CPU)
    (record,) = caplog.records
    first_line = str(error).partition("\n")[0]
    assert record.getMessage() == f"Triton's kernels cannot be used on cpu: {first_line}"


def test_kernels_that_are_wrong_are_logged_and_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(triton_check, "_wrong_kernel", lambda device: "rotate")
    with caplog.at_level(logging.WARNING, "llava_tools"):
        assert not has_triton(CPU)
    (record,) = caplog.records
    assert record.getMessage() == "Triton's kernel rotate computes something else on cpu."


def test_a_kernel_that_kills_the_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered")
    monkeypatch.setattr(triton_check, "_wrong_kernel", raising(error))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        has_triton(CPU)


def test_without_triton_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_check, "find_spec", lambda name: None)
    monkeypatch.setattr(triton_check, "_wrong_kernel", raising(AssertionError("tried")))
    assert not has_triton(CPU)
