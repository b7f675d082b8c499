"""A decoder over layers whose weights it cannot join, as bitsandbytes has them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from llava_tools.engine.linear import ConcatenatedLinear
from tests.engine.test_decoder import FAMILIES, Driver, _expected, _ids, _model


class RoundedLinear(nn.Linear):
    """Keeps its weights as bytes, in one column as bitsandbytes' 4 bit does."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        self.bias = layer.bias
        self.scale = layer.weight.detach().abs().amax() / 127
        levels = (layer.weight.detach() / self.scale).round().to(torch.int8)
        self.weight = nn.Parameter(levels.view(-1, 1), requires_grad=False)

    def widened(self) -> Tensor:
        return self.weight.view(self.out_features, self.in_features) * self.scale

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.widened(), self.bias)


@pytest.mark.parametrize(
    "family",
    ["llama", "llama, grouped queries", "llama, biases", "qwen2", "phi3", "phi3, partly rotated"],
)
def test_joined_layers_give_rotated_rows_in_their_order(family: str) -> None:
    model, ids = _model(FAMILIES[family]), _ids(70)
    layers = model.model.language_model.layers
    rounded = {
        name: RoundedLinear(module)
        for name, module in layers.named_modules()
        if type(module) is nn.Linear
    }
    for name, layer in rounded.items():
        layers.get_submodule(name).weight.data = layer.widened()
    expected = _expected(model, ids)
    for name, layer in rounded.items():
        layers.set_submodule(name, layer)
    driver = Driver(model)
    assert any(isinstance(item, ConcatenatedLinear) for item in driver.decoder.modules())
    prompt = driver.step([(ids, 0, 60, [7, 3])], [60])
    assert torch.allclose(prompt, expected[:60], atol=1e-4)
    for end in range(61, 65):
        logits = driver.step([(ids, end - 1, end, [7, 3, 9])], [1])
        assert torch.allclose(logits, expected[end - 1 : end], atol=1e-4)
