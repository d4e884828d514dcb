"""Draws of the scores that measured ones stand for, given the errors of the measurement.

Measured scores scatter more than the true ones, so their correlation is lower than that of the true ones, and drawing
errors around the measured scores would lower it once more. So the spread of the true scores is found beside them: they
are normal over data sets, with a mean and a covariance of their own (a normal hierarchical model; Gelman et al. 2013,
"Bayesian Data Analysis", chapter 5), whose prior is flat on correlations (Huang and Wand 2013, "Simple Marginally
Noninformative Prior Distributions for Covariance Matrices"). Gibbs sampling, many short chains side by side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
CHAINS, WARM_UP = 100, 60
# Of Huang and Wand: two degrees of freedom make every correlation as likely as any other before the data is seen; a
# deviation may be ten times the measured one and more.
_FREEDOM, _WIDE = 2.0, 10.0
# Added to sums of squares, of which the measured ones are the number of data sets: where scores lie on one line, the
# spread around it would shrink from step to step until it is no number any more.
_LEAST_SQUARES = 1e-9


def true_scores(measured: Numbers, covariance: Numbers, seed: int, draws: int) -> Numbers:
    """Draws of the true scores [draws, scores, k].

    Args:
        measured: [scores, k], of k data sets.
        covariance: [scores k, scores k] of their errors, one score after the other.
        seed: of the draws.
        draws: how many; at most ``CHAINS`` of them are independent of each other.
    """
    if not covariance.any():
        return np.broadcast_to(measured, (draws, *measured.shape))
    deviation = measured.std(axis=1)
    unit = np.where(deviation > 0, deviation, np.sqrt(np.diag(covariance).reshape(measured.shape).mean(axis=1)))
    unit = np.where(unit > 0, unit, 1.0)
    units = np.repeat(unit, measured.shape[1])
    chains = min(CHAINS, draws)
    sampler = _Sampler(measured / unit[:, None], covariance / np.outer(units, units), seed, chains)
    for _ in range(WARM_UP):
        sampler.step()
    found = [sampler.step() for _ in range(-(-draws // chains))]
    return np.concatenate(found)[:draws] * unit[:, None]


class _Sampler:
    """Chains side by side: ``spread`` [chains, scores, scores] of the true scores over data sets, ``true`` [chains,
    scores, k]; ``widths`` [chains, scores] are the inverse scales of the prior."""

    def __init__(self, measured: Numbers, covariance: Numbers, seed: int, chains: int) -> None:
        self.measured, self.covariance, self.chains = measured, covariance, chains
        self.random = np.random.default_rng(seed)
        variances, axes = np.linalg.eigh(covariance)
        # the symmetric root: axes come with signs of their own on each machine
        self.root = (axes * np.sqrt(np.maximum(variances, 0.0))) @ axes.T
        scores = len(measured)
        self.true = np.repeat(measured[None], chains, axis=0)
        self.spread = np.repeat(np.eye(scores)[None], chains, axis=0)
        self.widths = np.ones((chains, scores))

    def step(self) -> Numbers:
        """One round of all chains; returns the true scores."""
        scores, k = self.measured.shape
        root = np.linalg.cholesky(self.spread)
        mean = self.true.mean(axis=2) + self._normal(root, 1)[:, :, 0] / np.sqrt(k)
        # the true scores and their measurement are drawn as if nothing were known, then moved to what was measured
        prior = (mean[:, :, None] + self._normal(root, k)).reshape(self.chains, -1)
        seen = prior + self.random.standard_normal(prior.shape) @ self.root
        wide = np.einsum("cij,kl->cikjl", self.spread, np.eye(k)).reshape(self.chains, scores * k, scores * k)
        moved = wide @ np.linalg.solve(wide + self.covariance, (self.measured.ravel() - seen)[:, :, None])
        self.true = (prior + moved[:, :, 0]).reshape(self.chains, scores, k)
        apart = self.true - mean[:, :, None]
        diagonal = (2 * _FREEDOM * self.widths[:, :, None] + _LEAST_SQUARES) * np.eye(scores)
        precision = self._wishart(_FREEDOM + scores - 1 + k, apart @ apart.transpose(0, 2, 1) + diagonal)
        spread = np.linalg.inv(precision)
        self.spread = (spread + spread.transpose(0, 2, 1)) / 2
        rate = _FREEDOM * np.einsum("cii->ci", precision) + _WIDE**-2
        self.widths = self.random.gamma((_FREEDOM + scores) / 2, 1 / rate)
        return self.true

    def _normal(self, root: Numbers, count: int) -> Numbers:
        return root @ self.random.standard_normal((self.chains, root.shape[1], count))

    def _wishart(self, freedom: float, inverse_scale: Numbers) -> Numbers:
        """By Bartlett's decomposition, one a chain."""
        scores = inverse_scale.shape[1]
        factor = np.tril(self.random.standard_normal((self.chains, scores, scores)), -1)
        for place in range(scores):
            factor[:, place, place] = np.sqrt(self.random.chisquare(freedom - place, self.chains))
        half = np.matmul(np.linalg.cholesky(np.linalg.inv(inverse_scale)), factor)
        return np.matmul(half, half.transpose(0, 2, 1))
