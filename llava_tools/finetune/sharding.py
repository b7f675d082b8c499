"""Training with weights, gradients and optimizer state split between processes (torch's FSDP2).

Each decoder layer is gathered for its forward and backward pass only. All processes have to run the
same modules in the same order, so each gets as many micro-batches as the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(model: nn.Module, layers: nn.ModuleList, device_type: str, processes: int) -> None:
    """Split a model's parameters between the processes, in place.

    Gradients are summed over processes, not averaged: the trainer divides by all target tokens.

    Args:
        model: Its forward pass returns the loss.
        layers: The decoder layers in it.
        device_type: `cuda` or `cpu`.
        processes: Number of processes, all of which call this.
    """
    mesh = init_device_mesh(device_type, (processes,))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)  # also after an evaluation
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # Gloo sums only


def gather(value: Tensor) -> Tensor:
    """Return the whole of a tensor; all processes call this for a split one."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def assign(parameter: Tensor, value: Tensor) -> None:
    """Set a parameter, which may be split, to a whole tensor."""
    if isinstance(parameter, DTensor):
        value = value.to(parameter.device_mesh.device_type, parameter.dtype)
        value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
    with torch.no_grad():
        parameter.copy_(value)


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the whole state of an optimizer on the CPU; all processes call this."""
    return get_optimizer_state_dict(model, optimizer, options=_FULL)


def load_optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Set the state of an optimizer to one of `optimizer_state`; all processes call this."""
    set_optimizer_state_dict(model, optimizer, state, options=_FULL)
