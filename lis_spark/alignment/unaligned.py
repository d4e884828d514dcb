"""An encoder that is not aligned: the principal components of what its model says of items, a control (method 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def project_on_components(encoder: Any, pooled: np.ndarray) -> None:
    """Sets an encoder's projection to the first components of its items, of mean square length 1 together.

    Args:
        encoder: with ``projection``, a linear layer.
        pooled: [items, width], what it projects.
    """
    mean = pooled.mean(0, dtype=np.float64)
    covariance = np.cov(pooled.astype(np.float64).T, ddof=0)
    variances, axes = np.linalg.eigh(covariance)
    kept = len(encoder.projection.weight)
    variances, axes = variances[::-1][:kept], axes[:, ::-1][:, :kept]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)  # a sign of their own
    scale = 1 / np.sqrt(max(variances.sum(), 1e-30))
    weight = np.zeros(tuple(encoder.projection.weight.shape))
    weight[: axes.shape[1]] = (axes * scale).T
    with torch.no_grad():
        encoder.projection.weight.copy_(torch.from_numpy(weight))
        encoder.projection.bias.copy_(torch.from_numpy(-weight @ mean))
