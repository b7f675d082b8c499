"""Matrices in bfloat16, where they are: near enough to float32, and only where they help."""

from __future__ import annotations

import pytest
import torch

from recipes.tiny_llava import precision
from recipes.tiny_llava.optim import orthogonal


@pytest.mark.parametrize(
    ("units", "kind"),
    [
        ({}, torch.float32),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_bfloat16_is_for_processors_with_units_for_it(
    monkeypatch: pytest.MonkeyPatch, units: dict[str, bool], kind: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert precision.quick_type() == kind
    with precision.quick():
        said = torch.nn.Linear(8, 8)(torch.ones(2, 8))
    assert said.dtype == kind


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 64), (32, 96), (96, 32)])
def test_updates_are_nearly_orthogonal_in_either_type(
    shape: tuple[int, int], kind: torch.dtype
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    update = orthogonal(matrix, kind=kind)
    assert update.shape == shape
    assert update.dtype == torch.float32
    # Newton–Schulz steps of this kind leave singular values of all but the faintest near one.
    singular = torch.linalg.svdvals(update)
    assert float(singular.max()) < 1.3
    assert float(singular.median()) > 0.6
    exact = orthogonal(matrix, kind=torch.float32)
    assert float((update - exact).norm() / exact.norm()) < 0.05
