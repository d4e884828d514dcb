"""The orthogonal map between two tables: against SciPy's, and where the truth is a known rotation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from lis_spark.ranker.procrustes import orthogonal_map


@pytest.mark.parametrize("width", [2, 8, 33])
def test_it_is_the_map_of_scipy(width: int) -> None:
    random = np.random.default_rng(width)
    later, control = (random.normal(size=(5 * width, width)).astype(np.float32) for _ in range(2))
    expected, _ = orthogonal_procrustes(later.astype(np.float64), control.astype(np.float64))
    assert np.allclose(orthogonal_map(later, control), expected, atol=1e-10)


def test_a_known_rotation_is_taken_back() -> None:
    random = np.random.default_rng(7)
    table = random.normal(size=(400, 16))
    rotation = ortho_group.rvs(16, random_state=7)
    assert np.allclose(orthogonal_map(table @ rotation, table), rotation.T, atol=1e-12)
