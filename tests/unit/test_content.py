"""The regressor of LIS_content: cross-fitted over items, against scikit-learn; what it must not learn."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from lis_spark.leaks.content import PENALTIES, colours, fit

COUNT = 5


def world(items: int = 400, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    features = rng.normal(size=(items, 12))
    targets = signal * features @ rng.normal(size=(12, 3)) + rng.normal(size=(items, 3)) + 7
    return features, targets, rng.integers(0, COUNT, items)


def test_each_item_is_predicted_by_a_ridge_that_has_not_seen_it() -> None:
    features, targets, folds = world()
    found = fit(features, targets, folds, COUNT).predict(features, folds)
    for fold in range(COUNT):
        inner = (fold + 1) % COUNT
        errors = []
        for penalty in PENALTIES:
            known = (folds != fold) & (folds != inner)
            model = Ridge(alpha=penalty * known.sum()).fit(features[known], targets[known])
            errors.append(((model.predict(features[folds == inner]) - targets[folds == inner]) ** 2).sum())
        known = folds != fold
        best = Ridge(alpha=PENALTIES[int(np.argmin(errors))] * known.sum()).fit(features[known], targets[known])
        np.testing.assert_allclose(found[folds == fold], best.predict(features[folds == fold]), rtol=1e-4, atol=1e-4)


def test_targets_that_content_does_not_carry_are_not_predicted() -> None:
    features, targets, folds = world(signal=0.0)
    found = fit(features, targets, folds, COUNT).predict(features, folds)
    correlation = [np.corrcoef(found[:, d], targets[:, d])[0, 1] for d in range(3)]
    assert max(correlation) < 0.15
    features, targets, folds = world()
    found = fit(features, targets, folds, COUNT).predict(features, folds)
    assert min(np.corrcoef(found[:, d], targets[:, d])[0, 1] for d in range(3)) > 0.9


def test_standardised_predictions_tell_items_apart_as_the_predictions_do() -> None:
    features, targets, folds = world(signal=0.05)
    targets[:, 2] = 4.0
    fitted = fit(features, targets, folds, COUNT)
    raw, found = fitted.predict(features, folds), fitted.standardised(features, folds).predict(features, folds)
    np.testing.assert_allclose(found[:, :2].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found[:, :2].std(axis=0), 1, rtol=1e-3)
    for column in range(2):
        assert np.corrcoef(raw[:, column], found[:, column])[0, 1] > 0.9999
    assert np.abs(found[:, 2]).max() < 1e-3, "a constant says nothing"


def test_colours_are_means_of_a_grid() -> None:
    import io

    from PIL import Image

    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:8, :8] = (255, 128, 0)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    found = colours(data.getvalue()).reshape(8, 8, 3)
    np.testing.assert_allclose(found[0, 0], [(255 - 128) / 64, 0, -2])
    assert (found.reshape(-1, 3)[1:] == -2).all()
