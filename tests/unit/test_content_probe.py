"""What content tells of items: against scikit-learn, and on worlds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict

from lis_spark.world.catalogue import content_latents
from lis_spark.world.content_probe import FOLDS, GRID, explained, probe_content, simple_features
from tests.unit.test_world import world


def test_the_share_is_that_of_a_cross_validated_regression() -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(400, 6))
    targets = inputs @ random.normal(size=(6, 3)) + 2 * random.normal(size=(400, 3)) + 5
    folds = random.integers(0, FOLDS, 400)
    parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(FOLDS)]
    predicted = cross_val_predict(LinearRegression(), inputs, targets, cv=parts)
    assert explained(inputs, targets, folds) == pytest.approx(r2_score(targets, predicted), abs=1e-9)


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


def test_images_carry_the_latents_and_nuisance_hides_them() -> None:
    """Of images alone, without words: mean colours tell factors, and where nuisance is large they tell less."""
    catalogue = {"content_share": 1.0}
    told = {}
    for amplitude in (0.0, 4.0):
        content = {"rendered": "titles_and_images", "words": 1, "nuisance_amplitude": amplitude}
        one = world(catalogue={**catalogue, "new_items_a_day": 60}, content=content)
        items = np.arange(800)
        colours = simple_features(one, items)[:, -3 * GRID * GRID :]
        latents = content_latents(one, items).T
        told[amplitude] = explained(colours, latents, items % FOLDS, ridge=0.1)
        ridge = RidgeCV(alphas=np.logspace(-1, 4, 12))
        predicted = cross_val_predict(ridge, colours, latents, cv=5)
        assert told[amplitude] == pytest.approx(r2_score(latents, predicted), abs=0.08)
    assert told[0.0] > 0.3 and told[4.0] < 0.5 * told[0.0]


def test_nothing_rendered_is_said() -> None:
    assert "nothing is rendered" in probe_content(world(content={"rendered": "none"})).line()
