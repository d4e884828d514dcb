"""A module's parameters side by side in one tensor: one pass of Adam and one message between ranks, not fifty."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

# Numbers in 64 bytes, at which a tensor of its own would begin, too: the bits of matrix products are then the same.
ALIGNED = 16


def flatten(module: nn.Module) -> nn.Parameter:
    """Moves parameters and gradients into one parameter [P], of which the module's become views.

    Gradients add up in ``flat.grad``, which is filled with zeros and must stay: ``zero_grad(set_to_none=False)``.
    """
    places = list(_places(module))
    values = torch.zeros(places[-1][1].stop, device=places[0][0].device)
    flat = nn.Parameter(values)
    flat.grad = torch.zeros_like(values)
    for parameter, place in places:
        values[place][: parameter.numel()] = parameter.detach().flatten()
        parameter.data = values[place][: parameter.numel()].view_as(parameter)
        parameter.grad = flat.grad[place][: parameter.numel()].view_as(parameter)
    return flat


def flat_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state of a module's parameters as it is of :func:`flatten`'s one; empty before the first step."""
    places = list(_places(module))
    states = [optimizer.state[parameter] for parameter, _ in places]
    if not all(states):
        return {}
    flat = {}
    for name in ("exp_avg", "exp_avg_sq"):
        flat[name] = torch.zeros(places[-1][1].stop, device=places[0][0].device)
        for (_, place), state in zip(places, states, strict=True):
            flat[name][place][: state[name].numel()] = state[name].flatten()
    return {"step": states[0]["step"].to(places[0][0].device, copy=True), **flat}


def _places(module: nn.Module) -> Iterator[tuple[nn.Parameter, slice]]:
    """Each parameter and its place in the one."""
    start = 0
    for parameter in module.parameters():
        end = start + -(-parameter.numel() // ALIGNED) * ALIGNED
        yield parameter, slice(start, end)
        start = end
