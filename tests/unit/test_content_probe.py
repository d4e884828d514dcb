"""What content tells of items: against scikit-learn, and on worlds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict

from lis_spark.world.content_probe import FOLDS, explained, probe_content
from tests.unit.test_world import world


def test_the_share_is_that_of_a_cross_validated_regression() -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(400, 6))
    targets = inputs @ random.normal(size=(6, 3)) + 2 * random.normal(size=(400, 3)) + 5
    folds = [
        (np.flatnonzero(np.arange(400) % FOLDS != f), np.flatnonzero(np.arange(400) % FOLDS == f)) for f in range(FOLDS)
    ]
    predicted = cross_val_predict(LinearRegression(), inputs, targets, cv=folds)
    assert explained(inputs, targets) == pytest.approx(r2_score(targets, predicted), abs=1e-9)


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_a_probe_on_the_signal_finds_the_content_share(share: float) -> None:
    probe = probe_content(world(catalogue={"content_share": share}, content={"rendered": "titles"}))
    assert probe.signal == pytest.approx(share, abs=0.06)
    assert probe.latents < probe.signal


def test_nuisance_hides_the_meaning_from_principal_components() -> None:
    """Without nuisance they find much of what there is; with it, next to nothing, though words still tell it."""
    catalogue = {"content_share": 0.9}
    clear = probe_content(world(catalogue=catalogue, content={"rendered": "titles", "nuisances": 0, "words": 48}))
    hidden = probe_content(
        world(catalogue=catalogue, content={"rendered": "titles", "nuisance_amplitude": 3.0, "words": 48})
    )
    assert clear.components is not None and hidden.components is not None and hidden.features is not None
    assert clear.components > 0.3 > 3 * hidden.components
    assert hidden.features > hidden.components + 0.1
    assert "without alignment" in hidden.line()


def test_nothing_rendered_is_said() -> None:
    assert "nothing is rendered" in probe_content(world(content={"rendered": "none"})).line()
