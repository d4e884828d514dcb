"""The port: how a frozen vector of an impression enters the interaction layers (method 1.3, 6).

LayerNorm, of each part of the vector on its own, for a part of small numbers may say as much as one of large ones; and
a linear map to a few columns, after a hidden layer where a stronger port is asked for. The layers then treat them as
further columns of their input. A row without a vector is masked: its columns are 0 in every layer, and as the blocks of
the port are added to what the bare layers give, its logits have the bits of a ranker that was built without a port. The
blocks that lead into the bare ranker start at 0, so a warm start begins as the model that it starts from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from lis_spark.ranker.plans import PortSpec, RankerSpec


class Port(nn.Module):
    """Vectors [B, v] and their mask [B] -> columns [B, p], 0 where masked."""

    def __init__(self, port: PortSpec, columns: int) -> None:
        super().__init__()
        self.widths = list(port.widths)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in self.widths)
        self.hidden = None if port.hidden is None else nn.Linear(port.width, port.hidden)
        self.enter = nn.Linear(port.hidden or port.width, columns)

    def normed(self, vectors: Tensor) -> Tensor:
        """[B, v], each part of it normalised."""
        if len(self.widths) == 1:
            return self.norms[0](vectors)
        parts = vectors.split(self.widths, dim=1)
        return torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)], dim=1)

    def columns(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """The columns of a batch."""
        return self.entered(self.normed(vectors), mask)

    def entered(self, normed: Tensor, mask: Tensor) -> Tensor:
        """The columns of normalised vectors."""
        inner = normed if self.hidden is None else relu(self.hidden(normed))
        return self.enter(inner) * mask.unsqueeze(1)


class DcnPort(Port):
    """Of :class:`lis_spark.ranker.network.HistoryDcn`: the blocks of wider cross layers, first deep layer and heads.

    With x' = (x, e) a cross layer is x'_0 * (W' x' + b') + x', W' = [[W, into], [out, own]].
    """

    def __init__(self, port: PortSpec, columns: int, width: int, layers: int, hidden: int, labels: int) -> None:
        super().__init__(port, columns)
        self.into = nn.ModuleList(_zeros(columns, width) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(width, columns) for _ in range(layers))
        self.own = nn.ModuleList(nn.Linear(columns, columns, bias=False) for _ in range(layers))
        self.deep = _zeros(columns, hidden)
        self.heads = _zeros(columns, labels)

    def next(self, layer: int, first: Tensor, bare: Tensor, current: Tensor) -> Tensor:
        """The columns after a cross layer, from those before it and from the bare layer's input."""
        return first * (self.out[layer](bare) + self.own[layer](current)) + current


class FmPort(Port):
    """Of :class:`lis_spark.ranker.network.Fm`: one more field, with its products and its linear part."""

    def __init__(self, port: PortSpec, dimension: int, labels: int) -> None:
        super().__init__(port, dimension)
        nn.init.zeros_(self.enter.weight)
        nn.init.zeros_(self.enter.bias)
        # Of the vector itself, as a field's linear part is: through columns that start at 0 it would not learn.
        self.linear = _zeros(port.width, labels)

    def logits(self, total: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """What the field adds: its products with all features, of sum [B, d], and its linear part; 0 where masked."""
        normed = self.normed(vectors)
        products = (total * self.entered(normed, mask)).sum(1, keepdim=True)
        return products + self.linear(normed) * mask.unsqueeze(1)


def new_port(spec: RankerSpec, port: PortSpec, columns: int, seed: int) -> Port:
    """A port of the configured ranker, initialised from ``seed`` alone: the ranker's own draws stay what they are.

    Args:
        spec: the ranker.
        port: the parts of the frozen vector, v together, and a hidden layer if any.
        columns: p; a factorisation machine has one field more instead, as wide as its others.
        seed: of the first values.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if spec.architecture == "history_dcn":
            width = spec.dimension * (spec.fields + 4)
            return DcnPort(port, columns, width, spec.cross_layers, spec.hidden[0], len(spec.labels))
        return FmPort(port, spec.dimension, len(spec.labels))


def _zeros(columns: int, width: int) -> nn.Linear:
    linear = nn.Linear(columns, width, bias=False)
    nn.init.zeros_(linear.weight)
    return linear
