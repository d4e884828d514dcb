"""What an encoder is trained to: items' vectors near their own targets and far from others' (method 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.01, 0.5


class Objective(nn.Module):
    """Loss of a batch, with what is learned of targets: their linear map, and tau.

    ``contrastive``: the mean of both cross-entropies of Z T' / tau, and the two terms of the method where they have a
    weight; T is a learned linear map of the targets. ``cosine`` and ``mse``: against the targets as they are, for with
    a map that learns both are least where all vectors are one.
    """

    def __init__(
        self,
        kind: str,
        target_width: int,
        dimension: int,
        *,
        temperature: float,
        cosine_weight: float,
        gram_weight: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.cosine_weight, self.gram_weight = cosine_weight, gram_weight
        self.target_map: nn.Linear | None = None
        if kind == "contrastive":
            self.target_map = nn.Linear(target_width, dimension, bias=False)
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():  # a generator of its own: the encoder's start does not depend on it
                self.target_map.weight.normal_(0.0, target_width**-0.5, generator=generator)
            self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())

    def mapped(self, targets: Tensor) -> Tensor:
        """Targets as items' vectors are compared with them: [items, d], of length 1."""
        return nnf.normalize(self.target_map(targets) if self.target_map is not None else targets, dim=1)

    @property
    def temperature(self) -> Tensor | None:
        """tau."""
        return self.log_temperature.exp() if self.kind == "contrastive" else None

    def clamp(self) -> None:
        """Keeps tau within its bounds, after each step."""
        if self.kind == "contrastive":
            with torch.no_grad():
                bounds = torch.tensor([LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE]).log()
                self.log_temperature.clamp_(*bounds.tolist())

    def forward(self, vectors: Tensor, targets: Tensor, same: Tensor) -> Tensor:
        """The loss.

        Args:
            vectors: [items, d], as the encoder gives them, of any length.
            targets: [items, target width], in the order of the items.
            same: bool [items, items], see :func:`same_items`.
        """
        if self.kind == "mse":
            return nnf.mse_loss(vectors, targets)
        z, t = nnf.normalize(vectors, dim=1), self.mapped(targets)
        agreement = 1 - (z * t).sum(1).mean()
        if self.kind == "cosine":
            return agreement
        others = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = (z @ t.T / self.log_temperature.exp()).masked_fill(same & others, -torch.inf)
        own = torch.arange(len(z), device=z.device)
        loss = (nnf.cross_entropy(logits, own) + nnf.cross_entropy(logits.T, own)) / 2
        if self.cosine_weight:
            loss = loss + self.cosine_weight * agreement
        if self.gram_weight:
            grams = (z @ z.T - t @ t.T).masked_fill(~others, 0.0)
            loss = loss + self.gram_weight * grams.square().sum() / len(z) ** 2
        return loss


def same_items(targets: Tensor, content: Tensor, items: Tensor, cosine: float) -> Tensor:
    """bool [items, items]: pairs that are no negatives: the same item, the same content, or nearly the same target.

    Args:
        targets: [items, target width].
        content: int64 [items], a hash of what each shows.
        items: int64 [items], the number of each.
        cosine: of two targets, above which they are nearly the same.
    """
    unit = nnf.normalize(targets, dim=1)
    alike = unit @ unit.T > cosine
    return alike | (content[:, None] == content) | (items[:, None] == items)
